"""Where public names of version 0.1 are now: an old name raises an ImportError with the new one."""

import sys
from collections.abc import Callable
from typing import NoReturn

MOVED = {
    "infolib.ROOT": "workbook.root",
    "infolib.__main__": "workbook.__main__",
    "infolib.cache": "workbook.store",
    "infolib.claims": "workbook.claims",
    "infolib.claims.expectations": "workbook.claims.Book.expectations",
    "infolib.claims.judge": "workbook.claims.Book.judge",
    "infolib.claims.rounded": "workbook.claims.Book.rounded",
    "infolib.claims.summary": "workbook.claims.Book.summary",
    "infolib.datasets": "workbook.datasets",
    "infolib.datasets.Data": "infolib.data.Data",
    "infolib.datasets.Splits": "infolib.data.Splits",
    "infolib.datasets.cluttered": "infolib.data.Splits.cluttered",
    "infolib.datasets.stratified_order": "infolib.data.stratified_order",
    "infolib.execution": "workbook.execution",
    "infolib.experiment": "workbook.store",
    "infolib.learning": "infolib.training",
    "infolib.loading": "workbook.loading",
    "infolib.measures.discarding_study": "workbook.experiments.nb05_information_discarding",
    "infolib.measures.lens_study": "workbook.experiments.nb07_scoreboard",
    "infolib.measures.lenses.ablation_curves": "infolib.measures.lenses.clamped_accuracy",
    "infolib.measures.neuron_importance.Arm": "workbook.experiments.nb04_neuron_importance",
    "infolib.measures.neuron_importance.numbers": "workbook.experiments.nb04_neuron_importance",
    "infolib.measures.neuron_importance.parse_arm": "workbook.experiments.nb04_neuron_importance",
    "infolib.measures.neuron_importance.survey": "workbook.experiments.nb04_neuron_importance",
    "infolib.measures.plane_runs": "workbook.experiments.nb03_information_plane",
    "infolib.measures.transfer_study": "workbook.experiments.nb06_information_transfer",
    "infolib.measures.transfer_study.permuted": "infolib.data.Data.permuted_pixels",
    "infolib.models": "workbook.models",
    "infolib.models.evaluating": "infolib.activations.evaluating",
    "infolib.models.layers": "infolib.activations.layers",
    "infolib.plotting.tally": "workbook.charts.tally",
    "infolib.plotting.verdicts": "workbook.charts.verdicts",
    "infolib.provenance": "workbook.provenance",
    "infolib.reports": "workbook.reports",
    "infolib.techniques": "workbook.techniques",
    "infolib.techniques.variant": "workbook.experiments.nb05_information_discarding.train",
    "infolib.training.perceptron": "workbook.experiments.nb04_neuron_importance",
    "infolib.training.trained": "workbook.store.trained",
    "infolib.workbook": "workbook.run",
}


def attributes(module: str) -> Callable[[str], NoReturn]:
    """A module's `__getattr__`: an ImportError for a name that has moved, an AttributeError for any other."""

    def get(name: str) -> NoReturn:
        _refuse(f"{module}.{name}")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get


class Finder:
    """Asked by `import infolib.datasets`, and only after all others, who do not find it."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Find nothing."""
        _refuse(name)


def _refuse(name: str) -> None:
    """Raise for a name that has moved; the message also has what a moved module left elsewhere."""
    if name in MOVED:
        rows = [f"{old} is now {new}" for old, new in MOVED.items() if f"{old}.".startswith(f"{name}.")]
        where = " (workbook is in the repository only)" if MOVED[name].startswith("workbook") else ""
        raise ImportError("; ".join(rows) + where, name=name)


sys.meta_path.append(Finder)
