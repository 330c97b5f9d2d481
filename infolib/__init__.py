"""Information theory in deep networks: estimators, model hooks and measures, in bits.

Quantities are functions of tensors and come back unclipped:

>>> from infolib.estimators import discrete
>>> discrete.entropy([0, 1, 0, 1])
tensor(1., dtype=torch.float64)

What is public, and how long its names keep:

stable
    `Data`; `activations`: `record`, `replace`, `collect`, `upto`; `training`: `fit`, `evaluate`; every function of
    `estimators`: `binning`, `discrete`, `renyi`, `lanczos`, `knn`, `truth`, `uncertainty`, `chance`. A name or a
    meaning changes only with a new major version; until version 1, with a new minor version and a line in the
    CHANGELOG. An old name raises an ImportError that names the new one.
provisional
    All other public names: `measures`, `networks`, `plotting`, `checks`, and the rest of `activations`, `training` and
    `data`. They may change with any version, with a line in the CHANGELOG.
private
    Every module and name that begins with an underscore. They change without notice.
"""

from typing import TYPE_CHECKING, Any

from infolib._lazy import attributes

if TYPE_CHECKING:
    from infolib.data import Data

__version__ = "0.2.0"
__all__ = ["Data", "activations", "checks", "data", "estimators", "measures", "networks", "plotting", "training"]

_submodule, __dir__ = attributes(__name__, __all__)


def __getattr__(name: str) -> Any:
    if name == "Data":
        return _submodule("data").Data
    return _submodule(name)
