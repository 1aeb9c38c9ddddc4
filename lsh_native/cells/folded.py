"""Tangent vectors along a trajectory with dense weights: gates folded before the product.

With the derivatives L_sg = ∂next_s / ∂gate_g and D_sr = ∂next_s / ∂state_r of each unit,

    d_next_s = (Σ_g diag(L_sg) W_g) d_state_0 + Σ_r D_sr d_state_r

so S matrices (H, H) are multiplied instead of G: half of the arithmetic for an LSTM.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators
from lsh_native.cells.cell import Cell
from lsh_native.cells.recurrent import Trajectory

__all__ = ["can_fold", "folded_tangent"]


def can_fold(cell: Cell, trajectory: Trajectory) -> bool:
    """Whether `folded_tangent` covers this cell on this device, and nothing bends the steps."""
    bends = (trajectory.batch_sizes, trajectory.hold, trajectory.state_scale)
    return (
        hasattr(torch.ops.lsh, f"{cell.name}_folded_tangent")
        and trajectory.states.device.type == "cpu"
        and all(bend is None for bend in bends)
    )


def folded_tangent(
    cell: Cell, tangent: Tensor, trajectory: Trajectory, weight_hh: list[Tensor]
) -> Tensor:
    """Pushes tangent vectors along a trajectory, as `tangent` does.

    Args:
        cell: the cell.
        tangent: (B, S, H, K), K tangent vectors of the initial state of each sequence.
        trajectory: of the T steps to go through.
        weight_hh: D dense recurrent weights (G * H, H), zero where masked.

    Returns:
        Tangents of the final state, (B, S, H, K). Results are the same for every number of
        threads, bit for bit.
    """
    op = getattr(torch.ops.lsh, f"{cell.name}_folded_tangent").default
    result: Tensor = op(
        tangent.contiguous(),
        trajectory.activations.contiguous(),
        trajectory.states.contiguous(),
        [weight.contiguous() for weight in weight_hh],
    )
    return result


def _register(name: str) -> None:
    @torch.library.register_fake(name)
    def _(tangent: Tensor, activations: Tensor, states: Tensor, weight_hh: list[Tensor]) -> Tensor:
        return torch.empty_like(tangent)

    def no_derivative(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        raise NotImplementedError(
            f"{name} has no derivative: differentiate lsh_native.cells.tangent_definition instead"
        )

    torch.library.register_autograd(name, no_derivative)


for _cell in ("elman", "gru", "lstm", "rhn", "free_rhn"):
    _register(f"lsh::{_cell}_folded_tangent")
