"""What the public program of 2022 does where it differs, for comparison only.

Its random choices are a coin per connection, so counts are right in the mean alone; its SET drops
the most negative weights, not those near zero; its Erdős–Rényi densities are not capped at 1 while
the total is shared out, so dense matrices leave it short. A surplus of live connections is dropped
by magnitude here, where the program grows fewer.

Source: https://github.com/FATE4869/hyperpruning, October 2022.
"""

from dataclasses import replace

import torch

from lsh_native.pruning.criterion import Counts, global_magnitude, refuse_nan, set_drop
from lsh_native.pruning.method import PruningMethod
from lsh_native.sparsity.connections import Connections, Masks, State
from lsh_native.sparsity.mask import Sizes, count_true, erdos_renyi, total_count
from lsh_native.sparsity.selection import drop_lowest


def as_in_2022(method: PruningMethod) -> PruningMethod:
    """A method with the slots that the public program has in the place of its own."""
    return replace(
        method,
        initial=erdos_renyi_uncapped if method.initial is erdos_renyi else method.initial,
        first=coin_growth,
        drop=set_drop_2022 if method.drop is set_drop else method.drop,
        grow=None if method.grow is None else coin_growth,
        shrink=global_magnitude,
    )


def erdos_renyi_uncapped(sizes: Sizes, density: float) -> dict[str, int]:
    """Densities in proportion to (rows + columns) / (rows · columns), cut at 1 one by one."""
    sums = {name: sum(size[:2]) for name, size in sizes.items()}
    scale = total_count(sizes, density) / max(sum(sums.values()), 1)
    return {name: min(size.numel(), round(scale * sums[name])) for name, size in sizes.items()}


def coin_growth(
    connections: Connections,
    survivors: Masks,
    counts: Counts,
    state: State,
    generator: torch.Generator,
) -> tuple[Masks, State]:
    """Grow every dead connection with the same probability, count / free."""
    masks = {}
    for name, mask in survivors.items():
        free = mask.numel() - count_true(mask)
        drawn = torch.rand(mask.shape, generator=generator).to(mask.device)
        masks[name] = mask | (drawn < counts[name] / max(free, 1))
    return masks, state


def set_drop_2022(
    connections: Connections, counts: Counts, state: State, generator: torch.Generator
) -> tuple[Masks, State]:
    """Drop half the number from the smallest positive weights, half from the most negative ones."""
    survivors = {}
    for name, mask in connections.masks.items():
        weight = {name: connections.weights[name]}
        refuse_nan(name, weight[name], mask)
        positive, negative = mask & (weight[name] > 0), mask & (weight[name] < 0)
        low, high = counts[name] // 2, counts[name] - counts[name] // 2
        low = min(low, count_true(positive))
        high = min(high, count_true(negative))
        kept = (
            drop_lowest(weight, {name: positive}, low)[name]
            | drop_lowest(weight, {name: negative}, high)[name]
        )
        survivors[name] = kept | (mask & (weight[name] == 0))
    return survivors, state
