"""The lattice scores as criteria of pruning methods, for any schedule.

As a drop criterion those connections go whose units are least irreducible; as a grow criterion
dead connections come at random, in proportion to the scores of their two ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from lsh_native.pruning.criterion import Counts
from lsh_native.pruning.lattice.score import Floats, LatticeScore
from lsh_native.pruning.lattice.wiring import wiring
from lsh_native.sparsity.connections import Connections, Masks, State
from lsh_native.sparsity.selection import NaNError, highest, lowest

__all__ = ["lattice_drop", "lattice_growth", "lattice_scores"]

_DEFAULT: Final = LatticeScore()


def lattice_scores(
    weights: Mapping[str, Tensor], *, score: LatticeScore = _DEFAULT
) -> dict[str, Tensor]:
    """Score every connection of a model; the highest are to be kept.

    Args:
        weights: matrices by name, zero where there is no connection. Names and shapes tell which
            units they share; see `wiring`.
        score: how matrices become scores.

    Returns:
        float64 tensors of the matrices' shapes, on their devices, in (0, 1].

    Raises:
        NaNError: a weight is not finite.
        ValueError: a tensor is no matrix.
    """
    matrices = _magnitudes(weights)
    scores = score.connections(matrices, wiring({n: w.shape for n, w in weights.items()}))
    return {name: torch.from_numpy(scores[name]).to(weights[name].device) for name in weights}


def lattice_drop(
    connections: Connections,
    counts: Counts,
    state: State,
    generator: torch.Generator,
    *,
    score: LatticeScore = _DEFAULT,
) -> tuple[Masks, State]:
    """Drop the connections of each matrix that score lowest; see `lattice_scores`."""
    scores = lattice_scores(connections.weights, score=score)
    return {
        name: mask & ~lowest(scores[name], counts[name], among=mask)
        for name, mask in connections.masks.items()
    }, state


def lattice_growth(
    connections: Connections,
    survivors: Masks,
    counts: Counts,
    state: State,
    generator: torch.Generator,
    *,
    score: LatticeScore = _DEFAULT,
) -> tuple[Masks, State]:
    """Grow dead connections at random, with chances in proportion to the scores of their ends.

    The k highest of log(u) / score with uniform u are such a draw without replacement.

    Source: P. S. Efraimidis and P. G. Spirakis, "Weighted random sampling with a reservoir", 2006.
    """
    alive = {
        name: weight.masked_fill(~survivors[name], 0)
        for name, weight in connections.weights.items()
    }
    priors = score.prior(_magnitudes(alive), wiring(connections.sizes))
    masks = {}
    for name, mask in survivors.items():
        draw = torch.rand(mask.shape, generator=generator, dtype=torch.float64).log()
        keys = draw / torch.from_numpy(np.array(priors[name]))
        masks[name] = mask | highest(keys.to(mask.device), counts[name], among=~mask)
    return masks, state


def _magnitudes(weights: Mapping[str, Tensor]) -> dict[str, Floats]:
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise NaNError(f"the weights of {name} must be finite")
    return {name: weight.detach().abs().double().cpu().numpy() for name, weight in weights.items()}
