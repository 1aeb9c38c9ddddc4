"""Which matrix gets how many of the connections that an update grows.

A redistribution returns a share for each matrix, a number ≥ 0. How shares become whole numbers that
add up, and where connections go that a full matrix cannot take, is the same for all
(`sparsity.mask.apportion`).
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch

from lsh_native.sparsity.connections import Connections, Masks, count_live
from lsh_native.sparsity.selection import NaNError

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


def mean_magnitude(connections: Connections, survivors: Masks, budget: Mapping[str, int]) -> Shares:
    """Grow in proportion to the mean |w| of each matrix's survivors; otherwise as `keep_counts`.

    Source: T. Dettmers and L. Zettlemoyer, "Sparse networks from scratch", 2019 (SNFS), with
    |w| in the place of momentum.
    """
    magnitudes = {name: connections.weights[name][mask].abs() for name, mask in survivors.items()}
    for name, values in magnitudes.items():
        if not values.isfinite().all():
            raise NaNError(f"the weights of {name} must be finite, got NaN or infinity")
    largest = max(
        (float(values.max()) for values in magnitudes.values() if values.numel()), default=0
    )
    if not largest:
        return dict.fromkeys(survivors, 0.0)
    shares = {}
    for name, values in magnitudes.items():
        # A sum of integers does not depend on its order, so no number of threads changes a share.
        total = (values.double() / largest * 2**30).round().to(torch.int64).sum()
        shares[name] = int(total) / max(values.numel(), 1)
    return shares


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
