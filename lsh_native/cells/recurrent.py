"""Runs a cell over a sequence, and tangent vectors along its trajectory, by native operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators
from lsh_native.cells.cell import Cell
from lsh_native.sparsity.forward_mode import refuse_forward_mode
from lsh_native.sparsity.transforms import is_transformed

__all__ = [
    "LayerWeights",
    "Run",
    "Trajectory",
    "calls",
    "contiguous",
    "ops_of",
    "run",
    "tangent",
]


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """The matrices of one layer, with their patterns.

    A weight is given dense, (R, C), of which the pattern's entries are read, or packed, (N,), in
    the pattern's row order; `run` without gradients also takes what `packed_layer` makes. D is the
    number of micro-steps of a time step, 1 for an LSTM. A cell that projects has two recurrent
    weights, (G * H, O) and the projection (O, H), which is dense.

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
        output: (T, B, O), the first state at every step; O is H unless the cell projects.
        final_state: (S, B, H).
        kept: the trajectory, if the pass kept it.
    """

    output: Tensor
    final_state: Tensor
    kept: Trajectory | None

    @property
    def trajectory(self) -> Trajectory:
        """What derivatives are taken along; raises a ValueError where the pass did not keep it."""
        if self.kept is None:
            raise ValueError("a pass must be run with trajectory=True to give one, got False")
        return self.kept


def ops_of(cell: Cell) -> Any:
    """A cell's operators by kind: forward, backward, tangent."""
    return {
        kind: getattr(torch.ops.lsh, f"{cell.name}_{kind}").default
        for kind in ("forward", "backward", "tangent")
    }


calls: dict[tuple[str, str], Callable[..., Any]] = {}
"""Forward and backward of each cell, in a form that `torch.func` takes."""


def contiguous(tensor: Tensor | None) -> Tensor | None:
    """A tensor laid out densely, where there is one."""
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
    trajectory: bool = True,
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
        trajectory: whether to keep states and activations, on the CPU a good part of the time of a
            sparse pass. Where gradients are recorded they are kept in any case.

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
    keeps = trajectory or torch.is_grad_enabled() or is_transformed()
    output, final_state, activations, states = calls[cell.name, "forward"](
        input.contiguous(),
        state.contiguous(),
        weights.weight_ih.contiguous(),
        [weight.contiguous() for weight in weights.weight_hh],
        weights.pattern_ih,
        list(weights.pattern_hh),
        contiguous(weights.bias_ih),
        contiguous(weights.bias_hh),
        contiguous(batch_sizes),
        contiguous(hold),
        contiguous(state_scale),
        dense_gradient,
        keeps,
    )
    if not keeps:
        return Run(output=output, final_state=final_state, kept=None)
    kept = Trajectory(
        activations=activations,
        states=states,
        batch=input.shape[1],
        batch_sizes=batch_sizes,
        hold=hold,
        state_scale=state_scale,
    )
    return Run(output=output, final_state=final_state, kept=kept)


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
        Tangents of the outputs, (T, B, O, K) or empty without `outputs`, and of the final state,
        (B, S, H, K).
    """
    with_input = input_tangent is not None
    result: tuple[Tensor, Tensor] = ops_of(cell)["tangent"](
        tangent.contiguous(),
        contiguous(input_tangent),
        trajectory.activations.contiguous(),
        trajectory.states.contiguous(),
        weights.weight_ih.contiguous() if with_input else None,
        [weight.contiguous() for weight in weights.weight_hh],
        weights.pattern_ih if with_input else None,
        list(weights.pattern_hh),
        contiguous(trajectory.batch_sizes),
        contiguous(trajectory.hold),
        contiguous(trajectory.state_scale),
        outputs,
    )
    return result
