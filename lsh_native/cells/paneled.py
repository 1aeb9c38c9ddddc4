"""Tangent vectors along a trajectory with sparse weights, which are packed once for many calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators
from lsh_native.cells.cell import Cell
from lsh_native.cells.recurrent import LayerWeights, Trajectory
from lsh_native.sparsity.packed import FEW, packed_weight

__all__ = ["can_panel", "pack_panels", "paneled_tangent"]


def can_panel(cell: Cell, trajectory: Trajectory) -> bool:
    """Whether `paneled_tangent` covers this cell on this device, and nothing bends the steps."""
    bends = (trajectory.batch_sizes, trajectory.hold, trajectory.state_scale)
    return (
        hasattr(torch.ops.lsh, f"{cell.name}_paneled_tangent")
        and trajectory.states.device.type == "cpu"
        and all(bend is None for bend in bends)
    )


def pack_panels(cell: Cell, weights: LayerWeights, hidden: int, vectors: int) -> list[Tensor]:
    """Packs the recurrent weights of a layer for products with `vectors` tangent vectors.

    Costs about as much as a step of 250 tangent vectors.

    Args:
        cell: the cell.
        weights: those of the layer, dense or packed.
        hidden: H.
        vectors: K.

    Returns:
        D byte tensors for `paneled_tangent`, which later changes of the weights leave alone.
    """
    gates = len(cell.gates)
    items = max(vectors, FEW + 1)  # fewer are looked up in registers, and have no panels
    return [
        packed_weight(weight.contiguous(), pattern, gates=gates, items=items)
        for weight, pattern in zip(weights.weight_hh, weights.pattern_hh, strict=True)
    ]


def paneled_tangent(
    cell: Cell, tangent: Tensor, trajectory: Trajectory, packed_hh: list[Tensor]
) -> Tensor:
    """Pushes tangent vectors along a trajectory, as `tangent` does.

    Args:
        cell: the cell.
        tangent: (B, S, H, K), K tangent vectors of the initial state of each sequence.
        trajectory: of the T steps to go through.
        packed_hh: D recurrent weights from `pack_panels`.

    Returns:
        Tangents of the final state, (B, S, H, K). Results are the same for every number of
        threads, bit for bit.
    """
    op = getattr(torch.ops.lsh, f"{cell.name}_paneled_tangent").default
    result: Tensor = op(
        tangent.contiguous(),
        trajectory.activations.contiguous(),
        trajectory.states.contiguous(),
        packed_hh,
    )
    return result


def _register(name: str) -> None:
    @torch.library.register_fake(name)
    def _(tangent: Tensor, activations: Tensor, states: Tensor, packed_hh: list[Tensor]) -> Tensor:
        return torch.empty_like(tangent)

    def no_derivative(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        raise NotImplementedError(
            f"{name} has no derivative: differentiate lsh_native.cells.tangent_definition instead"
        )

    torch.library.register_autograd(name, no_derivative)


for _cell in ("elman", "gru", "lstm", "rhn", "free_rhn"):
    _register(f"lsh::{_cell}_paneled_tangent")
