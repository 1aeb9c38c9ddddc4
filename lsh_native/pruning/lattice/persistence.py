"""How long an attribute stays irreducible while weak connections are cut away.

    score(m) = μ {α : column m of the cut {|w| ≥ α} is irreducible and not empty}

One threshold says little: a random matrix that is neither very sparse nor nearly full has only
irreducible columns. The measure μ weighs the thresholds by what the cuts contain. By default equal
weight goes to equal *factors* of density, which only depends on the order of the weights, and so
treats all strictly increasing functions of |w| alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsh_native import _native

__all__ = ["Measure", "density", "log_density", "magnitude", "persistence"]

Floats: TypeAlias = NDArray[np.float64]
Measure: TypeAlias = Callable[[Floats, NDArray[np.int64]], Floats]
"""Maps the values of a matrix, distinct, descending and positive, and how many entries are at least
as large as each, to how much of all thresholds lies in force until the next value: ascending to 1.
"""


def log_density(values: Floats, counts: NDArray[np.int64]) -> Floats:
    """Equal weight for equal factors of density: log(1 + count) / log(1 + all)."""
    position: Floats = np.log1p(counts) / np.log1p(counts[-1])
    return position


def density(values: Floats, counts: NDArray[np.int64]) -> Floats:
    """Equal weight for equal steps of density."""
    position: Floats = counts / counts[-1]
    return position


def magnitude(values: Floats, counts: NDArray[np.int64]) -> Floats:
    """Equal weight for equal steps of the threshold; depends on more than the order of weights."""
    position: Floats = 1 - np.append(values[1:], 0.0) / values[0]
    return position


def persistence(
    weights: ArrayLike, *, measure: Measure = log_density, cuts: int | None = 64
) -> Floats:
    """Score each attribute by the share of cuts in which its column is irreducible.

    Equal columns share one fate, so the scores follow a permutation of rows or columns. An empty
    column scores nothing: without connections there is nothing to keep.

    Args:
        weights: bool or float (objects, attributes), of which the magnitudes count; zero is no
            connection. For a recurrent matrix objects are sources and attributes targets.
        measure: how much each cut counts.
        cuts: at most so many cuts, spread evenly by the measure; None for one a distinct value.

    Returns:
        float64 (attributes,), in [0, 1].

    Raises:
        TypeError: the weights are neither bool nor floating-point.
        ValueError: they do not have two dimensions, are not finite, or `cuts` is below 1.

    Example:
        >>> persistence(np.array([[1.0, 0.2, 1.0], [0.0, 1.0, 1.0]]), measure=magnitude)
        array([1. , 0.8, 0. ])
    """
    strengths = _strengths(weights)
    if cuts is not None and cuts < 1:
        raise ValueError(f"cuts must be at least 1, got {cuts}")
    values, counts = np.unique(strengths[strengths > 0], return_counts=True)
    score = np.zeros(strengths.shape[1])
    if not len(values):
        return score
    values = values[::-1]
    position = measure(values, np.cumsum(counts[::-1]))
    chosen = np.arange(len(values))
    if cuts is not None and len(values) > cuts:
        chosen = np.unique(np.searchsorted(position, np.arange(1, cuts + 1) / cuts - 1e-12))
    for share, value in zip(np.diff(position[chosen], prepend=0.0), values[chosen], strict=True):
        cut = strengths >= value
        score += share * (_native.irreducible_columns(cut, True) & cut.any(axis=0))
    return score


def _strengths(weights: ArrayLike) -> Floats:
    weights = np.asarray(weights)
    if weights.dtype.kind not in "bf":
        raise TypeError(f"weights must be bool or floating-point, got {weights.dtype}")
    if weights.ndim != 2:
        raise ValueError(f"weights must have two dimensions, got shape {weights.shape}")
    if not np.isfinite(weights).all():
        worst = weights[~np.isfinite(weights)][0]
        raise ValueError(f"weights must be finite, got {worst}")
    strengths: Floats = np.abs(weights.astype(np.float64))
    return strengths
