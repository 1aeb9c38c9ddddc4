"""Orthonormalisation with log growth: A = Q R with a positive diagonal, and ln R_jj per column."""

import math
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators
from lsh_native.lyapunov.finite import NonFiniteTangentError, require_finite


class QRGrowth(NamedTuple):
    """What became of a batch of tangent vectors.

    Args:
        basis: orthonormal columns that span the same directions, (B, n, K).
        log_growth: ln R_jj, (B, K), float64.
        lost: where R_jj is no more than rounding noise, (B, K), bool.
        condition: the largest ‖C⁻¹ e_j‖ of each matrix, (B,), float64, at least to its order of
            magnitude; 1 if the columns were orthogonal. C is R with columns of unit length.
        broken_down: where a Cholesky factor was tried in vain, (B,), bool; reflections took over.
    """

    basis: Tensor
    log_growth: Tensor
    lost: Tensor
    condition: Tensor
    broken_down: Tensor


ONE_PASS = {torch.float32: 8.0, torch.float64: 90.0}
"""The condition up to which one pass of Cholesky orthonormalises at the accuracy of reflections."""

_NOT_FINITE, _BROKEN_DOWN = -1, 4  # enum QRMethod of csrc/lyapunov/qr_growth.h


def qr_growth(tangent: Tensor) -> QRGrowth:
    """Orthonormalises the columns of each matrix of a batch and says by how much each one grew.

    Up to half as many columns as rows go through a Cholesky factor of the Gram matrix, once where
    their condition κ is small and twice where κ² u is, u the unit roundoff; more columns, and those
    on which the factor breaks down, through Householder reflections. What is left of the defect of
    one pass, about κ² u, the growth of the next call makes good.

    Column j is lost if rounding alone may have made R_jj: if, with C the matrix R with its columns
    scaled to unit length, √n ε ‖C⁻¹ e_j‖ >= 1. That is, to first order, the relative change of R_jj
    when rounding moves every column by √n ε times its length, ε = 2 u. As far as the dtype can
    tell, such a column depends on those before it, and an arbitrary direction takes its place in
    the basis.

    Args:
        tangent: tangent vectors as columns, (B, n, K) 1 <= K <= n, float32 or float64. If it
            requires a gradient, and on a GPU unless LSH_CUDA_KERNELS is `fast`,
            `qr_growth_definition` runs.

    Returns:
        The basis in the dtype of `tangent`, growth and losses. The growth of a lost column is that
        of its noise; an exact zero counts as ε times the longest column. It is -inf only where the
        whole matrix is zero. On the CPU results are the same for every number of threads, bit for
        bit.

    Raises:
        ValueError: `tangent` is not a batch of tall float32 or float64 matrices.
        NonFiniteTangentError: an entry is NaN or infinite; the message says which.

    Source: the size of the rounding is the probabilistic bound of N. J. Higham and T. Mary, SIAM
        Journal on Scientific Computing 41 (2019) A2815-A2835.

    Example:
        >>> growth = qr_growth(torch.diag(torch.tensor([2.0, 0.5])).unsqueeze(0)).log_growth
        >>> growth.exp()
        tensor([[2.0000, 0.5000]], dtype=torch.float64)
    """
    _check(tangent)
    differentiated = torch.is_grad_enabled() and tangent.requires_grad
    if differentiated or not _has_kernel(tangent):
        return qr_growth_definition(tangent)
    basis, growth, lost, condition, method = torch.ops.lsh.qr_growth.default(tangent.contiguous())
    if (method == _NOT_FINITE).any():
        _require_finite(tangent)
    return QRGrowth(basis, growth, lost, condition, method == _BROKEN_DOWN)


def _has_kernel(tangent: Tensor) -> bool:
    """On the CPU; on a GPU where LSH_CUDA_KERNELS asks for it, up to half as many columns as rows.

    No device has run that kernel yet, and of more columns it makes reflections in one block.
    """
    if tangent.device.type != "cuda":
        return tangent.device.type == "cpu"
    asked = os.environ.get("LSH_CUDA_KERNELS") == "fast" and native.libraries.cuda is not None
    return asked and 2 * tangent.shape[2] <= tangent.shape[1]


