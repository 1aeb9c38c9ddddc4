"""From matrices to scores of units and of connections.

unit:        mean over the matrices it takes part in of its rank by (irreducibility, centrality)
connection:  u(target) · u(source) · |w|ᵖ, equal ones by |w|

This dial is this library's own. The idea that the units to keep are the meet-irreducible ones of a
dependency lattice, with a centrality beside it, is that of R. Sengupta, "Lattice-Based Pruning in
Recurrent Neural Networks via Poset Modeling", 2025 (arXiv 2502.16525), whose definitions of the
order, of the treatment of cycles and of the centrality are not reproduced here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsh_native.pruning.lattice.persistence import persistence
from lsh_native.pruning.lattice.wiring import Wire, wiring
from lsh_native.pruning.score import random
from lsh_native.sparsity.connections import Connections, Masks
from lsh_native.sparsity.selection import NaNError

__all__ = ["LatticePrior", "LatticeScore", "in_strength", "unit_ranks"]

Floats: TypeAlias = NDArray[np.float64]
Scorer: TypeAlias = Callable[[Floats], Floats]
"""Maps strengths (objects, attributes), which are not negative, to a number an attribute."""


def in_strength(strengths: Floats) -> Floats:
    """Sum of an attribute's strengths; of the transposed matrix it is a source's out-strength."""
    total: Floats = strengths.sum(axis=0)
    return total


def unit_ranks(
    strengths: Floats, *, irreducibility: Scorer = persistence, centrality: Scorer = in_strength
) -> Floats:
    """Rank the attributes by irreducibility, equal ones by centrality.

    Args:
        strengths: float64 (objects, attributes), not negative.
        irreducibility: the score that comes first.
        centrality: the score that decides between equal ones.

    Returns:
        float64 (attributes,), in (0, 1]: the highest rank is 1, equal units have one rank.
    """
    return _dense_ranks(irreducibility(strengths), centrality(strengths))


def _dense_ranks(first: Floats, second: Floats) -> Floats:
    """Ranks by `first`, then `second`, in (0, 1]; of the same shape, equal where both are equal."""
    order = np.lexsort((second.ravel(), first.ravel()))
    higher = (np.diff(first.ravel()[order]) != 0) | (np.diff(second.ravel()[order]) != 0)
    ranks = np.empty(first.size)
    ranks[order] = np.cumsum(np.append(True, higher))[: first.size]
    scaled: Floats = (ranks / ranks.max(initial=1.0)).reshape(first.shape)
    return scaled


@dataclass(frozen=True, kw_only=True)
class LatticeScore:
    """Scores connections by their units; every part is a slot.

    Only live weights are read, and names and shapes of the matrices tell which units they share;
    see `wiring`. With the structure `Gates`, of which every part is a matrix, gates compete.

    Args:
        irreducibility: of the targets of a matrix of strengths (sources, targets), and of the
            sources of its transpose: `persistence`, or `Irreducible` for a single cut.
        centrality: decides between units of equal irreducibility.
        gates: how the |w| of a unit's gates become one strength, such as `np.max` or `np.mean`;
            called with `axis=0`. None for a relation a gate, whose targets are scored gate by gate.
        join: makes one number of a unit's ranks in several matrices, `np.mean` or `np.min` for the
            worst; called with `axis=0`.
        ends: makes one number of the scores of a connection's two ends, such as `np.multiply`,
            `np.minimum` for both or `np.maximum` for either end.
        power: p; 0 for the lattice alone.
    """

    irreducibility: Scorer = persistence
    centrality: Scorer = in_strength
    gates: Callable[..., Any] | None = np.max
    join: Callable[..., Any] = np.mean
    ends: Callable[[Any, Any], Any] = np.multiply
    power: float = 0.0

    def __call__(
        self, connections: Connections, masks: Masks, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Score every connection, as the slot `score` of a criterion.

        Returns:
            float64 of each matrix's shape and device, in (0, 1]; the highest are to be kept.

        Raises:
            NaNError: a live weight is not finite.
            ValueError: a weight is no matrix.
        """
        scores = self.connections(*_live(connections, masks))
        return {
            name: torch.from_numpy(score).to(masks[name].device) for name, score in scores.items()
        }

    def units(
        self, matrices: Mapping[str, Floats], wires: Mapping[str, Wire]
    ) -> dict[tuple[str, int], Floats]:
        """Score every group of units.

        Args:
            matrices: |w| (gates * targets, sources) by name.
            wires: what each matrix connects.

        Returns:
            float64 (units,) by group and gate. Sources have gate 0, and so have targets unless
            they are scored gate by gate.
        """
        ranks: dict[tuple[str, int], list[Floats]] = {}
        rank = partial(unit_ranks, irreducibility=self.irreducibility, centrality=self.centrality)
        for name, matrix in matrices.items():
            wire = wires[name]
            for gate, strengths in enumerate(self._relations(matrix, wire)):
                target = ("target " if self.gates is None else "") + wire.target
                ranks.setdefault((target, gate), []).append(rank(strengths.T))
                ranks.setdefault((wire.source, 0), []).append(rank(strengths))
        return {group: self.join(found, axis=0) for group, found in ranks.items()}

    def connections(
        self, matrices: Mapping[str, Floats], wires: Mapping[str, Wire]
    ) -> dict[str, Floats]:
        """Score every connection.

        Returns:
            float64 of each matrix's shape, in (0, 1]: ranks by the formula above.
        """
        units = self.units(matrices, wires)
        return {
            name: _dense_ranks(self.of_ends(units, wires[name]) * matrix**self.power, matrix)
            for name, matrix in matrices.items()
        }

    def _relations(self, matrix: Floats, wire: Wire) -> Floats:
        """Strengths (relations, targets, sources)."""
        by_gate = matrix.reshape(wire.gates, -1, matrix.shape[1])
        return by_gate if self.gates is None else self.gates(by_gate, axis=0)[None]

    def of_ends(self, units: Mapping[tuple[str, int], Floats], wire: Wire) -> Floats:
        """Score the places of a matrix by their two ends, (gates * targets, sources)."""
        if self.gates is None:
            targets = [units[f"target {wire.target}", gate] for gate in range(wire.gates)]
        else:
            targets = [units[wire.target, 0]] * wire.gates
        score: Floats = self.ends(np.concatenate(targets)[:, None], units[wire.source, 0])
        return score


@dataclass(frozen=True, kw_only=True)
class LatticePrior:
    """A score whose highest are a draw without replacement, by the two ends of a connection.

    It is log(u) / score with uniform u in (0, 1).

    Source: P. S. Efraimidis and P. G. Spirakis, "Weighted random sampling with a reservoir", 2006.
    """

    score: LatticeScore = field(default_factory=LatticeScore)

    def __call__(
        self, connections: Connections, masks: Masks, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Score every place for a connection, live or dead."""
        matrices, wires = _live(connections, masks)
        units = self.score.units(matrices, wires)
        drawn = random(connections, masks, generator)
        return {
            name: ((drawn[name] + 0.5) / 2**32).log()
            / torch.from_numpy(self.score.of_ends(units, wire)).to(masks[name].device)
            for name, wire in wires.items()
        }


def _live(connections: Connections, masks: Masks) -> tuple[dict[str, Floats], dict[str, Wire]]:
    """Magnitudes of live weights, and what their matrices connect."""
    matrices = {}
    for name, mask in masks.items():
        weight = connections.weights[name].masked_fill(~mask, 0)
        if not weight.isfinite().all():
            raise NaNError(f"the weights of {name} must be finite")
        matrices[name] = weight.abs().double().cpu().numpy()
    return matrices, wiring(connections.sizes)
