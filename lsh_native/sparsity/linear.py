"""y = x Wᵀ + b with a sparse W: the operator and its gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators
from lsh_native.sparsity.batching import call_for_each, fold_into_rows
from lsh_native.sparsity.forward_mode import refuse_forward_mode
from lsh_native.sparsity.packed import (
    FEW,
    at_once,
    keeps_packed,
    kept_form,
    lanes_of,
    packed_weight,
)
from lsh_native.sparsity.transforms import transformable

__all__ = ["sparse_linear"]


def sparse_linear(
    input: Tensor,
    weight: Tensor,
    pattern: Tensor,
    bias: Tensor | None,
    rows: int,
    *,
    dense_gradient: bool = False,
) -> Tensor:
    """Applies a sparse linear map.

    Args:
        input: (N, C), float32 or float64.
        weight: (R, C) dense, of which the pattern's entries are read, or packed values in the
            pattern's row order.
        pattern: of the weight, see `lsh_native.sparsity.pattern`.
        bias: (R,) or None.
        rows: R.
        dense_gradient: weight gradient at every entry instead of those that the pattern keeps.

    Returns:
        (N, R). Differentiable to any order; the same for every number of threads, bit for bit.

    Raises:
        RuntimeError: shapes, dtypes, devices or the pattern do not fit, saying which must be what.
    """
    refuse_forward_mode(input, weight, bias)
    weight = weight.contiguous()
    plain, items = weight, at_once(len(input))
    if keeps_packed() and items > 0 and weight.device.type == "cpu":
        gates = 4 if items <= FEW and rows % 4 == 0 else 1
        weight = kept_form(
            (weight, pattern),
            (gates, lanes_of(items)),
            partial(packed_weight, weight, pattern, gates=gates, items=items),
            plain=lambda: plain,
        )
    result: Tensor = _forward(
        input.contiguous(),
        weight,
        pattern,
        None if bias is None else bias.contiguous(),
        rows,
        dense_gradient and not keeps_packed(),
    )
    return result


@torch.library.register_fake("lsh::sparse_linear")
def _(
    input: Tensor,
    weight: Tensor,
    pattern: Tensor,
    bias: Tensor | None,
    rows: int,
    dense_gradient: bool,
) -> Tensor:
    return input.new_empty(input.shape[0], rows)


@torch.library.register_fake("lsh::sparse_linear_backward")
def _(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    pattern: Tensor,
    input_gradient: bool,
    bias_gradient: bool,
    dense_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    N, C = input.shape
    dense = dense_gradient or weight.dim() == 2
    return (
        input.new_empty(N if input_gradient else 0, C),
        weight.new_empty(grad_output.shape[1], C) if dense else torch.empty_like(weight),
        input.new_empty(grad_output.shape[1] if bias_gradient else 0),
    )


def _forward_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, weight, pattern, _bias, _rows, dense_gradient = inputs
    ctx.save_for_backward(input, weight, pattern)
    ctx.dense_gradient = dense_gradient


def _forward_gradient(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
    input, weight, pattern = ctx.saved_tensors
    d_input, d_weight, d_bias = _backward(
        grad_output.contiguous(),
        input,
        weight,
        pattern,
        ctx.needs_input_grad[0],
        ctx.needs_input_grad[3],
        ctx.dense_gradient,
    )
    return (
        d_input if ctx.needs_input_grad[0] else None,
        d_weight,
        None,
        d_bias if ctx.needs_input_grad[3] else None,
        None,
        None,
    )


def _backward_context(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    grad_output, input, weight, pattern, *flags = inputs
    ctx.input_gradient, ctx.bias_gradient, ctx.dense_gradient = flags
    ctx.save_for_backward(grad_output, input, weight, pattern)


def _backward_gradient(
    ctx: Any, dd_input: Tensor, dd_weight: Tensor, dd_bias: Tensor
) -> tuple[Any, ...]:
    """Gradients of d_input = g W and d_weight = gᵀ x: the same products, dd_weight in W's place."""
    grad_output, input, weight, pattern = ctx.saved_tensors
    rows = grad_output.shape[1]
    dd_weight = dd_weight.contiguous()
    if ctx.dense_gradient:
        d_grad_output, d_input = input @ dd_weight.mT, grad_output @ dd_weight
    else:
        d_grad_output = _forward(input, dd_weight, pattern, None, rows, False)
        d_input, _, _ = _backward(grad_output, input, dd_weight, pattern, True, False, False)
    if ctx.bias_gradient:
        d_grad_output = d_grad_output + dd_bias
    d_weight = None
    if ctx.input_gradient:
        dd_input = dd_input.contiguous()
        d_grad_output = d_grad_output + _forward(dd_input, weight, pattern, None, rows, False)
        _, d_weight, _ = _backward(
            grad_output, dd_input, weight, pattern, False, False, ctx.dense_gradient
        )
    return d_grad_output, d_input, d_weight, None, None, None, None


_op, _backward_op = (
    torch.ops.lsh.sparse_linear.default,
    torch.ops.lsh.sparse_linear_backward.default,
)
_rows, _each = fold_into_rows(_op), call_for_each(_backward_op)
_forward = transformable(_op, _forward_context, _forward_gradient, _rows)
_backward = transformable(_backward_op, _backward_context, _backward_gradient, _each)

torch.library.register_autograd(
    "lsh::sparse_linear", _forward_gradient, setup_context=_forward_context
)
torch.library.register_autograd(
    "lsh::sparse_linear_backward", _backward_gradient, setup_context=_backward_context
)
torch.library.register_vmap("lsh::sparse_linear", _rows)
torch.library.register_vmap("lsh::sparse_linear_backward", _each)
