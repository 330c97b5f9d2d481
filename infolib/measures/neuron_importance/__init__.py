"""How important a single neuron is: its information about the class, and the accuracy that is lost without it.

The protocol of Amjad et al. 2018 (arXiv 1804.06679): score the neurons of a trained network on data that it was not
trained on, order them by a score, clamp one after another, and watch the accuracy on other data.

A neuron is a unit of a fully connected layer, or a channel of a convolutional layer, which is scored by its mean over
positions. The network is an `nn.Sequential` in eval mode; a layer's output must reach a linear or convolutional map
through nothing but modules that treat each neuron on its own, such as pooling or normalisation.
"""

from infolib import _moved, checks
from infolib.measures.neuron_importance._chain import MODES
from infolib.measures.neuron_importance._curves import Order, ablation_curves, area, orders
from infolib.measures.neuron_importance._protocol import RANKED, Analysis, analyse, rank_correlations
from infolib.measures.neuron_importance._scores import QUANTITIES, comparisons, scores

__all__ = [
    "MODES", "QUANTITIES", "RANKED", "Analysis", "Order", "ablation_curves", "analyse", "area", "comparisons",
    "orders", "rank_correlations", "scores",
]  # fmt: skip
__getattr__ = _moved.attributes(__name__)
checks.guard(globals())
