"""Rows of a sparse table by their number: the operator, its definition and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators
from lsh_native.sparsity.live import live_entries

__all__ = ["sparse_rows", "sparse_rows_definition"]


def sparse_rows(ids: Tensor, values: Tensor, pattern: Tensor, shape: tuple[int, int]) -> Tensor:
    """Looks up rows of a sparse table.

    Args:
        ids: (M,) int64 in [0, R), on the CPU.
        values: (N,) of the table's connections, in the pattern's row order; float32 or float64.
        pattern: of the table, see `lsh_native.sparsity.pattern`.
        shape: R and C.

    Returns:
        (M, C), zero where there is no connection. Differentiable to any order in `values`; the same
        for every number of threads, bit for bit.

    Raises:
        RuntimeError: shapes, dtypes, devices, ids or the pattern do not fit, saying which must be
            what.
    """
    output: Tensor = torch.ops.lsh.sparse_rows.default(ids, values, pattern, *shape)
    return output


def sparse_rows_definition(
    ids: Tensor, values: Tensor, pattern: Tensor, shape: tuple[int, int]
) -> Tensor:
    """What `lsh::sparse_rows` computes, in plain torch."""
    table = values.new_zeros(shape).index_put(live_entries(pattern), values)
    return table[ids]


@torch.library.register_fake("lsh::sparse_rows")
def _(ids: Tensor, values: Tensor, pattern: Tensor, rows: int, columns: int) -> Tensor:
    return values.new_empty(ids.shape[0], columns)


@torch.library.register_fake("lsh::sparse_rows_backward")
def _(grad_output: Tensor, ids: Tensor, values: Tensor, pattern: Tensor, rows: int) -> Tensor:
    return torch.empty_like(values)


def _context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ids, values, pattern, ctx.rows, _ = inputs
    ctx.save_for_backward(ids, values, pattern)


def _gradient(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
    ids, values, pattern = ctx.saved_tensors
    gradient = torch.ops.lsh.sparse_rows_backward.default(
        grad_output.contiguous(), ids, values, pattern, ctx.rows
    )
    return None, gradient, None, None, None


def _backward_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, ids, _, pattern, ctx.rows = inputs
    ctx.columns = grad_output.shape[1]
    ctx.save_for_backward(ids, pattern)


def _backward_gradient(ctx: Any, direction: Tensor) -> tuple[Any, ...]:
    ids, pattern = ctx.saved_tensors
    again = sparse_rows(ids, direction.contiguous(), pattern, (ctx.rows, ctx.columns))
    return again, None, None, None, None


torch.library.register_autograd("lsh::sparse_rows", _gradient, setup_context=_context)
torch.library.register_autograd(
    "lsh::sparse_rows_backward", _backward_gradient, setup_context=_backward_context
)
