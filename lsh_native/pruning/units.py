"""Hidden units of recurrent layers: which weights live and die with one, and what a unit is worth.

Unit j of layer k owns row j of every gate of its two matrices, column j of its recurrent matrix and
column j of whatever reads its output: all weights that are useless once the unit is gone.

Source: W. Wen et al., "Learning intrinsic sparse structures within LSTM", 2018 (ISS).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from lsh_native.sparsity.connections import Connections, Masks
from lsh_native.sparsity.mask import count_true
from lsh_native.sparsity.selection import NaNError


@dataclass(frozen=True, kw_only=True)
class Units:
    """Finds the units by the names of `torch.nn`'s recurrent layers.

    Args:
        gates: Gates that stand above each other in a matrix.
        readers: Globs over the names of matrices whose columns read the top layer.
    """

    gates: int = 4
    readers: Sequence[str] = ("*decoder.weight",)

    def layers(self, sizes: Mapping[str, torch.Size]) -> dict[str, list[tuple[str, int]]]:
        """Where the units of each recurrent matrix stand: matrices, with 0 for rows, 1 for columns.

        Raises:
            ValueError: There is no recurrent matrix of so many gates.
        """
        layers = {}
        for name, size in sizes.items():
            match = re.fullmatch(r"(.*)weight_hh_l(\d+)", name)
            if match is None or size[0] != self.gates * size[1]:
                continue
            stem, layer = match[1], int(match[2])
            above = [f"{stem}weight_ih_l{layer + 1}"]
            if above[0] not in sizes:
                above = [
                    other
                    for other in sizes
                    if any(fnmatchcase(other, glob) for glob in self.readers)
                    and sizes[other][1] == size[1]
                ]
            below = f"{stem}weight_ih_l{layer}"
            rows = [(other, 0) for other in (name, below) if other in sizes]
            layers[name] = [*rows, (name, 1), *((other, 1) for other in above)]
        if not layers:
            raise ValueError(
                f"units need a matrix weight_hh_l… of {self.gates} gates, got {sorted(sizes)}"
            )
        return layers

    def norms(self, connections: Connections) -> dict[str, Tensor]:
        """Squared Euclidean norm of the live weights of each unit, by layer, up to one factor."""
        live = {
            name: weight.masked_fill(~connections.masks[name], 0)
            for name, weight in connections.weights.items()
        }
        layers = self.layers(connections.sizes)
        largest = max(
            (float(weight.abs().max()) for weight in live.values() if weight.numel()), default=0.0
        )
        if not largest < float("inf"):
            raise NaNError(f"weights must be finite, got {largest}")
        squares = {
            # whole numbers, whose sums do not depend on their order
            name: ((weight.double() / (largest or 1.0)) ** 2 * 2**30).round().to(torch.int64)
            for name, weight in live.items()
        }
        return {
            layer: sum(
                squares[name].sum(0)
                if axis
                else squares[name].view(self.gates, -1, squares[name].shape[1]).sum((0, 2))
                for name, axis in places
            )
            * torch.tensor(largest**2 / 2**30, dtype=torch.float64)
            for layer, places in layers.items()
        }

    def spread(
        self, values: Mapping[str, Tensor], connections: Connections
    ) -> dict[str, list[Tensor]]:
        """For each matrix, the value of the unit of each row or column, to broadcast against it."""
        found: dict[str, list[Tensor]] = {name: [] for name in connections.weights}
        for layer, places in self.layers(connections.sizes).items():
            for name, axis in places:
                value = values[layer]
                found[name].append(value[None] if axis else value.repeat(self.gates)[:, None])
        return found


def unit_norm(
    connections: Connections,
    masks: Masks,
    generator: torch.Generator,
    *,
    units: Units | None = None,
) -> dict[str, Tensor]:
    """The rank of a weight's unit by its norm among all units, the lower rank of two units.

    So the lowest of many weights are whole units, but for the last one, which goes in part where
    counts are exact. Weights of no unit rank above all.

    Args:
        connections: What there is.
        masks: Not used.
        generator: Not used.
        units: How to find the units; those of LSTM layers by default.
    """
    units = units or Units()
    norms = units.norms(connections)
    order = torch.cat(list(norms.values())).argsort(stable=True)
    ranks = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)).to(order))
    parts = ranks.double().split([norm.numel() for norm in norms.values()])
    spread = units.spread(dict(zip(norms, parts, strict=True)), connections)
    scores = {}
    for name, weight in connections.weights.items():
        score = weight.new_full(weight.shape, float(len(order)), dtype=torch.float64)
        for rank in spread[name]:
            score = torch.minimum(score, rank)
        scores[name] = score
    return scores


def dead_units(masks: Masks, units: Units | None = None) -> dict[str, int]:
    """Units of each recurrent matrix without any incoming connection, or any outgoing one."""
    units = units or Units()
    counts = {}
    for layer, places in units.layers({name: mask.shape for name, mask in masks.items()}).items():
        incoming = [
            masks[name].view(units.gates, -1, masks[name].shape[1]).any(2).any(0)
            for name, axis in places
            if not axis
        ]
        outgoing = [masks[name].any(0) for name, axis in places if axis]
        alive = torch.stack(incoming).any(0) & torch.stack(outgoing).any(0)
        counts[layer] = count_true(~alive)
    return counts
