"""Which connections go and which come: the drop and grow criteria of pruning methods.

A drop criterion is handed how many connections each matrix is to lose and returns the masks of
those that stay; a grow criterion is handed those and how many each matrix is to gain, and returns
the new masks. Both read the connections, write nothing, and hand on what they want to know at the
next update.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from lsh_native.sparsity.connections import Connections, Masks, State, count_live
from lsh_native.sparsity.mask import apportion, draw_indices
from lsh_native.sparsity.selection import NaNError, highest, lowest, lowest_overall

Counts: TypeAlias = Mapping[str, int]

Drop: TypeAlias = Callable[[Connections, Counts, State, torch.Generator], tuple[Masks, State]]
Grow: TypeAlias = Callable[
    [Connections, Masks, Counts, State, torch.Generator], tuple[Masks, State]
]

_Criterion = TypeVar("_Criterion", bound=Callable[..., Any])


def reads_gradient(criterion: _Criterion) -> _Criterion:
    """Mark a criterion that reads `Connections.gradients`, so that the topology asks for them."""
    criterion.__dict__["reads_gradient"] = True
    return criterion


def needs_gradient(criterion: Callable[..., Any] | None) -> bool:
    """Whether a criterion, or what a `functools.partial` holds, is marked by `reads_gradient`."""
    while isinstance(criterion, partial):
        criterion = criterion.func
    return bool(getattr(criterion, "reads_gradient", False))


def magnitude(
    connections: Connections, counts: Counts, state: State, generator: torch.Generator
) -> tuple[Masks, State]:
    """Drop the smallest |w| of each matrix.

    The gates of a recurrent matrix stand in one matrix and compete.
    """
    return {
        name: mask & ~lowest(connections.weights[name].abs(), counts[name], among=mask)
        for name, mask in connections.masks.items()
    }, state


def global_magnitude(
    connections: Connections, counts: Counts, state: State, generator: torch.Generator
) -> tuple[Masks, State]:
    """Drop the smallest |w| of all matrices together, as many as all are to lose."""
    magnitudes = {name: weight.abs() for name, weight in connections.weights.items()}
    dropped = lowest_overall(magnitudes, sum(counts.values()), among=connections.masks)
    return {name: mask & ~dropped[name] for name, mask in connections.masks.items()}, state


def set_drop(
    connections: Connections, counts: Counts, state: State, generator: torch.Generator
) -> tuple[Masks, State]:
    """Drop the smallest positive and the closest-to-zero negative weights of each matrix.

    Both signs lose the same fraction of their weights, to within one weight; zero counts as
    positive.

    Source: D. C. Mocanu et al., Nature Communications 9, 2383, 2018 (SET).
    """
    survivors = {}
    for name, mask in connections.masks.items():
        weight = connections.weights[name]
        if weight.isnan().logical_and(mask).any():
            raise NaNError(f"the weights of {name} must be numbers, got NaN")
        signs = {"negative": mask & (weight < 0), "positive": mask & (weight >= 0)}
        live = count_live(signs)
        lost = apportion(counts[name], live, live)
        survivors[name] = mask.clone()
        for sign, among in signs.items():
            survivors[name] &= ~lowest(weight.abs(), lost[sign], among=among)
    return survivors, state


def threshold(
    connections: Connections,
    counts: Counts,
    state: State,
    generator: torch.Generator,
    *,
    start: float = 1e-3,
    tolerance: float = 0.02,
) -> tuple[Masks, State]:
    """Drop every |w| ≤ τ, with one τ for all matrices that follows what it removes.

    After an update that removed too little τ doubles, after one that removed too much it halves;
    within the tolerance it stays. So the number dropped is not the one asked for, and early updates
    drop little when τ starts far below the weights.

    Args:
        connections: What there is.
        counts: Connections that each matrix should lose; their sum is the target of τ.
        state: Holds τ as `threshold` after the first update.
        generator: Not used.
        start: τ of the first update.
        tolerance: Share of the target by which removals may be off before τ moves.

    Source: H. Mostafa and X. Wang, "Parameter efficient training of deep convolutional neural
    networks by dynamic sparse reparameterization", 2019 (DSR).
    """
    tau = float(state.get("threshold", start))
    survivors: dict[str, Tensor] = {}
    for name, mask in connections.masks.items():
        magnitudes = connections.weights[name].abs()
        if magnitudes.isnan().logical_and(mask).any():
            raise NaNError(f"the weights of {name} must be numbers, got NaN")
        survivors[name] = mask & (magnitudes > tau)
    target = sum(counts.values())
    removed = sum(connections.counts().values()) - sum(count_live(survivors).values())
    if removed < (1 - tolerance) * target:
        tau *= 2
    elif removed > (1 + tolerance) * target:
        tau = max(tau / 2, sys.float_info.min)  # from 0 it could not double again
    return survivors, {**state, "threshold": tau}


def random_growth(
    connections: Connections,
    survivors: Masks,
    counts: Counts,
    state: State,
    generator: torch.Generator,
) -> tuple[Masks, State]:
    """Grow dead connections of each matrix at random, all being equally likely."""
    masks = {}
    for name, mask in survivors.items():
        masks[name] = mask.clone()
        free = (~mask).reshape(-1).nonzero().squeeze(1)
        chosen = draw_indices(counts[name], free.numel(), generator).to(free.device)
        masks[name].view(-1)[free[chosen]] = True
    return masks, state


@reads_gradient
def gradient_growth(
    connections: Connections,
    survivors: Masks,
    counts: Counts,
    state: State,
    generator: torch.Generator,
) -> tuple[Masks, State]:
    """Grow the dead connections of each matrix whose loss gradient is largest in magnitude.

    Raises:
        ValueError: There is no gradient of a matrix.

    Source: U. Evci et al., "Rigging the lottery", 2020.
    """
    if missing := sorted(survivors.keys() - connections.gradients.keys()):
        raise ValueError(f"gradient growth must see the dense gradients, got none of {missing}")
    return {
        name: mask | highest(connections.gradients[name].abs(), counts[name], among=~mask)
        for name, mask in survivors.items()
    }, state
