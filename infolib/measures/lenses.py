"""The five papers' measures of one network: what each layer retains, repeats, has of the class and discards.

Each lens asks the question of one of the five papers, with this package's own functions, of any `nn.Module`:

    information         I(X;T) and I(T;Y): information about input and label      `information_plane`, 1909.11396
    redundancy          how much its feature maps repeat each other               `synergy`, 1804.06537
    class_information   the single units' class information, and their ablation   `neuron_importance`, 1804.06679
    discarding          noise on the image that it tolerates, and where           `discarding`, 1906.04109
    codelength          bits per label of a code by a linear probe on it          `transfer`, 2009.07624

A table has one row per layer and quantity, with the columns

    lens, layer, depth      depth: the layer's place among the layers, from 1, in the order of the forward pass
    quantity, value, unit
    low, high               95 % t interval of the mean over repeats
    untrained               the value of the same network with random weights
    permuted                its mean over permutations of what `permutes` names, the images or the labels
    beyond chance           value minus permuted
    floor, ceiling          bounds and reference values of the quantity, as below
    n                       samples
    width, at edge          of the layer's kernel, in its root mean squared distances; an end of the range searched
    settings                how the value was found
    why not                 why there is no value: it could not be measured, or not to the level that is wanted

Every value without a reason is a finite number. `checked` refuses what no lens can measure. Bounds:

    I(X;T), I(T;Y)          at most S(X) and S(Y), the entropies of input and targets at these widths
    discarding              -4.30 bits, that of a linear layer whose cells count alike, and the least of linear layers
    codelength              not above what the targets cost without the layer, but for what is lost in learning

Targets are classes, labels (several of each sample, 0 or 1), or numbers. Where classes are asked for a set of labels is
one; numbers have a kernel as inputs have, and a codelength by a Gaussian code. What has no meaning for them says so.
Samples are `balanced`: n of them in the proportions of the classes, the same ones for any order of `data`. Labels may
have any numbers; accuracy alone takes them for the places of the model's outputs.

The papers' settings are used where they suit any network. No result depends on the unit of a layer: all widths, noise
and priors are relative to its own activations. Ours: kernel widths are 0.55 of the root mean squared distance (on
MNIST's images that is the width of 1909.11396), which asks for no labels; the "aligned" quantities have the layer's
width that is best aligned with the labels, `renyi.alignment_width`, so that their I(X;T) depends on them; a unit's bit
is whether it is above its median, which for a ReLU that is 0 half of the time is whether it is above 0; discarding is
of a layer's output as it is, without a ReLU. The layer that is the network's output enters the first lens as
softmax(logits) where targets are classes, or those that its argument `softmax` names.
"""

from infolib import _moved
from infolib.measures._agreement import QUANTITIES, agreement, between_lenses, pair
from infolib.measures._compared import Comparison, cka, compare
from infolib.measures._lens_options import Options
from infolib.measures._lens_table import COLUMNS
from infolib.measures._lenses import (
    LENSES,
    clamped_accuracy,
    class_information,
    codelength,
    cost,
    discarding,
    finest_grid,
    information,
    look,
    redundancy,
)
from infolib.measures._measurable import balanced, checked, measurable
from infolib.measures._probe import PRIOR, probe
from infolib.measures._watched import Watch, series

__all__ = [
    "COLUMNS", "LENSES", "PRIOR", "QUANTITIES", "Comparison", "Options", "Watch", "agreement", "balanced",
    "between_lenses", "checked", "cka", "clamped_accuracy", "class_information", "codelength", "compare", "cost",
    "discarding", "finest_grid", "information", "look", "measurable", "pair", "probe", "redundancy", "series",
]  # fmt: skip
__getattr__ = _moved.attributes(__name__)
