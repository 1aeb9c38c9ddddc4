"""Runs a cell over a sequence: the operators, their gradients, and their plain definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lsh_native import native as native  # registers the operators
from lsh_native.cells.cell import Cell
from lsh_native.cells.second_derivative import differentiate_backward, effective_weight
from lsh_native.sparsity.batching import call_for_each, fold_into_batch
from lsh_native.sparsity.forward_mode import refuse_forward_mode
from lsh_native.sparsity.transforms import transformable

__all__ = [
    "LayerWeights",
    "Run",
    "Trajectory",
    "register",
    "run",
    "run_definition",
    "tangent",
    "tangent_definition",
]


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """The matrices of one layer, with their patterns.

    A weight is given dense, (R, C), of which the pattern's entries are read, or packed, (N,), in
    the pattern's row order. D is the number of micro-steps of a time step, 1 for an LSTM.

    Attributes:
        weight_ih: input weight, (G * H, I) or (N,).
        weight_hh: D recurrent weights, each (G * H, H) or (N,).
        pattern_ih: pattern of the input weight.
        pattern_hh: D patterns.
        bias_ih: (G * H,) or None.
        bias_hh: (D, G * H) or None.
    """

    weight_ih: Tensor
    weight_hh: tuple[Tensor, ...]
    pattern_ih: Tensor
    pattern_hh: tuple[Tensor, ...]
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """States and activations of a pass, the batch last and padded to P, a multiple of 4.

    Attributes:
        activations: (T * D, A, H, P); columns from B on hold no information.
        states: (T * D + 1, S, H, P), the initial state first.
        batch: B.
        batch_sizes: as `run` was given it.
        hold: likewise.
        state_scale: likewise.
    """

    activations: Tensor
    states: Tensor
    batch: int
    batch_sizes: Tensor | None = None
    hold: Tensor | None = None
    state_scale: Tensor | None = None

    def window(self, begin: int, end: int, depth: int = 1) -> Trajectory:
        """The time steps [begin, end), as views."""
        return Trajectory(
            activations=self.activations[begin * depth : end * depth],
            states=self.states[begin * depth : end * depth + 1],
            batch=self.batch,
            batch_sizes=None if self.batch_sizes is None else self.batch_sizes[begin:end],
            hold=None if self.hold is None else self.hold[begin:end],
            state_scale=self.state_scale,
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a pass over a sequence gives.

    Attributes:
        output: (T, B, H), the first state at every step.
        final_state: (S, B, H).
        trajectory: what derivatives are taken along.
    """

    output: Tensor
    final_state: Tensor
    trajectory: Trajectory


def _ops(cell: Cell) -> Any:
    return {
        kind: getattr(torch.ops.lsh, f"{cell.name}_{kind}").default
        for kind in ("forward", "backward", "tangent")
    }


_calls: dict[tuple[str, str], Callable[..., Any]] = {}
"""Forward and backward of each cell, in a form that `torch.func` takes."""


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def run(
    cell: Cell,
    input: Tensor,
    state: Tensor,
    weights: LayerWeights,
    *,
    batch_sizes: Tensor | None = None,
    hold: Tensor | None = None,
    state_scale: Tensor | None = None,
    dense_gradient: bool = False,
) -> Run:
    """Runs a cell over a sequence with native kernels.

    Args:
        cell: the cell.
        input: (T, B, I), T ≥ 1.
        state: (S, B, H), the initial state.
        weights: matrices and patterns, on the input's device and of its dtype.
        batch_sizes: (T,) int64 on the CPU, how many sequences each time step moves, the first ones;
            the others keep their state and put out zero. As a `PackedSequence` has them, but in
            any order, so that a sequence may also begin late. Inputs there must be finite.
        hold: (T, S, B, H) in [0, 1], how much of its state a unit keeps in a time step:
            state' = hold · state + (1 - hold) · cell(…), over all micro-steps together.
        state_scale: (B, H), factors of the state where it enters a recurrent product, at every
            step and micro-step.
        dense_gradient: weight gradients at every entry instead of those that the pattern keeps.

    Returns:
        Output, final state and trajectory. Gradients flow into input, state, weights and biases
        through output and final state, not into `hold` and `state_scale`, which must not ask for
        one. Results are the same for every number of threads, bit for bit.

    Raises:
        RuntimeError: shapes, dtypes, devices or patterns do not fit, saying which must be what.
    """
    refuse_forward_mode(
        input, state, weights.weight_ih, *weights.weight_hh, weights.bias_ih, weights.bias_hh
    )
    output, final_state, activations, states = _calls[cell.name, "forward"](
        input.contiguous(),
        state.contiguous(),
        weights.weight_ih.contiguous(),
        [weight.contiguous() for weight in weights.weight_hh],
        weights.pattern_ih,
        list(weights.pattern_hh),
        _contiguous(weights.bias_ih),
        _contiguous(weights.bias_hh),
        _contiguous(batch_sizes),
        _contiguous(hold),
        _contiguous(state_scale),
        dense_gradient,
    )
    trajectory = Trajectory(
        activations=activations,
        states=states,
        batch=input.shape[1],
        batch_sizes=batch_sizes,
        hold=hold,
        state_scale=state_scale,
    )
    return Run(output=output, final_state=final_state, trajectory=trajectory)


