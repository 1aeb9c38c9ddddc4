"""What a connection is worth: scores by which criteria rank live or dead connections.

A score is a function of the connections, of the masks that stand at this point of an update, and of
a generator. It returns one tensor a matrix; how many of the lowest go or of the highest come is not
its business.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from lsh_native.pruning.course import Value, at
from lsh_native.sparsity.connections import Connections, Masks
from lsh_native.sparsity.selection import NaNError, draw_seed, random_keys

Scores: TypeAlias = Mapping[str, Tensor]
Score: TypeAlias = Callable[[Connections, Masks, torch.Generator], Scores]

_Marked = TypeVar("_Marked", bound=Callable[..., Any])


def reads_gradient(function: _Marked) -> _Marked:
    """Mark a slot that reads `Connections.gradients`, so that the topology asks for them."""
    function.__dict__["reads_gradient"] = True
    return function


def weight(connections: Connections, masks: Masks, generator: torch.Generator) -> Scores:
    """The weight."""
    return connections.weights


@reads_gradient
def gradient(connections: Connections, masks: Masks, generator: torch.Generator) -> Scores:
    """The loss gradient.

    Raises:
        ValueError: There is no gradient of a matrix.
    """
    if missing := sorted(masks.keys() - connections.gradients.keys()):
        raise ValueError(f"gradient growth must see the dense gradients, got none of {missing}")
    return connections.gradients


def random(connections: Connections, masks: Masks, generator: torch.Generator) -> Scores:
    """Numbers that make every choice equally likely."""
    return {
        name: random_keys(mask.numel(), draw_seed(generator), mask.device).double().view(mask.shape)
        for name, mask in masks.items()
    }


def unexplored(connections: Connections, masks: Masks, generator: torch.Generator) -> Scores:
    """Random numbers, those of connections that were never live above all others."""
    drawn = random(connections, masks, generator)
    return {
        name: values + 2.0**33 * ~connections.explored.get(name, masks[name])
        for name, values in drawn.items()
    }


@reads_gradient
def saliency(
    connections: Connections,
    masks: Masks,
    generator: torch.Generator,
    *,
    gradient_weight: Value = 0.01,
) -> Scores:
    """|w| + λ |gradient|, with λ = `gradient_weight`.

    Source: G. Yuan et al., "MEST", 2021.
    """
    share = at(gradient_weight, connections.progress)
    slopes = gradient(connections, masks, generator)
    return {name: w.abs() + share * slopes[name].abs() for name, w in connections.weights.items()}


def relative_importance(
    connections: Connections,
    masks: Masks,
    generator: torch.Generator,
    *,
    temperature: Value | None = None,
) -> Scores:
    """|w| / Σ over its row + |w| / Σ over its column, of live weights.

    Args:
        connections: What there is.
        masks: Of the live connections.
        generator: Source of the noise where there is a temperature.
        temperature: Exponent T of a soft choice: those that stay are drawn without replacement with
            probabilities in proportion to scoreᵀ. None ranks without chance.

    Source: Y. Zhang et al., "Brain network science modelling of sparse neural networks", 2025
    (CHTs).
    """
    scores = {}
    for name, mask in masks.items():
        size = whole(connections.weights[name].masked_fill(~mask, 0).flatten(1))
        rows, columns = (size.sum(side, keepdim=True).clamp_min(1) for side in (1, 0))
        scores[name] = (size / rows.double() + size / columns.double()).view(mask.shape)
    return _soft(scores, temperature, connections.progress, generator)


def paths(
    connections: Connections,
    masks: Masks,
    generator: torch.Generator,
    *,
    temperature: Value | None = None,
) -> Scores:
    """Weighted paths of length three that a missing connection would close.

        score(u, v) = Σ over paths u – z – y – v of 1 / √((1 + degree z) (1 + degree y))

    A matrix is a network between its rows and its columns. Cannistraci–Hebb theory (CH3-L3) counts
    in a degree only the links that leave the neighbourhood of the pair; the whole degree in its
    place makes the score two matrix products.

    Args:
        connections: What there is.
        masks: What the drop left.
        generator: Source of the noise where there is a temperature.
        temperature: As for `relative_importance`.

    Source: Y. Zhang et al., "Epitopological learning and Cannistraci-Hebb network shape
    intelligence brain-inspired theory for ultra-sparse advantage in deep learning", 2024 (CHT), for
    growth by path scores.
    """
    scores = {}
    for name, mask in masks.items():
        link = mask.flatten(1).double()
        of_row, of_column = (
            # 13 bits, so that all sums of a matrix are whole numbers below 2⁵³
            ((1 + link.sum(side, keepdim=True)).rsqrt() * 2**13).round()
            for side in (1, 0)
        )
        scores[name] = ((link * of_column) @ (link.T @ (of_row * link))).view(mask.shape)
    return _soft(scores, temperature, connections.progress, generator)


def whole(values: Tensor) -> Tensor:
    """Magnitudes in units of 2⁻³⁰ of the largest, int64, whose sums do not depend on their order.

    Raises:
        NaNError: A value is not finite.
    """
    magnitudes = values.abs()
    largest = float(magnitudes.max()) if values.numel() else 0.0
    if not math.isfinite(largest):
        raise NaNError(f"weights must be finite, got {largest}")
    return (magnitudes.double() / (largest or 1.0) * 2**30).round().to(torch.int64)


def _soft(
    scores: dict[str, Tensor],
    temperature: Value | None,
    progress: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Scores whose ranking draws without replacement, by Gumbel noise on their logarithms."""
    if temperature is None:
        return scores
    power = at(temperature, progress)
    noisy = {}
    for name, values in scores.items():
        keys = random_keys(values.numel(), draw_seed(generator), values.device).view(values.shape)
        gumbel = -(-((keys.double() + 0.5) / 2**32).log()).log()
        noisy[name] = power * values.clamp_min(torch.finfo(values.dtype).tiny).log() + gumbel
    return noisy
