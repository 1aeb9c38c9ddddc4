"""Orthonormalisation with log growth: A = Q R with a positive diagonal, and ln R_jj per column."""

import torch
from torch import Tensor

from lsh_native.lyapunov.finite import NonFiniteTangentError, require_finite

# Rounding leaves a column that depends on its predecessors with R_jj of a few units in the last
# place of its norm, nearly independent of the size (median 3, largest 7 at 800 rows). Below this
# there is no signal left in R_jj.
NOISE_EPSILONS = 8.0


def qr_growth(tangent: Tensor, *, tolerance: float | None = None) -> tuple[Tensor, Tensor]:
    """Orthonormalises the columns of each matrix of a batch and says by how much each one grew.

    Householder reflections: Q is orthonormal to rounding whatever the columns are. A column that
    depends on its predecessors is replaced by an arbitrary direction orthogonal to all others, and
    its growth is -inf.

    Args:
        tangent: tangent vectors as columns, (B, n, K) with K <= n, float32 or float64.
        tolerance: R_jj at or below this fraction of the norm of column j counts as zero; by default
            8 epsilons of the dtype, the level of the rounding noise. With 0 only exact zeros count.

    Returns:
        Orthonormal columns (B, n, K) in the dtype of `tangent`, and log growth ln R_jj (B, K) in
        float64.

    Raises:
        ValueError: `tangent` is not a batch of tall float32 or float64 matrices.
        NonFiniteTangentError: an entry is NaN or infinite; the message says which.

    Example:
        >>> basis, growth = qr_growth(torch.diag(torch.tensor([2.0, 0.5])).unsqueeze(0))
        >>> growth.exp()
        tensor([[2.0000, 0.5000]], dtype=torch.float64)
    """
    supported = tangent.dtype in (torch.float32, torch.float64)
    if tangent.dim() != 3 or tangent.shape[2] > tangent.shape[1] or not supported:
        raise ValueError(
            "tangent must be a float32 or float64 tensor of shape (B, n, K) with K <= n, "
            f"got {tangent.dtype} of shape {tuple(tangent.shape)}"
        )
    require_finite(
        "tangent vectors", tangent, ("sequence", "coordinate", "vector"), NonFiniteTangentError
    )
    if tolerance is None:
        tolerance = NOISE_EPSILONS * torch.finfo(tangent.dtype).eps
    basis, triangular = torch.linalg.qr(tangent)
    diagonal = triangular.diagonal(dim1=-2, dim2=-1)
    # sign(0) is +1 here: a zero pivot must not erase its basis vector.
    basis = torch.where(diagonal.unsqueeze(-2) < 0, -basis, basis)
    pivots = diagonal.abs().double()
    norms = torch.linalg.vector_norm(triangular, dim=-2, dtype=torch.float64)
    growth = torch.where(pivots <= tolerance * norms, -torch.inf, pivots.log())
    return basis, growth
