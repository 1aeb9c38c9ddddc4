"""Gives the operators of a cell their fake implementations, gradients and rules for vmap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lsh_native.cells.cell import Cell
from lsh_native.cells.definition import run_definition
from lsh_native.cells.recurrent import calls, contiguous, ops_of
from lsh_native.cells.second_derivative import differentiate_backward, effective_weight
from lsh_native.sparsity.batching import call_for_each, fold_into_batch
from lsh_native.sparsity.transforms import transformable

__all__ = ["register"]


def _lanes(batch: Any) -> Any:
    return (batch + 3) // 4 * 4


def register(cell: Cell) -> Cell:
    """Gives a cell's operators their fake implementations and gradients; returns the cell."""
    name, G, S, A = f"lsh::{cell.name}", len(cell.gates), len(cell.states), cell.activations

    def outputs_of(weight_hh: list[Tensor], hidden: Any) -> Any:
        return weight_hh[1].shape[0] if cell.projects else hidden

    @torch.library.register_fake(f"{name}_forward")
    def _(
        input: Tensor,
        state: Tensor,
        weight_ih: Tensor,
        weight_hh: list[Tensor],
        pattern_ih: Tensor,
        pattern_hh: list[Tensor],
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        batch_sizes: Tensor | None,
        hold: Tensor | None,
        state_scale: Tensor | None,
        dense_gradient: bool,
        trajectory: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        T, B, _ = input.shape
        H, P, steps = state.shape[2], _lanes(B), T * cell.depth(len(weight_hh))
        return (
            input.new_empty(T, B, outputs_of(weight_hh, H)),
            input.new_empty(S, B, H),
            input.new_empty(steps if trajectory else 0, A, H, P),
            input.new_empty(steps + 1 if trajectory else 0, S, H, P),
        )

    @torch.library.register_fake(f"{name}_backward")
    def _(
        grad_output: Tensor | None,
        grad_final: Tensor | None,
        input: Tensor,
        state: Tensor,
        activations: Tensor,
        states: Tensor,
        weight_ih: Tensor,
        weight_hh: list[Tensor],
        pattern_ih: Tensor,
        pattern_hh: list[Tensor],
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        batch_sizes: Tensor | None,
        hold: Tensor | None,
        state_scale: Tensor | None,
        input_gradient: bool,
        dense_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor], Tensor, Tensor]:
        T, B, size = input.shape
        H, depth = states.shape[2], cell.depth(len(weight_hh))
        outputs = outputs_of(weight_hh, H)

        def like(weight: Tensor, columns: int, rows: int = G * H) -> Tensor:
            dense = dense_gradient or weight.dim() == 2
            return weight.new_empty(rows, columns) if dense else torch.empty_like(weight)

        return (
            input.new_empty(T if input_gradient else 0, B, size),
            input.new_empty(S, B, H),
            like(weight_ih, size),
            [
                *(like(weight, outputs) for weight in weight_hh[:depth]),
                *(like(weight, H, outputs) for weight in weight_hh[depth:]),
            ],
            input.new_empty(0 if bias_ih is None else G * H),
            input.new_empty(0 if bias_hh is None else depth, G * H),
        )

    @torch.library.register_fake(f"{name}_tangent")
    def _(
        tangent: Tensor,
        input_tangent: Tensor | None,
        activations: Tensor,
        states: Tensor,
        weight_ih: Tensor | None,
        weight_hh: list[Tensor],
        pattern_ih: Tensor | None,
        pattern_hh: list[Tensor],
        batch_sizes: Tensor | None,
        hold: Tensor | None,
        state_scale: Tensor | None,
        outputs: bool,
    ) -> tuple[Tensor, Tensor]:
        B, _, H, K = tangent.shape
        steps, width = activations.shape[0] // cell.depth(len(weight_hh)), outputs_of(weight_hh, H)
        return tangent.new_empty(steps if outputs else 0, B, width, K), torch.empty_like(tangent)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        input, state, weight_ih, weight_hh, pattern_ih, pattern_hh, *optional, dense, trajectory = (
            inputs
        )
        if not trajectory:
            raise ValueError("trajectory must be true where gradients are taken, got false")
        if any(bend is not None and bend.requires_grad for bend in optional[3:]):
            raise ValueError("hold and state_scale must not ask for a gradient: they get none")
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[2], output[3])
        ctx.matrices = len(weight_hh)
        ctx.dense_gradient = dense
        ctx.save_for_backward(
            *(input, state, output[2], output[3], weight_ih, pattern_ih),
            *(*weight_hh, *pattern_hh, *optional),
        )

    def backward(
        ctx: Any,
        grad_output: Tensor | None,
        grad_final: Tensor | None,
        grad_activations: Tensor | None,
        grad_states: Tensor | None,
    ) -> tuple[Any, ...]:
        input, state, activations, states, weight_ih, pattern_ih, *rest = ctx.saved_tensors
        weight_hh, pattern_hh, optional = (
            rest[: ctx.matrices],
            rest[ctx.matrices : 2 * ctx.matrices],
            rest[2 * ctx.matrices :],
        )
        nothing = [None] * ctx.matrices
        if grad_output is None and grad_final is None:
            return None, None, None, nothing, None, nothing, *[None] * 7
        d_input, d_state, d_ih, *d_hh, d_bias_ih, d_bias_hh = tree_leaves(
            calls[cell.name, "backward"](
                contiguous(grad_output),
                contiguous(grad_final),
                *(input, state, activations, states),
                *(weight_ih, weight_hh, pattern_ih, pattern_hh),
                *optional,
                ctx.needs_input_grad[0],
                ctx.dense_gradient,
            )
        )
        return (
            d_input if ctx.needs_input_grad[0] else None,
            d_state,
            d_ih,
            d_hh,
            None,
            nothing,
            d_bias_ih if optional[0] is not None else None,
            d_bias_hh if optional[1] is not None else None,
            *[None] * 5,
        )

    def setup_second(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        grads, (input, state), weights = inputs[:2], inputs[2:4], inputs[6:10]
        *optional, _, ctx.dense_gradient = inputs[10:]
        ctx.set_materialize_grads(False)
        ctx.matrices = len(weights[1])
        ctx.save_for_backward(
            *(*grads, input, state, weights[0], *weights[1]),
            *(weights[2], *weights[3], *optional),
        )

    def second_derivative(ctx: Any, *directions: Any) -> tuple[Any, ...]:
        matrices, saved = 1 + ctx.matrices, list(ctx.saved_tensors)
        grads, operands = saved[:2], saved[2 : 4 + matrices]
        patterns, optional = saved[4 + matrices : 4 + 2 * matrices], saved[4 + 2 * matrices :]
        biases, bends = optional[:2], optional[2:]

        def define(leaves: list[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
            kept, weights, offsets = leaves[:2], leaves[2 : 2 + matrices], leaves[2 + matrices :]
            dense = [effective_weight(w, p) for w, p in zip(weights, patterns, strict=True)]
            given = iter(offsets)
            bias_ih, bias_hh = (None if b is None else next(given) for b in biases)
            input, state = kept
            results = run_definition(
                cell, input, state, dense[0], dense[1:], bias_ih, bias_hh, *bends
            )
            return results, [*kept, *(dense if ctx.dense_gradient else weights), *offsets]

        d_input, d_state, d_ih, d_hh, *d_biases = directions
        if d_input is not None and d_input.shape != operands[0].shape:
            d_input = None  # no gradient of the input was made
        present = [i for i, bias in enumerate(biases) if bias is not None]
        by_grads, by_operands = differentiate_backward(
            define,
            grads,
            operands + [biases[i] for i in present],
            [
                *(d_input, d_state, d_ih, *(d_hh or [None] * ctx.matrices)),
                *(d_biases[i] for i in present),
            ],
        )
        by_biases = dict(zip(present, by_operands[2 + matrices :], strict=True))
        return (
            *(*by_grads, *by_operands[:2], None, None),
            *(by_operands[2], by_operands[3 : 2 + matrices], None, [None] * ctx.matrices),
            *(by_biases.get(0), by_biases.get(1), None, None, None, None, None),
        )

    def no_derivative_of_tangents(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        raise NotImplementedError(
            f"lsh::{cell.name}_tangent has no derivative: "
            "differentiate lsh_native.cells.tangent_definition instead"
        )

    def no_second_derivative(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        raise NotImplementedError(
            f"second derivatives of lsh::{cell.name}_forward are torch.autograd's, "
            "not torch.func's: differentiate lsh_native.cells.run_definition instead"
        )

    ops = ops_of(cell)
    folds, each = fold_into_batch(ops["forward"]), call_for_each(ops["backward"])
    calls[cell.name, "forward"] = transformable(ops["forward"], setup_context, backward, folds)
    calls[cell.name, "backward"] = transformable(
        ops["backward"], setup_second, no_second_derivative, each
    )
    torch.library.register_autograd(f"{name}_forward", backward, setup_context=setup_context)
    torch.library.register_autograd(
        f"{name}_backward", second_derivative, setup_context=setup_second
    )
    torch.library.register_autograd(f"{name}_tangent", no_derivative_of_tangents)
    torch.library.register_vmap(f"{name}_forward", folds)
    torch.library.register_vmap(f"{name}_backward", each)
    torch.library.register_vmap(f"{name}_tangent", call_for_each(ops["tangent"]))
    return cell