def qr_growth_definition(tangent: Tensor) -> QRGrowth:
    """The same by Householder reflections in torch: differentiable, on any device."""
    _check(tangent)
    _require_finite(tangent)
    basis, triangle = torch.linalg.qr(tangent)
    diagonal = triangle.diagonal(dim1=-2, dim2=-1)
    # sign(0) is +1 here: a zero on the diagonal must not erase the basis vector.
    basis = torch.where(diagonal.unsqueeze(-2) < 0, -basis, basis)
    norms = torch.linalg.vector_norm(triangle, dim=-2, dtype=torch.float64)
    stretch = diagonal.abs().double()
    floor = torch.finfo(tangent.dtype).eps * norms.amax(dim=-1, keepdim=True)
    growth = torch.where(stretch > 0, stretch, floor).log()
    shares = torch.where(norms > 0, stretch / norms, 1.0).detach()
    condition = 1 / shares.amin(dim=-1)
    never = torch.zeros(len(tangent), dtype=torch.bool, device=tangent.device)
    return QRGrowth(basis, growth, _lost(triangle, norms, tangent.shape[1]), condition, never)


def _check(tangent: Tensor) -> None:
    supported = tangent.dtype in (torch.float32, torch.float64)
    tall = tangent.dim() == 3 and tangent.numel() > 0 and tangent.shape[2] <= tangent.shape[1]
    if not (supported and tall):
        raise ValueError(
            "tangent must be a float32 or float64 tensor of shape (B, n, K) with 1 <= K <= n, "
            f"got {tangent.dtype} of shape {tuple(tangent.shape)}"
        )


def _require_finite(tangent: Tensor) -> None:
    require_finite(
        "tangent vectors", tangent, ("sequence", "coordinate", "vector"), NonFiniteTangentError
    )


@torch.no_grad()
def _lost(triangle: Tensor, norms: Tensor, rows: int) -> Tensor:
    """Where √n ε ‖C⁻¹ e_j‖ >= 1, for R (B, K, K) and the lengths of its columns (B, K)."""
    epsilon = torch.finfo(triangle.dtype).eps
    vanished = norms == 0
    unit = (triangle / norms.masked_fill(vanished, 1.0).unsqueeze(-2)).to(triangle.dtype)
    diagonal = unit.diagonal(dim1=-2, dim2=-1)
    # The inverse costs K³. In a flow an R that is near to singular shows it on its diagonal.
    if diagonal.abs().min() > math.sqrt(epsilon):
        return vanished
    # A column that is zero is not rounded: with 1 for its zero it leaves the others alone.
    diagonal.masked_fill_(diagonal == 0, epsilon).masked_fill_(vanished, 1.0)
    identity = torch.eye(triangle.shape[-1], dtype=triangle.dtype, device=triangle.device)
    inverse = torch.linalg.solve_triangular(unit, identity, upper=True)
    rounding = math.sqrt(rows) * epsilon
    sensitivity: Tensor = rounding * torch.linalg.vector_norm(inverse, dim=-2, dtype=torch.float64)
    return vanished | (sensitivity >= 1)


@torch.library.register_fake("lsh::qr_growth")
def _(tangent: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    B, _, K = tangent.shape
    return (
        torch.empty_like(tangent),
        tangent.new_empty(B, K, dtype=torch.float64),
        tangent.new_empty(B, K, dtype=torch.bool),
        tangent.new_empty(B, dtype=torch.float64),
        tangent.new_empty(B, dtype=torch.int32),
    )


def _no_derivative(ctx: Any, *grads: Any) -> tuple[Any, ...]:
    raise NotImplementedError(
        "lsh::qr_growth has no derivative: differentiate lsh_native.lyapunov.qr_growth_definition"
    )


torch.library.register_autograd("lsh::qr_growth", _no_derivative)
