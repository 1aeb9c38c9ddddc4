"""Native operators under `torch.func`: its gradients need what torch's registration lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

__all__ = ["is_transformed", "transformable"]


def is_transformed() -> bool:
    """Whether a transform of `torch.func` is under way."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None


def transformable(
    op: Any,
    setup: Callable[..., None],
    backward: Callable[..., tuple[Any, ...]],
    batching: Callable[..., tuple[Any, Any]],
) -> Callable[..., Any]:
    """An operator that `torch.func.grad` and its kin can take, and `torch.vmap` of them.

    Args:
        op: the operator.
        setup: as `torch.library.register_autograd` takes it.
        backward: likewise.
        batching: as `torch.library.register_vmap` takes it.

    Returns:
        What to call instead of `op`, with the same arguments; lists of results are flattened.
    """

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(*flat: Any) -> tuple[Any, ...]:
            *leaves, spec = flat
            return tuple(tree_leaves(op(*tree_unflatten(leaves, spec))))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
            *leaves, spec = inputs
            setup(ctx, tree_unflatten(leaves, spec), output)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
            return (*tree_leaves(backward(ctx, *grads)), None)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[Any, ...], *flat: Any) -> tuple[Any, Any]:
            *leaves, spec = flat
            results, dims = batching(
                info, tree_unflatten(in_dims[:-1], spec), *tree_unflatten(leaves, spec)
            )
            return tuple(tree_leaves(results)), tuple(tree_leaves(dims))

    def call(*arguments: Any) -> Any:
        if not is_transformed():
            if torch.is_grad_enabled() or torch.compiler.is_compiling():
                return op(*arguments)
            with torch._C._AutoDispatchBelowAutograd():  # spares Python's part of the gradient
                return op(*arguments)
        leaves, spec = tree_flatten(arguments)
        # torch has no type for apply
        results = Function.apply(*leaves, spec)  # type: ignore[no-untyped-call]
        return results[0] if len(op._schema.returns) == 1 else results

    return call
