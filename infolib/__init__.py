"""Information theory in deep networks: estimators, model hooks and measures, in bits.

Quantities are functions of tensors and come back unclipped:

>>> from infolib.estimators import discrete
>>> discrete.entropy([0, 1, 0, 1])
tensor(1., dtype=torch.float64)
"""

from typing import TYPE_CHECKING, Any

from infolib._lazy import attributes

if TYPE_CHECKING:
    from infolib.data import Data

__version__ = "0.2.0.dev0"
__all__ = ["Data", "activations", "checks", "data", "estimators", "measures", "plotting", "training"]

_submodule, __dir__ = attributes(__name__, __all__)


def __getattr__(name: str) -> Any:
    if name == "Data":
        return _submodule("data").Data
    return _submodule(name)
