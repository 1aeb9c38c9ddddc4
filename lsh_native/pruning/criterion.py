"""Which connections go and which come: the drop and grow criteria of pruning methods.

A drop criterion is handed how many connections each matrix is to lose and returns the masks of
those that stay; a grow criterion is handed those and how many each matrix is to gain, and returns
the new masks. Both read the connections, write nothing, and hand on what they want to know at the
next update. Most rank connections by a score: `DropLowest` and `GrowHighest`.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from lsh_native.pruning import score as scores_
from lsh_native.pruning.course import Value, at
from lsh_native.pruning.score import Score
from lsh_native.sparsity.connections import Connections, Masks, State, count_live
from lsh_native.sparsity.mask import apportion, count_true
from lsh_native.sparsity.selection import (
    NaNError,
    draw_seed,
    drop_lowest,
    grow_highest,
    grow_random,
    lowest,
    random_keys,
)

Counts: TypeAlias = Mapping[str, int]

Drop: TypeAlias = Callable[[Connections, Counts, State, torch.Generator], tuple[Masks, State]]
Grow: TypeAlias = Callable[
    [Connections, Masks, Counts, State, torch.Generator], tuple[Masks, State]
]


@dataclass(frozen=True, kw_only=True)
class DropLowest:
    """Drop the live connections with the lowest score.

    Args:
        score: What a connection is worth.
        magnitude: Whether the absolute value of the score counts.
        overall: Whether all matrices compete, instead of each losing its own number.
        name: What descriptions call it.

    Example:
        >>> from lsh_native.pruning.score import gradient
        >>> drop = DropLowest(score=gradient, magnitude=True)
    """

    score: Score
    magnitude: bool = False
    overall: bool = False
    name: str = ""

    def __call__(
        self, connections: Connections, counts: Counts, state: State, generator: torch.Generator
    ) -> tuple[Masks, State]:
        """See the file's docstring."""
        scores = self.score(connections, connections.masks, generator)
        if self.overall:
            total = sum(counts.values())
            return drop_lowest(scores, connections.masks, total, magnitude=self.magnitude), state
        survivors: dict[str, Tensor] = {}
        for name, mask in connections.masks.items():
            one = {name: scores[name]}, {name: mask}, counts[name]
            survivors |= drop_lowest(*one, magnitude=self.magnitude)
        return survivors, state


@dataclass(frozen=True, kw_only=True)
class GrowHighest:
    """Grow the dead connections of each matrix with the highest score; fields as `DropLowest`."""

    score: Score
    magnitude: bool = False
    name: str = ""

    def __call__(
        self,
        connections: Connections,
        survivors: Masks,
        counts: Counts,
        state: State,
        generator: torch.Generator,
    ) -> tuple[Masks, State]:
        """See the file's docstring."""
        scores = self.score(connections, survivors, generator)
        masks: dict[str, Tensor] = {}
        for name, mask in survivors.items():
            one = {name: scores[name]}, {name: mask}, counts[name]
            masks |= grow_highest(*one, magnitude=self.magnitude)
        return masks, state


class _GrowRandom(GrowHighest):
    """Growth by random numbers that need not be written down."""

    def __call__(
        self,
        connections: Connections,
        survivors: Masks,
        counts: Counts,
        state: State,
        generator: torch.Generator,
    ) -> tuple[Masks, State]:
        return {
            name: grow_random(mask, counts[name], generator) for name, mask in survivors.items()
        }, state


def needs_gradient(slot: object) -> bool:
    """Whether a slot, its score, or what a `functools.partial` holds is marked to read gradients.

    See `lsh_native.pruning.score.reads_gradient`.
    """
    while isinstance(slot, partial):
        slot = slot.func
    if getattr(slot, "reads_gradient", False):
        return True
    return hasattr(slot, "score") and needs_gradient(slot.score)


magnitude: Final = DropLowest(score=scores_.weight, magnitude=True, name="magnitude")
"""Drop the smallest |w| of each matrix.

The gates of a recurrent matrix stand in one matrix and compete.
"""

global_magnitude: Final = DropLowest(
    score=scores_.weight, magnitude=True, overall=True, name="global_magnitude"
)
"""Drop the smallest |w| of all matrices together, as many as all are to lose."""

random_growth: Final = _GrowRandom(score=scores_.random, name="random_growth")
"""Grow dead connections of each matrix at random, all being equally likely."""

