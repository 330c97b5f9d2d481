"""Information theory in deep networks: estimators, model hooks and a reproducible workbook.

Quantities are functions of tensors and come back in bits, unclipped:

>>> from infolib.estimators import discrete
>>> discrete.entropy([0, 1, 0, 1])
tensor(1., dtype=torch.float64)
"""

import os
from pathlib import Path

__version__ = "0.1.0"

# The workbook: the folder that holds notebooks/, data/ and reports/.
ROOT = Path(os.environ.get("INFOLIB_ROOT") or Path(__file__).resolve().parents[1])
