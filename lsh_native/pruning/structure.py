"""What shape a mask may have: single entries, blocks, gates; groups of equal count in `groups`.

A structure shows criteria what they choose among. Blocks and gates do so by other matrices (one
entry a block, one matrix a gate), for which any criterion serves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from lsh_native.pruning.criterion import Counts, Drop, Grow
from lsh_native.sparsity.connections import Connections, Masks, State
from lsh_native.sparsity.gates import gate_counts


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Single entries, free; what other structures change."""

    def reduce(self, connections: Connections) -> Connections:
        """What criteria see.

        Raises:
            ValueError: A matrix or the density does not fit the structure.
        """
        return connections

    def expand(self, masks: Masks, connections: Connections) -> Masks:
        """Masks of what criteria saw, as masks of the connections."""
        return masks

    def refuse(self, masks: Masks) -> None:
        """Raise ValueError where masks are not of this structure."""

    def shrink(
        self,
        drop: Drop,
        connections: Connections,
        counts: Counts,
        state: State,
        generator: torch.Generator,
    ) -> tuple[Masks, State]:
        """Drop exactly so many for good."""
        return drop(connections, counts, state, generator)

    def grow(
        self,
        grow: Grow,
        connections: Connections,
        survivors: Masks,
        counts: Counts,
        state: State,
        generator: torch.Generator,
    ) -> tuple[Masks, State]:
        """Grow exactly so many."""
        return grow(connections, survivors, counts, state, generator)


@dataclass(frozen=True, kw_only=True)
class Blocks(Structure):
    """Blocks of rows × columns that are live or dead as one, ranked by their largest entry.

    Args:
        rows: Rows of a block.
        columns: Columns of a block.

    Raises:
        ValueError: A size is below 1.

    Source: S. Narang et al., "Block-sparse recurrent neural networks", 2017.
    """

    rows: int
    columns: int = 1

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise ValueError(f"a block must have a row and a column, got {self}")

    def reduce(self, connections: Connections) -> Connections:
        """See `Structure.reduce`."""
        for name, size in connections.sizes.items():
            rows, columns = size[0], size[1:].numel()
            if rows % self.rows or columns % self.columns:
                raise ValueError(
                    f"the rows and columns of {name} must be multiples of {self.rows} and "
                    f"{self.columns} to hold whole blocks, got {rows} and {columns}"
                )
        return replace(
            connections,
            weights=self._each(self._largest, connections.weights),
            masks=self._each(self._any, connections.masks),
            gradients=self._each(self._largest, connections.gradients),
            explored=self._each(self._any, connections.explored),
        )

    def expand(self, masks: Masks, connections: Connections) -> Masks:
        """See `Structure.expand`."""
        return {
            name: mask.repeat_interleave(self.rows, 0)
            .repeat_interleave(self.columns, 1)
            .view(connections.sizes[name])
            for name, mask in masks.items()
        }

    def refuse(self, masks: Masks) -> None:
        """See `Structure.refuse`."""
        for name, mask in masks.items():
            tiles = self._tiles(mask)
            if not torch.equal(self._any(tiles), tiles.all(3).all(1)):
                raise ValueError(
                    f"the mask of {name} must hold whole blocks of {self.rows} x {self.columns}"
                )

    def _each(self, pool: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: pool(self._tiles(tensor)) for name, tensor in tensors.items()}

    def _tiles(self, tensor: Tensor) -> Tensor:
        """(blocks down, rows of a block, blocks across, columns of a block)."""
        rows, columns = tensor.shape[0], tensor.shape[1:].numel()
        return tensor.reshape(rows // self.rows, self.rows, columns // self.columns, self.columns)

    @staticmethod
    def _largest(tiles: Tensor) -> Tensor:
        # amax hands a NaN on
        return tiles.abs().amax((1, 3)) if tiles.numel() else tiles.new_zeros(tiles.shape[::2])

    @staticmethod
    def _any(tiles: Tensor) -> Tensor:
        return tiles.any(3).any(1)


@dataclass(frozen=True, kw_only=True)
class Gates(Structure):
    """Each gate of a recurrent matrix is a matrix of its own: gates no longer compete.

    Args:
        gates: Gates that stand above each other in a matrix; None for as many as each matrix has
            by `gate_counts`.
        include: Globs over names; other matrices stay whole.

    Raises:
        ValueError: There are fewer than two gates.
    """

    gates: int | None = None
    include: Sequence[str] = ("*weight_ih*", "*weight_hh*")

    def __post_init__(self) -> None:
        if self.gates is not None and self.gates < 2:
            raise ValueError(f"gates must be at least 2, got {self.gates}")

    def reduce(self, connections: Connections) -> Connections:
        """See `Structure.reduce`."""
        counts = self._counts(connections.sizes)
        return replace(
            connections,
            weights=_split(connections.weights, counts),
            masks=_split(connections.masks, counts),
            gradients=_split(connections.gradients, counts),
            explored=_split(connections.explored, counts),
        )

    def expand(self, masks: Masks, connections: Connections) -> Masks:
        """See `Structure.expand`."""
        counts = self._counts(connections.sizes)
        return {
            name: torch.cat([masks[f"{name}[{gate}]"] for gate in range(counts[name])])
            if name in counts
            else masks[name]
            for name in connections.masks
        }

    def _counts(self, sizes: Mapping[str, torch.Size]) -> dict[str, int]:
        """Gates of each matrix that is split."""
        told = gate_counts(sizes)
        counts = {}
        for name, size in sizes.items():
            if not any(fnmatchcase(name, glob) for glob in self.include):
                continue
            gates = self.gates or told.get(name)
            if gates is None:
                raise ValueError(
                    f"gates must be given where shapes do not tell how many {name} has, got None"
                )
            if gates < 2:
                raise ValueError(f"{name} must have at least 2 gates to be split, got {gates}")
            if told.get(name, gates) != gates:
                raise ValueError(f"gates must be {told[name]}, those of {name}, got {gates}")
            if size[0] % gates:
                raise ValueError(
                    f"the rows of {name} must be a multiple of its {gates} gates, got {size[0]}"
                )
            counts[name] = gates
        return counts


def _split(tensors: Mapping[str, Tensor], counts: Mapping[str, int]) -> dict[str, Tensor]:
    parts: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in counts:
            chunks = tensor.chunk(counts[name])
            parts |= {f"{name}[{gate}]": chunk for gate, chunk in enumerate(chunks)}
        else:
            parts[name] = tensor
    return parts