unexplored_growth: Final = GrowHighest(score=scores_.unexplored, name="unexplored_growth")
"""Grow dead connections that were never live at random, then others."""

gradient_growth: Final = GrowHighest(score=scores_.gradient, magnitude=True, name="gradient_growth")
"""Grow the dead connections of each matrix whose loss gradient is largest in magnitude.

Source: U. Evci et al., "Rigging the lottery", 2020.
"""

magnitude_growth: Final = GrowHighest(score=scores_.weight, magnitude=True, name="magnitude_growth")
"""Grow the dead connections of largest |w|: as a first mask, the largest weights of a model."""

path_growth: Final = GrowHighest(score=scores_.paths, name="path_growth")
"""Grow the dead connections that close most paths of length three."""


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
        refuse_nan(name, weight, mask)
        signs = {"negative": mask & (weight < 0), "positive": mask & (weight >= 0)}
        live = count_live(signs)
        lost = apportion(counts[name], live, live)
        kept = {
            sign: drop_lowest({sign: weight}, {sign: among}, lost[sign], magnitude=True)[sign]
            for sign, among in signs.items()
        }
        survivors[name] = kept["negative"] | kept["positive"]
    return survivors, state


def threshold(
    connections: Connections,
    counts: Counts,
    state: State,
    generator: torch.Generator,
    *,
    start: float = 1e-3,
    tolerance: Value = 0.02,
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
    slack = at(tolerance, connections.progress)
    survivors: dict[str, Tensor] = {}
    for name, mask in connections.masks.items():
        refuse_nan(name, connections.weights[name], mask)
        survivors[name] = mask & (connections.weights[name].abs() > tau)
    target = sum(counts.values())
    removed = sum(connections.counts().values()) - sum(count_live(survivors).values())
    if removed < (1 - slack) * target:
        tau *= 2
    elif removed > (1 + slack) * target:
        tau = max(tau / 2, sys.float_info.min)  # from 0 it could not double again
    return survivors, {**state, "threshold": tau}


def sign_flip(
    connections: Connections, counts: Counts, state: State, generator: torch.Generator
) -> tuple[Masks, State]:
    """Drop the connections whose weight left its sign, which is fixed as long as they are live.

    Those of the first update keep the signs they have; the sign of a grown one is drawn at random.
    The numbers asked for are not heeded.

    Source: G. Bellec et al., "Deep rewiring", 2018 (DeepR), with w = sign · θ.
    """
    survivors: dict[str, Tensor] = {}
    signs: dict[str, Tensor] = {}
    for name, mask in connections.masks.items():
        weight = connections.weights[name]
        refuse_nan(name, weight, mask)
        drawn = random_keys(mask.numel(), draw_seed(generator), mask.device).view(mask.shape)
        known = state.get(f"sign.{name}")
        if known is None:
            known = torch.where(weight < 0, -1, 1)
        assert isinstance(known, Tensor)
        sign = torch.where(known == 0, drawn % 2 * 2 - 1, known)
        survivors[name] = mask & ((weight == 0) | ((weight > 0) == (sign > 0)))
        signs[f"sign.{name}"] = (sign * survivors[name]).to(torch.int8)
    return survivors, {**state, **signs}


def outranked(
    connections: Connections, counts: Counts, state: State, generator: torch.Generator
) -> tuple[Masks, State]:
    """Drop every live connection that some dead one outranks by |w|, however many these are.

    It needs weights of dead connections, as `Reserve` keeps them.

    Source: S. Jayakumar et al., "Top-KAST", 2020.
    """
    survivors = {}
    for name, mask in connections.masks.items():
        beaten = lowest(connections.weights[name].abs(), mask.numel() - count_true(mask))
        survivors[name] = mask & ~beaten
    return survivors, state


def refuse_nan(name: str, weight: Tensor, mask: Tensor) -> None:
    """Raise where a live weight is NaN."""
    if weight.isnan().logical_and(mask).any():
        raise NaNError(f"the weights of {name} must be numbers, got NaN")


def given(scores: Mapping[str, Tensor]) -> Score:
    """A score that was computed elsewhere.

    Args:
        scores: A tensor of each matrix's shape, by the names of the topology.
    """
    fixed = dict(scores)

    def given(connections: Connections, masks: Masks, generator: torch.Generator) -> Any:
        if missing := sorted(masks.keys() - fixed.keys()):
            raise ValueError(f"scores must be given for every matrix, got none of {missing}")
        return fixed

    return given
