"""The derivative of a backward pass: its plain definition, differentiated once more.

Exact, to any order, and as slow as plain torch: for a gradient penalty or a meta-learner, not for
ordinary training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lsh_native.sparsity.pattern import pattern_parts

__all__ = ["differentiate_backward", "effective_weight"]


def effective_weight(weight: Tensor, pattern: Tensor) -> Tensor:
    """The matrix (R, C) that a kernel sees of a dense or packed weight, zero where unconnected."""
    parts = pattern_parts(pattern)
    counts = parts.row_offsets.diff().long()
    rows = torch.arange(parts.rows, device=pattern.device).repeat_interleave(counts)
    entries = (rows, parts.column_of.long())
    values = weight[: parts.non_zeros] if weight.dim() == 1 else weight[entries]
    return weight.new_zeros(parts.rows, parts.columns).index_put(entries, values)


def _operand(tensor: Tensor) -> Tensor:
    """Something to differentiate by: the tensor itself where it has a graph, else a new leaf."""
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def differentiate_backward(
    define: Callable[[list[Tensor]], tuple[Sequence[Tensor], Sequence[Tensor]]],
    grads: Sequence[Tensor | None],
    operands: Sequence[Tensor],
    directions: Sequence[Tensor | None],
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Pulls directions in the space of a backward pass's results back to what it was given.

    Args:
        define: from operands to the results of the forward pass, and to the tensors that the
            backward pass gives gradients of: the operands, or what is made of them.
        grads: gradients of the results that the backward pass was given; None where there was none.
        operands: of the forward pass.
        directions: one for each gradient that the backward pass gives; None for zero.

    Returns:
        Gradients by `grads` and by `operands`; None for zero.
    """
    to_any_order = torch.is_grad_enabled()
    with torch.enable_grad():
        given = [None if grad is None else _operand(grad) for grad in grads]
        leaves = [_operand(operand) for operand in operands]
        results, by = define(leaves)
        seen = [(r, g) for r, g in zip(results, given, strict=True) if g is not None]
        first = torch.autograd.grad(
            [result for result, _ in seen],
            by,
            [grad for _, grad in seen],
            create_graph=True,
            allow_unused=True,
        )
        pulled = [
            (f, d)
            for f, d in zip(first, directions, strict=True)
            if f is not None and d is not None and f.requires_grad
        ]
        if not pulled:
            return [None] * len(grads), [None] * len(leaves)
        known = [grad for grad in given if grad is not None]
        second: list[Tensor | None] = list(
            torch.autograd.grad(
                [f for f, _ in pulled],
                known + leaves,
                [d for _, d in pulled],
                create_graph=to_any_order,
                allow_unused=True,
            )
        )
    by_grads = iter(second[: len(known)])
    return [None if g is None else next(by_grads) for g in given], second[len(known) :]
