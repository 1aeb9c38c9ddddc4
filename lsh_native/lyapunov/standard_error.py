"""Standard errors of exponents, from independent samples or from blocks of time."""

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Blocks must be long against the memory of the dynamics, and enough of them for a variance.
_LEAST_BLOCKS, _MOST_BLOCKS = 10, 20


def standard_errors(samples: FloatArray) -> FloatArray:
    """Standard error of the mean of independent samples (M, N), one for each column.

    A column of -inf alone has none (0); one with -inf and finite values has an infinite one.

    Raises:
        ValueError: there are fewer than two samples.
    """
    if samples.ndim != 2 or len(samples) < 2:
        raise ValueError(f"samples must have shape (M, N) with M >= 2, got {samples.shape}")
    vanished = np.isneginf(samples)
    spread = np.where(vanished, 0.0, samples).std(axis=0, ddof=1) / math.sqrt(len(samples))
    return np.where(vanished.any(axis=0) & ~vanished.all(axis=0), np.inf, spread)


def batch_means(growth: FloatArray, lengths: NDArray[np.int64]) -> FloatArray:
    """Growth per step in 10 to 20 consecutive blocks of time, as samples for `standard_errors`.

    Args:
        growth: log growth over each interval, (M, N).
        lengths: steps in each interval, (M,).

    Returns:
        Shape (blocks, N); no blocks at all if there are fewer than 10 intervals.
    """
    if len(growth) < _LEAST_BLOCKS:
        return growth[:0]
    blocks = np.array_split(np.arange(len(growth)), min(len(growth), _MOST_BLOCKS))
    return np.stack([growth[block].sum(axis=0) / lengths[block].sum() for block in blocks])
