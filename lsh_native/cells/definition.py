"""What running a cell over a sequence means, in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from lsh_native.cells.cell import Cell

__all__ = ["run_definition", "tangent_definition"]


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
        weight_hh: D of (G * H, H), or (G * H, O) and (O, H) of a cell that projects.
        bias_ih: (G * H,) or None.
        bias_hh: (D, G * H) or None.
        batch_sizes: (T,) or None.
        hold: (T, S, B, H) or None.
        state_scale: (B, H) or None.

    Returns:
        Output (T, B, O) and final state (S, B, H), O being H unless the cell projects.
    """
    outputs, H, O = [], state.shape[-1], weight_hh[0].shape[-1]  # noqa: E741
    weights, projection = (weight_hh[:1], weight_hh[1]) if cell.projects else (weight_hh, None)
    if projection is not None:
        state = torch.stack([pad(state[0, ..., :O], (0, H - O)), *state[1:]])
    items = torch.arange(input.shape[1], device=input.device).unsqueeze(1)
    for t, x in enumerate(input):
        start = state
        projected = x @ weight_ih.transpose(-1, -2)
        if bias_ih is not None:
            projected = projected + bias_ih
        for depth, weight in enumerate(weights):
            operand = state[0] if state_scale is None else state[0] * state_scale
            recurrent = operand[..., :O] @ weight.transpose(-1, -2)
            if bias_hh is not None:
                recurrent = recurrent + bias_hh[depth]
            step_input = projected if depth == 0 else torch.zeros_like(recurrent)
            _, state = cell.step(recurrent, step_input, state)
        if projection is not None:
            output = state[0] @ projection.transpose(-1, -2)
            state = torch.stack([pad(output, (0, H - O)), *state[1:]])
        if hold is not None:
            state = hold[t] * start + (1 - hold[t]) * state
        output = state[0, ..., :O]
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
        # torch's type has a third result, which only comes with has_aux
        _, (d_output, d_state) = torch.func.jvp(  # type: ignore[misc]
            run_from, (input, state), (d_input, direction)
        )
        inputs.append(d_output)
        finals.append(d_state.transpose(0, 1))
    return torch.stack(inputs, -1), torch.stack(finals, -1)
