"""The form of a mask: what regularity its connections have, for kernels to profit from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lsh_native.native import libraries

__all__ = ["BLOCK_HEIGHTS", "Form", "form_of"]

BLOCK_HEIGHTS = (16, 8, 4)
"""Heights of blocks that are looked for, the highest first."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What regularity the connections of one matrix have.

    Attributes:
        rows: R.
        columns: C.
        connections: N.
        gates: G, how many gates of R / G units each stand above each other.
        shared_by_gates: whether a unit's rows are the same in every gate.
        block_height: the connections come in aligned blocks of so many rows by one column, within
            a gate; 1 where they do not.
        fan_in: connections of every row, None where rows differ.
        empty_rows: rows without a connection.
        empty_columns: columns without one.
    """

    rows: int
    columns: int
    connections: int
    gates: int
    shared_by_gates: bool
    block_height: int
    fan_in: int | None
    empty_rows: int
    empty_columns: int

    @property
    def density(self) -> float:
        """Share of the entries that is connected; 1 for a matrix without any."""
        return self.connections / (self.rows * self.columns) if self.rows * self.columns else 1.0

    @property
    def shared_rows(self) -> int:
        """Rows for which the CPU's products of many vectors load their operand once.

        As `csrc/sparsity/bundles.cpp` finds them: blocks, or the gates of a unit.
        """
        most = 8 if libraries.simd_level == "v4" else 4
        if not self.connections:
            return 1
        if self.block_height >= 4:
            return min(self.block_height, most)
        return self.gates if self.shared_by_gates and 2 <= self.gates <= 4 else 1

    def __str__(self) -> str:
        if self.connections == self.rows * self.columns:
            return "fully connected"
        parts = [f"{self.connections} connections ({self.density:.1%})"]
        if self.connections:
            if self.block_height > 1:
                parts.append(f"blocks of {self.block_height} x 1")
            if self.gates > 1 and self.shared_by_gates:
                parts.append(f"the same for {self.gates} gates")
            if self.fan_in is not None:
                parts.append(f"{self.fan_in} in every row")
            if self.empty_rows:
                parts.append(f"{self.empty_rows} rows without any")
            if self.empty_columns:
                parts.append(f"{self.empty_columns} columns without any")
        return ", ".join(parts)


def form_of(mask: Tensor, gates: int = 1) -> Form:
    """The form of a mask.

    Args:
        mask: (R, C) bool, true where there is a connection.
        gates: G, a divisor of R.

    Returns:
        What regularity it has; an empty mask has them all.

    Raises:
        TypeError: the mask is not bool.
        ValueError: it has not two dimensions, or `gates` does not divide its rows.

    Example:
        >>> print(form_of(torch.eye(4, dtype=torch.bool).repeat_interleave(4, 0)))
        16 connections (25.0%), blocks of 4 x 1, 1 in every row
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be bool, got {mask.dtype}")
    if mask.dim() != 2:
        raise ValueError(f"mask must have 2 dimensions, got shape {tuple(mask.shape)}")
    rows, columns = mask.shape
    if gates < 1 or rows % gates:
        raise ValueError(f"gates must divide the {rows} rows of mask, got {gates}")
    by_gate = mask.view(gates, rows // gates, columns)
    by_row, by_column = mask.count_nonzero(1), mask.count_nonzero(0)
    return Form(
        rows=rows,
        columns=columns,
        connections=int(by_row.sum()),
        gates=gates,
        shared_by_gates=bool((by_gate == by_gate[:1]).all()),
        block_height=next((n for n in BLOCK_HEIGHTS if _comes_in_blocks(by_gate, n)), 1),
        fan_in=int(by_row[0]) if rows and bool((by_row == by_row[0]).all()) else None,
        empty_rows=int((by_row == 0).sum()),
        empty_columns=int((by_column == 0).sum()),
    )


def _comes_in_blocks(by_gate: Tensor, height: int) -> bool:
    gates, units, columns = by_gate.shape
    if units % height:
        return False
    blocks = by_gate.reshape(gates, units // height, height, columns)
    return bool((blocks == blocks[:, :, :1]).all())