def tangent(
    cell: Cell,
    tangent: Tensor,
    trajectory: Trajectory,
    weights: LayerWeights,
    *,
    input_tangent: Tensor | None = None,
    outputs: bool = False,
) -> tuple[Tensor, Tensor]:
    """Pushes tangent vectors along a trajectory: J · Q, with the Jacobian never formed.

    Args:
        cell: the cell.
        tangent: (B, S, H, K), K tangent vectors of the initial state of each sequence.
        trajectory: of the T steps to go through.
        weights: those that the trajectory was made with.
        input_tangent: (T, B, I, K), tangents of the input; zero by default.
        outputs: whether to return the tangents of every step's output.

    Returns:
        Tangents of the outputs, (T, B, H, K) or empty without `outputs`, and of the final state,
        (B, S, H, K).
    """
    with_input = input_tangent is not None
    result: tuple[Tensor, Tensor] = _ops(cell)["tangent"](
        tangent.contiguous(),
        _contiguous(input_tangent),
        trajectory.activations.contiguous(),
        trajectory.states.contiguous(),
        weights.weight_ih.contiguous() if with_input else None,
        [weight.contiguous() for weight in weights.weight_hh],
        weights.pattern_ih if with_input else None,
        list(weights.pattern_hh),
        _contiguous(trajectory.batch_sizes),
        _contiguous(trajectory.hold),
        _contiguous(trajectory.state_scale),
        outputs,
    )
    return result


# ------------------------------------------------------------------------------- definition


