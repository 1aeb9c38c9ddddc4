"""How many connections each matrix gets, exactly, and masks with that many.

A distribution is a function of the matrices' sizes and one density that returns a count per matrix:

    Σ count = round(density · Σ size),    0 ≤ count ≤ size.
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from lsh_native.sparsity.selection import highest

Sizes: TypeAlias = Mapping[str, torch.Size]
Counts: TypeAlias = dict[str, int]
Distribution: TypeAlias = Callable[[Sizes, float], Counts]


def uniform(sizes: Sizes, density: float) -> Counts:
    """Give every matrix the same density.

    Args:
        sizes: Shape of each matrix by name.
        density: Share of all connections that is kept, in [0, 1].

    Returns:
        Connections of each matrix; their sum is exactly `total_count(sizes, density)`.

    Raises:
        ValueError: The density is outside [0, 1].

    Example:
        >>> uniform({"a": torch.Size((2, 5)), "b": torch.Size((4, 5))}, 0.5)
        {'a': 5, 'b': 10}
    """
    return _distribute(sizes, density, lambda size: Fraction(1))


def erdos_renyi(sizes: Sizes, density: float) -> Counts:
    """Give a matrix a density in proportion to (rows + columns) / (rows · columns).

    Only the first two dimensions count. A matrix that this would overfill becomes dense and the
    rest shares what remains. Arguments, result and errors are those of `uniform`.

    Source: D. C. Mocanu et al., Nature Communications 9, 2383, 2018 (SET).
    """
    return _distribute(sizes, density, lambda size: Fraction(sum(size[:2]), math.prod(size[:2])))


def erdos_renyi_kernel(sizes: Sizes, density: float) -> Counts:
    """Give a tensor a density in proportion to Σ dimensions / Π dimensions (ERK).

    For matrices it equals `erdos_renyi`. Arguments, result and errors are those of `uniform`.

    Source: U. Evci et al., "Rigging the lottery", 2020.
    """
    return _distribute(sizes, density, lambda size: Fraction(sum(size), math.prod(size)))


def everything(sizes: Sizes, density: float) -> Counts:
    """Give every matrix all its connections, whatever the density."""
    return {name: size.numel() for name, size in sizes.items()}


def total_count(sizes: Sizes, density: float) -> int:
    """Connections of all matrices together: the density times the total size, rounded.

    Raises:
        ValueError: The density is outside [0, 1].
    """
    if not 0 <= density <= 1:
        raise ValueError(f"density must be in [0, 1], got {density}")
    return round(density * sum(size.numel() for size in sizes.values()))


def apportion(
    total: int, shares: Mapping[str, float | Fraction], capacity: Mapping[str, int]
) -> Counts:
    """Split a number in proportion to shares, exactly, with no part above its capacity.

    What a full part cannot take goes to the others in proportion to their shares, and to those with
    free places once no share is left. Fractions are rounded by largest remainder, the earlier part
    first.

    Args:
        total: What to split.
        shares: A number ≥ 0 for each part.
        capacity: The most that each part can take.

    Returns:
        Whole parts by name that add up to `total`.

    Raises:
        ValueError: The total is below 0 or above all capacities together, or a share is not a
            number ≥ 0.

    Example:
        >>> apportion(10, {"a": 1, "b": 1, "c": 2}, {"a": 9, "b": 1, "c": 9})
        {'a': 3, 'b': 1, 'c': 6}
    """
    for name, share in shares.items():
        if not 0 <= share < math.inf:
            raise ValueError(f"the share of {name} must be finite and at least 0, got {share}")
    room = sum(capacity[name] for name in shares)
    if not 0 <= total <= room:
        raise ValueError(f"total must be in [0, {room}], the places there, got {total}")
    quotas = _fill(total, {name: Fraction(share) for name, share in shares.items()}, capacity)
    counts = {name: math.floor(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: counts[name] - quotas[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def count_true(mask: Tensor) -> int:
    """True entries of a mask."""
    if mask.device.type != "cpu":
        return int(mask.count_nonzero())
    return int(np.count_nonzero(mask.numpy()))  # several times as fast as torch


def draw_masks(
    counts: Mapping[str, int], sizes: Sizes, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw masks with exact counts, all such masks being equally likely.

    Args:
        counts: Connections of each matrix.
        sizes: Shape of each matrix.
        generator: Source of randomness, on the CPU so that every device sees the same masks.

    Returns:
        Bool tensors on the CPU, by name.

    Raises:
        ValueError: A count is outside [0, size] or the generator is not on the CPU.
    """
    return {name: draw_mask(count, sizes[name], generator) for name, count in counts.items()}


def draw_mask(count: int, size: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw one mask with exactly `count` true entries; see `draw_masks`."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask.view(-1)[draw_indices(count, size.numel(), generator)] = True
    return mask


def draw_indices(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw `count` of the numbers 0 … size − 1, none twice, on the CPU.

    Raises:
        ValueError: The count is outside [0, size] or the generator is not on the CPU.
    """
    if not 0 <= count <= size:
        raise ValueError(f"count must be in [0, {size}], the entries there, got {count}")
    if generator.device.type != "cpu":
        raise ValueError(f"the generator must be on the CPU, got one on {generator.device}")
    return torch.randperm(size, generator=generator)[:count]


def largest_mask(weight: Tensor, count: int, among: Tensor | None = None) -> Tensor:
    """Keep the weights of largest magnitude, of equal ones those of lower index.

    Args:
        weight: Tensor of any shape.
        count: How many to keep.
        among: Bool tensor of the same shape, true where one may be kept; None for all.

    Returns:
        Bool tensor of the weight's shape with exactly `count` true entries.

    Raises:
        ValueError: The count is outside [0, size] or the weight holds NaN.

    Example:
        >>> largest_mask(torch.tensor([[3.0, -1.0], [1.0, 0.0]]), 2)
        tensor([[ True,  True],
                [False, False]])
    """
    return highest(weight.detach().abs(), count, among)


def _distribute(
    sizes: Sizes, density: float, relative_density: Callable[[torch.Size], Fraction]
) -> Counts:
    capacity = {name: size.numel() for name, size in sizes.items()}
    shares = {
        # an empty matrix takes nothing, whatever its other dimension says
        name: relative_density(size) * size.numel() if size.numel() else Fraction(0)
        for name, size in sizes.items()
    }
    return apportion(total_count(sizes, density), shares, capacity)


def _fill(
    total: int, shares: dict[str, Fraction], capacity: Mapping[str, int]
) -> dict[str, Fraction]:
    """Quotas in proportion to shares; parts fill up one after another until the rest fits."""
    quotas = dict.fromkeys(shares, Fraction(0))
    left, open_ = Fraction(total), list(shares)
    while left:
        weights = {name: shares[name] for name in open_}
        if not any(weights.values()):
            weights = {name: Fraction(capacity[name]) for name in open_}
        scale = left / sum(weights.values())
        full = [name for name in open_ if weights[name] * scale > capacity[name]]
        if not full:
            return quotas | {name: weights[name] * scale for name in open_}
        for name in full:
            quotas[name] = Fraction(capacity[name])
            left -= capacity[name]
            open_.remove(name)
    return quotas
