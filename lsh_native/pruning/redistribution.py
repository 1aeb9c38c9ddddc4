"""Which matrix gets how many of the connections that an update grows.

A redistribution returns a share for each matrix, a number ≥ 0. How shares become whole numbers that
add up, and where connections go that a full matrix cannot take, is the same for all
(`sparsity.mask.apportion`).
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from lsh_native.pruning.score import reads_gradient, whole
from lsh_native.sparsity.connections import Connections, Masks, count_live

Shares: TypeAlias = Mapping[str, float]
Redistribution: TypeAlias = Callable[[Connections, Masks, Mapping[str, int]], Shares]


def keep_counts(connections: Connections, survivors: Masks, budget: Mapping[str, int]) -> Shares:
    """Grow every matrix back to its budget, so that nothing moves between matrices.

    Args:
        connections: What there was before the drop.
        survivors: Masks of what the drop left.
        budget: Connections of each matrix by the method's initial distribution at the present
            density.

    Returns:
        Share of each matrix in what grows.
    """
    live = count_live(survivors)
    return {name: max(0, budget[name] - live[name]) for name in survivors}


def return_dropped(connections: Connections, survivors: Masks, budget: Mapping[str, int]) -> Shares:
    """Grow in every matrix as many as the drop took from it; otherwise as `keep_counts`."""
    left = count_live(survivors)
    return {name: count - left[name] for name, count in connections.counts().items()}


def mean_magnitude(connections: Connections, survivors: Masks, budget: Mapping[str, int]) -> Shares:
    """Grow in proportion to the mean |w| of each matrix's survivors; otherwise as `keep_counts`.

    Source: T. Dettmers and L. Zettlemoyer, "Sparse networks from scratch", 2019 (SNFS), with
    |w| in the place of momentum.
    """
    return _means(connections.weights, survivors)


@reads_gradient
def mean_gradient(connections: Connections, survivors: Masks, budget: Mapping[str, int]) -> Shares:
    """Grow in proportion to the mean |gradient| of each matrix's survivors; as `keep_counts`.

    Source: T. Dettmers and L. Zettlemoyer, "Sparse networks from scratch", 2019 (SNFS), where
    gradients are smoothed over steps.
    """
    return _means(connections.gradients, survivors)


def nonzeros(
    connections: Connections,
    survivors: Masks,
    budget: Mapping[str, int],
    *,
    above: float = 0.0,
) -> Shares:
    """Grow in proportion to the survivors with |w| > `above`; otherwise as `keep_counts`.

    Source: H. Mostafa and X. Wang, "Parameter efficient training of deep convolutional neural
    networks by dynamic sparse reparameterization", 2019 (DSR).
    """
    return count_live(
        {name: mask & (connections.weights[name].abs() > above) for name, mask in survivors.items()}
    )


def _means(values: Mapping[str, Tensor], survivors: Masks) -> dict[str, float]:
    """Mean magnitude under each mask, in units that do not depend on the order of adding."""
    chosen = {name: values[name][mask].flatten() for name, mask in survivors.items()}
    units = whole(torch.cat(list(chosen.values())))
    sums = (int(part.sum()) for part in units.split([part.numel() for part in chosen.values()]))
    return {
        name: total / max(part.numel(), 1)
        for (name, part), total in zip(chosen.items(), sums, strict=True)
    }