def run_definition(
    cell: Cell,
    input: Tensor,
    state: Tensor,
    weight_ih: Tensor,
    weight_hh: Sequence[Tensor],
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    batch_sizes: Tensor | None = None,
    hold: Tensor | None = None,
    state_scale: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition of `run` in plain torch, for dense weights with zeros where masked.

    Args:
        cell: the cell.
        input: (T, B, I).
        state: (S, B, H).
        weight_ih: (G * H, I).
        weight_hh: D of (G * H, H).
        bias_ih: (G * H,) or None.
        bias_hh: (D, G * H) or None.
        batch_sizes: (T,) or None.
        hold: (T, S, B, H) or None.
        state_scale: (B, H) or None.

    Returns:
        Output (T, B, H) and final state (S, B, H).
    """
    outputs = []
    items = torch.arange(input.shape[1], device=input.device).unsqueeze(1)
    for t, x in enumerate(input):
        start = state
        projected = x @ weight_ih.mT
        if bias_ih is not None:
            projected = projected + bias_ih
        for depth, weight in enumerate(weight_hh):
            operand = state[0] if state_scale is None else state[0] * state_scale
            recurrent = operand @ weight.mT
            if bias_hh is not None:
                recurrent = recurrent + bias_hh[depth]
            step_input = projected if depth == 0 else torch.zeros_like(recurrent)
            _, state = cell.step(recurrent, step_input, state)
        if hold is not None:
            state = hold[t] * start + (1 - hold[t]) * state
        output = state[0]
        if batch_sizes is not None:
            moves = items < batch_sizes[t]
            state = torch.where(moves, state, start)
            output = torch.where(moves, output, torch.zeros_like(output))
        outputs.append(output)
    return torch.stack(outputs), state


def tangent_definition(
    cell: Cell,
    tangent: Tensor,
    input: Tensor,
    state: Tensor,
    weight_ih: Tensor,
    weight_hh: Sequence[Tensor],
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    input_tangent: Tensor | None = None,
    **bends: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The definition of `tangent`: `run_definition` differentiated forwards, vector by vector."""
    inputs, finals = [], []

    def run_from(x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        return run_definition(cell, x, s, weight_ih, weight_hh, bias_ih, bias_hh, **bends)

    for k in range(tangent.shape[-1]):
        direction = tangent[..., k].transpose(0, 1)
        d_input = torch.zeros_like(input) if input_tangent is None else input_tangent[..., k]
        _, (d_output, d_state) = torch.func.jvp(  # type: ignore[misc]
            run_from, (input, state), (d_input, direction)
        )
        inputs.append(d_output)
        finals.append(d_state.transpose(0, 1))
    return torch.stack(inputs, -1), torch.stack(finals, -1)


# ----------------------------------------------------------------------------- registration


def _lanes(batch: Any) -> Any:
    return (batch + 3) // 4 * 4


def register(cell: Cell) -> Cell:
    """Gives a cell's operators their fake implementations and gradients; returns the cell."""
    name, G, S, A = f"lsh::{cell.name}", len(cell.gates), len(cell.states), cell.activations

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
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        T, B, _ = input.shape
        H, P, steps = state.shape[2], _lanes(B), T * len(weight_hh)
        return (
            input.new_empty(T, B, H),
            input.new_empty(S, B, H),
            input.new_empty(steps, A, H, P),
            input.new_empty(steps + 1, S, H, P),
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
        H, depth = states.shape[2], len(weight_hh)

        def like(weight: Tensor, columns: int) -> Tensor:
            dense = dense_gradient or weight.dim() == 2
            return weight.new_empty(G * H, columns) if dense else torch.empty_like(weight)

        return (
            input.new_empty(T if input_gradient else 0, B, size),
            input.new_empty(S, B, H),
            like(weight_ih, size),
            [like(weight, H) for weight in weight_hh],
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
        steps = activations.shape[0] // len(weight_hh)
        return tangent.new_empty(steps if outputs else 0, B, H, K), torch.empty_like(tangent)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        input, state, weight_ih, weight_hh, pattern_ih, pattern_hh, *optional, dense = inputs
        if any(bend is not None and bend.requires_grad for bend in optional[3:]):
            raise ValueError("hold and state_scale must not ask for a gradient: they get none")
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[2], output[3])
        ctx.depth = len(weight_hh)
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
            rest[: ctx.depth],
            rest[ctx.depth : 2 * ctx.depth],
            rest[2 * ctx.depth :],
        )
        nothing = [None] * ctx.depth
        if grad_output is None and grad_final is None:
            return None, None, None, nothing, None, nothing, *[None] * 6
        d_input, d_state, d_ih, *d_hh, d_bias_ih, d_bias_hh = tree_leaves(
            _calls[cell.name, "backward"](
                _contiguous(grad_output),
                _contiguous(grad_final),
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
            *[None] * 4,
        )

    def setup_second(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        grads, (input, state), weights = inputs[:2], inputs[2:4], inputs[6:10]
        *optional, _, ctx.dense_gradient = inputs[10:]
        ctx.set_materialize_grads(False)
        ctx.depth = len(weights[1])
        ctx.save_for_backward(
            *(*grads, input, state, weights[0], *weights[1]),
            *(weights[2], *weights[3], *optional),
        )

    def second_derivative(ctx: Any, *directions: Any) -> tuple[Any, ...]:
        matrices, saved = 1 + ctx.depth, list(ctx.saved_tensors)
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
                *(d_input, d_state, d_ih, *(d_hh or [None] * ctx.depth)),
                *(d_biases[i] for i in present),
            ],
        )
        by_biases = dict(zip(present, by_operands[2 + matrices :], strict=True))
        return (
            *(*by_grads, *by_operands[:2], None, None),
            *(by_operands[2], by_operands[3 : 2 + matrices], None, [None] * ctx.depth),
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

    ops = _ops(cell)
    folds, each = fold_into_batch(ops["forward"]), call_for_each(ops["backward"])
    _calls[cell.name, "forward"] = transformable(ops["forward"], setup_context, backward, folds)
    _calls[cell.name, "backward"] = transformable(
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
