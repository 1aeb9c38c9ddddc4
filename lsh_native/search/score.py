"""What makes a candidate look good at a rung; smaller is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lsh_native.search.trial import Measurement

Score = Callable[[Sequence[Measurement]], NDArray[np.float64]]
"""Maps the measurements of all candidates at one rung to one number each, smaller = better."""


def loss(measurements: Sequence[Measurement]) -> NDArray[np.float64]:
    """Return the last validation loss of each candidate, nats per token."""
    return np.array([m.epochs[-1].valid_loss for m in measurements], dtype=np.float64)


def lyapunov(measurements: Sequence[Measurement]) -> NDArray[np.float64]:
    """Return the distance of each candidate's spectrum to the dense one at the same epoch.

    Source: Zheng & Shlizerman, "Hyperpruning", arXiv 2506.07975.
    """
    return np.array([m.distance for m in measurements], dtype=np.float64)


def rank_mean(*scores: Score) -> Score:
    """Return the score whose value is the mean of a candidate's ranks under several scores.

    Ties share the mean of their ranks. A candidate for which any of the scores is not finite has
    no rank, and takes none from the others.

    Raises:
        ValueError: If there is no score to average.
    """
    if not scores:
        raise ValueError("rank_mean must have at least one score, got none")

    def mean_of_ranks(measurements: Sequence[Measurement]) -> NDArray[np.float64]:
        values = np.stack([score(measurements) for score in scores])
        ranked = np.isfinite(values).all(axis=0)
        result = np.full(len(measurements), np.nan)
        if ranked.any():
            result[ranked] = rankdata(values[:, ranked], axis=1).mean(axis=0)
        return result

    return mean_of_ranks


SCORES: Mapping[str, Score] = MappingProxyType(
    {"rank_mean": rank_mean(loss, lyapunov), "lyapunov": lyapunov, "loss": loss}
)
