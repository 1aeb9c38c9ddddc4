"""What `torch.vmap` does with native operators.

Sequences that differ only in input and state become one larger batch of one call. Whatever else is
mapped over, weights above all, is one call an element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["call_for_each", "fold_into_batch", "fold_into_rows"]

Rule = Callable[..., tuple[Any, Any]]


def _element(argument: Any, dim: Any, index: int) -> Any:
    if isinstance(argument, list | tuple):
        return [_element(a, d, index) for a, d in zip(argument, dim, strict=True)]
    return argument if dim is None else argument.select(dim, index).contiguous()


def _stack(results: list[Any]) -> Any:
    if isinstance(results[0], Tensor):
        return torch.stack(results)
    return [_stack(list(parts)) for parts in zip(*results, strict=True)]


def call_for_each(op: Any) -> Rule:
    """One call for each element of the mapped dimension."""

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        calls = [
            op(*(_element(a, d, i) for a, d in zip(arguments, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        if isinstance(calls[0], Tensor):
            calls = [(call,) for call in calls]
        results = tuple(_stack(list(parts)) for parts in zip(*calls, strict=True))
        return results, tuple(
            [0] * len(result) if isinstance(result, list) else 0 for result in results
        )

    return rule


def fold_into_rows(op: Any) -> Rule:
    """For a linear map of rows (N, C): one call of V · N rows where its weight is not mapped."""
    each = call_for_each(op)

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        if in_dims[0] is None or any(dim is not None for dim in in_dims[1:]):
            [result], _ = each(info, in_dims, *arguments)
            return result, 0
        input = arguments[0].movedim(in_dims[0], 0)
        return op(input.flatten(0, 1).contiguous(), *arguments[1:]).unflatten(0, input.shape[:2]), 0

    return rule


def fold_into_batch(op: Any) -> Rule:
    """For a forward of a cell: one call of V · P sequences, P of them an element.

    P is the batch rounded up to a multiple of 4, as a trajectory has it, so that trajectories part.
    """
    each = call_for_each(op)
    batch_dims = {0: 1, 1: 1, 9: 2, 10: 0}  # input, state, hold, state_scale: where B stands

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        fixed = [d for i, d in enumerate(in_dims) if i not in batch_dims]
        mapped = any(d is not None for dim in fixed for d in (dim if _is_list(dim) else [dim]))
        if mapped or arguments[8] is not None:  # batch_sizes count the first items of one batch
            return each(info, in_dims, *arguments)
        V = info.batch_size
        one_input = _element(arguments[0], in_dims[0], 0)
        B = one_input.shape[1]
        P = (B + 3) // 4 * 4

        def fold(argument: Tensor, dim: int | None, batch: int) -> Tensor:
            whole = argument.expand(V, *argument.shape) if dim is None else argument.movedim(dim, 0)
            padding = [0, 0] * (whole.dim() - batch - 2) + [0, P - B]
            return pad(whole, padding).movedim(0, batch).flatten(batch, batch + 1).contiguous()

        folded = list(arguments)
        for i, batch in batch_dims.items():
            if arguments[i] is not None:
                folded[i] = fold(arguments[i], in_dims[i], batch)
        output, final_state, *trajectory = op(*folded)
        return (
            *(result.unflatten(1, (V, P))[:, :, :B] for result in (output, final_state)),
            *(result.unflatten(3, (V, P)) for result in trajectory),
        ), (1, 1, 3, 3)

    return rule


def _is_list(dim: Any) -> bool:
    return isinstance(dim, list | tuple)
