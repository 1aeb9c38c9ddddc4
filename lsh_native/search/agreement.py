"""How well a score foretells an outcome: rank statistics with bootstrap intervals.

Both are smaller = better. Nothing here knows of trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Values = NDArray[np.float64]

_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95 % bootstrap interval over candidates."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def spearman(score: Values, outcome: Values, *, seed: int = 0) -> Estimate | None:
    """Return Spearman's rank correlation; None where a side has no spread or n < 3."""
    return _bootstrap(_rank_correlation, score, outcome, seed=seed)


def kendall(score: Values, outcome: Values, *, seed: int = 0) -> Estimate | None:
    """Return Kendall's τ_b; None where a side has no spread or n < 3."""
    return _bootstrap(_kendall, score, outcome, seed=seed)


def difference(score: Values, rival: Values, outcome: Values, *, seed: int = 0) -> Estimate | None:
    """Return by how much the score's rank correlation is above a rival's, over the same candidates.

    Returns:
        The difference; None where one of the correlations has no value.
    """

    def differ(first: Values, second: Values, rest: Values) -> Values:
        return _rank_correlation(first, rest) - _rank_correlation(second, rest)

    return _bootstrap(differ, score, rival, outcome, seed=seed)


def partial(score: Values, outcome: Values, given: Values) -> float | None:
    """Return the correlation of ranks once what columns of `given` explain is taken from both.

    Args:
        score: (n,).
        outcome: (n,).
        given: (n, columns), such as the features of the configurations.

    Returns:
        The partial correlation; None where fewer than three degrees of freedom are left.
    """
    design = np.column_stack([np.ones(len(score)), rankdata(given, axis=0)])
    freedom = len(score) - np.linalg.matrix_rank(design)
    if freedom < 3:
        return None
    ranks = np.column_stack([rankdata(score), rankdata(outcome)])
    solution, *_ = np.linalg.lstsq(design, ranks, rcond=None)
    left, right = (ranks - design @ solution).T
    scale = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / scale) if scale > 1e-9 * len(score) ** 2 else None


def regret(score: Values, outcome: Values, top: int) -> float:
    """Return how much worse than the best of all the best of a score's `top` picks is."""
    order = np.argsort(score, kind="stable")[:top]
    return float(outcome[order].min() - outcome.min())


def chance_regret(outcome: Values, top: int) -> float:
    """Return the expected regret of `top` picks at random."""
    ordered = np.sort(outcome)
    n = len(ordered)
    top = min(top, n)
    # The best of the picks is the i-th best with the chance that it is in and none before it is.
    left, expected = 1.0, 0.0
    for index in range(n - top + 1):
        chance = left * top / (n - index)
        expected += chance * float(ordered[index])
        left -= chance
    return expected - float(ordered[0])


def repeat_noise(first: Values, again: Values, spread: Values) -> float | None:
    """Return the standard deviation between repeats relative to that between candidates.

    Args:
        first: A value a repeated candidate.
        again: Its value under another seed.
        spread: A value for each candidate.
    """
    between = float(np.std(spread, ddof=1)) if len(spread) > 1 else 0.0
    if not len(first) or not between > 0:
        return None
    return float(np.sqrt(np.square(first - again).mean() / 2)) / between


def interaction_noise(table: Values) -> float | None:
    """Return what differs between columns beyond their means, relative to the spread of the rows.

    Args:
        table: (candidates, stretches of text).
    """
    if table.ndim != 2 or min(table.shape) < 2:
        return None
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    left = float(np.sqrt(np.square(table - rows - columns + table.mean()).sum() / freedom))
    between = float(np.std(rows, ddof=1))
    return left / between if between > 0 else None


def _bootstrap(statistic: Callable[..., Values], *samples: Values, seed: int) -> Estimate | None:
    """Estimate a statistic of rows, (R, n) each, from samples of n."""
    n = len(samples[0])
    value = float(statistic(*(sample[None] for sample in samples))[0]) if n >= 3 else math.nan
    if math.isnan(value):
        return None
    chosen = np.random.default_rng(seed).integers(n, size=(_RESAMPLES, n))
    parts = np.array_split(chosen, max(1, n // 50))  # n² numbers a resample must fit in memory
    found = np.concatenate([statistic(*(sample[part] for sample in samples)) for part in parts])
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Estimate(value=value, low=float(low), high=float(high))


def _rank_correlation(left: Values, right: Values) -> Values:
    a, b = (rankdata(side, axis=1) for side in (left, right))
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (a, b))
    return _ratio((a * b).sum(axis=1), np.square(a).sum(axis=1) * np.square(b).sum(axis=1))


def _kendall(left: Values, right: Values) -> Values:
    a, b = (np.sign(side[:, :, None] - side[:, None, :]) for side in (left, right))
    pairs = (1, 2)
    return _ratio((a * b).sum(axis=pairs), np.abs(a).sum(axis=pairs) * np.abs(b).sum(axis=pairs))


def _ratio(product: Values, squares: Values) -> Values:
    """Return product / √squares, NaN where there is no spread."""
    scale = np.sqrt(squares)
    found: Values = np.divide(product, scale, out=np.full_like(scale, np.nan), where=scale > 0)
    return found
