"""Eigenvalues of symmetric matrices, by the solver that is faster for their size."""

import numpy as np
import torch
from scipy import linalg
from torch import Tensor
from torch.autograd import forward_ad

# Sizes that LAPACK as SciPy brings it solves faster than as PyTorch does, on one thread by a factor of 1.2 at n = 256,
# 1.4 to 1.6 at 512 and 1024, 1.1 at 2048; at 128 and 3000 it is the slower one. The choice is fixed, not measured: a
# value must not depend on what else the machine does.
SIZES = range(256, 2049)


def eigenvalues(A: Tensor) -> Tensor:
    """Eigenvalues of symmetric matrices (..., n, n), rising, of which the lower triangle is read; with gradients."""
    fast = A.shape[-1] in SIZES and A.device.type == "cpu" and not A.requires_grad
    if fast and forward_ad.unpack_dual(A).tangent is None:
        matrices = A.reshape(-1, *A.shape[-2:]).numpy()
        try:
            found = [linalg.eigh(one, lower=True, eigvals_only=True, check_finite=False) for one in matrices]
            return torch.from_numpy(np.stack(found)).reshape(A.shape[:-1])
        except linalg.LinAlgError:  # not converged; the other solver may
            pass
    return torch.linalg.eigvalsh(A)
