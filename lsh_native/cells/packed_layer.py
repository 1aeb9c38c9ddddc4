"""A layer's matrices as the bytes that a forward pass reads, made once for many passes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from lsh_native.cells.cell import Cell
from lsh_native.cells.recurrent import LayerWeights
from lsh_native.sparsity.packed import FEW, at_once, lanes_of, packed_weight

__all__ = ["packed_kind", "packed_layer"]


def packed_kind(steps: int, batch: int) -> Hashable:
    """What the bytes depend on of a pass over T steps of B sequences."""
    return lanes_of(at_once(steps * batch)), lanes_of(batch)


def packed_layer(cell: Cell, weights: LayerWeights, steps: int, batch: int) -> LayerWeights:
    """A layer with its matrices as bytes, in the forms that `run` reads without gradients.

    Args:
        cell: the cell.
        weights: those of the layer, dense or packed values, on the CPU.
        steps: T.
        batch: B, at least 1.

    Returns:
        The layer for all passes of the same `packed_kind`; later changes of the weights leave its
        bytes alone.
    """
    gates, inputs = len(cell.gates), at_once(steps * batch)
    rows_alone = batch <= FEW < inputs  # as the input's product then has other lanes than a step's
    return replace(
        weights,
        weight_ih=packed_weight(
            weights.weight_ih.contiguous(),
            weights.pattern_ih,
            gates=1 if rows_alone else gates,
            items=inputs,
        ),
        weight_hh=tuple(
            packed_weight(
                weight.contiguous(), pattern, gates=1 if cell.projects and i else gates, items=batch
            )
            for i, (weight, pattern) in enumerate(
                zip(weights.weight_hh, weights.pattern_hh, strict=True)
            )
        ),
    )
