"""Figures from tidy tables: one theme, ordered variables on a sequential palette, spread over seeds always shown."""

from importlib.util import find_spec

from infolib import _moved, checks

if lacking := [name for name in ("matplotlib", "seaborn", "PIL") if find_spec(name) is None]:
    raise ImportError(f"figures need {', '.join(lacking)}: install information-workbook with its extra, [plot]")

from infolib.plotting._courses import by_relative_depth, over_training, similarity
from infolib.plotting._curves import (
    ablation,
    ablation_modes,
    chance_profiles,
    codelengths,
    depth_profile,
    estimates,
    lines,
    panels,
)
from infolib.plotting._lenses import lens_page, rank_matrix
from infolib.plotting._pictures import heat_maps, images
from infolib.plotting._planes import PLANES, layer_planes, neuron_plane, planes
from infolib.plotting._profiles import lens_profiles
from infolib.plotting._scores import agreement, dots, scatter, violins
from infolib.plotting._style import BAND, INK, light_png, sequential, theme

__all__ = [
    "BAND", "INK", "PLANES", "ablation", "ablation_modes", "agreement", "by_relative_depth", "chance_profiles",
    "codelengths", "depth_profile", "dots", "estimates", "heat_maps", "images", "layer_planes", "lens_page",
    "lens_profiles", "light_png", "lines", "neuron_plane", "over_training", "panels", "planes", "rank_matrix",
    "scatter", "sequential", "similarity", "theme", "violins",
]  # fmt: skip

__getattr__ = _moved.attributes(__name__)
checks.guard(globals())
