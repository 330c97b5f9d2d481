"""Information discarding: how much noise on each part of an image a layer tolerates.

Ma et al. 2022 (arXiv 1906.04109) ask how large the entropy of a changed input x' can be while the output of a layer h
stays nearly the same. The noise is independent and normal, with one σ for each cell of a grid:

    strict information discarding  =  max mean_i H_i,   H_i = log2(σ_i sqrt(2πe)),   subject to F(σ) = alpha,
    F(σ) = E |h(x + σε) - h(x)|² / E |h(x + σ0 ε) - h(x)|²,

the paper's constrained problem (their CID; SID in the first version). As F compares each image and layer with itself,
the value does not change when a layer's features are scaled, rotated or repeated, so that layers and networks can be
compared. For a linear layer whose cells have sensitivities a_g = sum over the cell of |∂h/∂x_i|²,

    σ_g² = alpha σ0² mean(a) / a_g,      mean H = log2(σ0 sqrt(2πe alpha)) + ½ log2(AM(a) / GM(a)):

a floor of -4.3043 bits (-2.9835 nats) at the usual σ0 and alpha, plus a term for how unequal the cells are (AM and GM
are the arithmetic and the geometric mean). A layer that shrinks all cells alike stays at the floor, and a deeper layer
need not discard more.

Values are in bits of differential entropy, negative for small σ; a nat is 1.4427 bits.
"""

from infolib import checks
from infolib.measures.discarding._cells import box, concentration, table
from infolib.measures.discarding._maps import comparability, grad_cam, jacobian, perturbation, sensitivity
from infolib.measures.discarding._reconstruction import Reconstruction, reconstruction_uncertainty
from infolib.measures.discarding._strict import (
    KEPT,
    METHODS,
    Discarding,
    certify,
    measured,
    strict_information_discarding,
)

__all__ = [
    "KEPT", "METHODS", "Discarding", "Reconstruction", "box", "certify", "comparability", "concentration", "grad_cam",
    "jacobian", "measured", "perturbation", "reconstruction_uncertainty", "sensitivity",
    "strict_information_discarding", "table",
]  # fmt: skip
checks.guard(globals())
