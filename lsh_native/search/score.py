"""What makes a candidate look good at a rung; smaller is better."""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lsh_native.lyapunov import mean_shift, wasserstein
from lsh_native.lyapunov.distance import Metric, l2
from lsh_native.search.errors import LimitReached, StoreError, StudyError
from lsh_native.search.spectral import spectrum_distance
from lsh_native.search.store import Store
from lsh_native.search.surrogate import predicted_losses
from lsh_native.search.trial import EpochRecord, Measurement, Pool

Values = NDArray[np.float64]

Score = Callable[[Pool], Values]
"""Maps the trials of one rung to one number each, smaller = better; NaN where it has none.

A function of the pool and nothing else: what it said is asked again when a study is resumed.
"""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The mean of the last validation losses, nats per token.

    Args:
        last: How many evaluations are averaged; one alone is noisy.

    Raises:
        ValueError: If there is nothing to average.
    """

    last: int = 1

    def __post_init__(self) -> None:
        if self.last < 1:
            raise ValueError(f"last must be at least 1, got {self.last}")

    def __call__(self, pool: Sequence[Measurement]) -> Values:
        """Return a loss a trial."""
        return _each(pool, lambda m: fmean([e.valid_loss for e in m.epochs[-self.last :]]))


@dataclass(frozen=True, kw_only=True)
class TrainingLosses:
    """The sum of the training losses of all epochs so far.

    Source: Ru et al., "Speedy performance estimation for neural architecture search", NeurIPS 2021.
    """

    def __call__(self, pool: Sequence[Measurement]) -> Values:
        """Return a sum a trial."""
        return _each(pool, lambda m: math.fsum(epoch.train_loss for epoch in m.epochs))


@dataclass(frozen=True, kw_only=True)
class Extrapolation:
    """The validation loss at the end of the schedule, read off a falling exponential.

    loss(e) = a + b exp(-e / τ) with b >= 0, by least squares over the epochs so far; τ is the best
    of a geometric series. A trial of fewer than three epochs is taken at its last loss.
    """

    def __call__(self, pool: Pool) -> Values:
        """Return a loss a trial."""
        return _each(pool, lambda m: _extrapolate(m.epochs, pool.total))


@dataclass(frozen=True, kw_only=True)
class Lyapunov:
    """The distance of a trial's spectrum to that of the dense reference.

    Args:
        metric: One of the Lyapunov engine's.
        leading: Share of the leading exponents of each layer that count.
        layers: Only these layers; negative numbers count from the last.
        final: Compare with the dense reference as it was at the end of its schedule instead of
            after as many epochs.

    Raises:
        ValueError: If `leading` is not in (0, 1].

    Source: Zheng & Shlizerman, "Hyperpruning", arXiv 2506.07975.
    """

    metric: Metric = l2
    leading: float = 1.0
    layers: tuple[int, ...] | None = None
    final: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.leading <= 1:
            raise ValueError(f"leading must be in (0, 1], got {self.leading}")

    def __call__(self, pool: Pool) -> Values:
        """Return a distance a trial, NaN where a spectrum is missing or cannot be compared."""
        reference = pool.dense.get(pool.total if self.final else pool.epoch)

        def far(measurement: Measurement) -> float:
            if reference is None or measurement.spectrum is None:
                return math.nan
            try:
                return spectrum_distance(
                    measurement.spectrum,
                    reference,
                    metric=self.metric,
                    leading=self.leading,
                    layers=self.layers,
                )
            except (ValueError, KeyError, TypeError):
                return math.nan

        return _each(pool, far)


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """The final loss that a model of the configuration expects, fed with every rung there was.

    A mixed linear model: an intercept an epoch, the configuration, and a deviation of each trial.
    """

    def __call__(self, pool: Pool) -> Values:
        """Return an expected loss a trial, relative to the mean of an epoch."""
        return predicted_losses(pool)


def lyapunov(pool: Sequence[Measurement]) -> Values:
    """Return the distances that the study measured, at the same epoch of the dense reference."""
    return _each(pool, lambda m: math.nan if m.distance is None else m.distance)


loss = Loss()


def rank_mean(*scores: Score) -> Score:
    """Return the score whose value is the mean of a candidate's ranks under several scores.

    Ties share the mean of their ranks. A candidate for which any of the scores is not finite has
    no rank, and takes none from the others.

    Raises:
        ValueError: If there is no score to average.
    """
    if not scores:
        raise ValueError("rank_mean must have at least one score, got none")

    def mean_of_ranks(pool: Pool) -> Values:
        values = np.stack([score(pool) for score in scores])
        ranked = np.isfinite(values).all(axis=0)
        result = np.full(len(pool), np.nan)
        if ranked.any():
            result[ranked] = rankdata(values[:, ranked], axis=1).mean(axis=0)
        return result

    return mean_of_ranks


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "rank_mean": rank_mean(loss, lyapunov),
        "lyapunov": lyapunov,
        "loss": loss,
        "smooth_loss": Loss(last=3),
        "training_losses": TrainingLosses(),
        "extrapolation": Extrapolation(),
        "surrogate": Surrogate(),
        "lyapunov_wasserstein": Lyapunov(metric=wasserstein),
        "lyapunov_mean": Lyapunov(metric=mean_shift),
        "lyapunov_leading": Lyapunov(leading=0.1),
        "lyapunov_last_layer": Lyapunov(layers=(-1,)),
        "lyapunov_final": Lyapunov(final=True),
    }
)
"""The scores by name; see the functions and classes above."""

RECORDED = ("rank_mean", "lyapunov", "loss")
"""The scores that a study writes down at every rung, beside the one that decides."""

_WITHOUT_SPECTRA = ("loss", "smooth_loss", "training_losses", "extrapolation", "surrogate")


def named_score(name: str) -> Score:
    """Return a score by its name.

    Args:
        name: One of `SCORES`; `a+b`, for the mean of the ranks by scores of such names; or
            `module:function`, for one's own, from the current folder or wherever Python looks.

    Raises:
        ValueError: If there is none of that name, or its module cannot be imported.

    Example:
        >>> named_score("loss") is SCORES["loss"]
        True
    """
    if "+" in name:
        return rank_mean(*map(named_score, name.split("+")))
    if ":" in name:
        return _own_score(name)
    if name not in SCORES:
        raise ValueError(
            f"score must be one of {', '.join(SCORES)}, several of them joined by +, or "
            f"module:function, got {name!r}"
        )
    return SCORES[name]


def recorded_scores(name: str) -> dict[str, Score]:
    """Return the scores that a study writes down where a named one decides, its parts among them.

    Raises:
        ValueError: See `named_score`.
    """
    names = dict.fromkeys((*RECORDED, *name.split("+"), name))
    return {each: named_score(each) for each in names}


def reads_spectra(name: str) -> bool:
    """Return whether a named score may go by spectra; of one's own function nobody knows."""
    return any(part not in _WITHOUT_SPECTRA for part in name.split("+"))


def scores_of(
    store: Store, own: Mapping[str, Score]
) -> tuple[Mapping[str, Score], tuple[str, ...]]:
    """Return the scores by which a study can be judged, and the names of those it cannot be.

    Args:
        store: Of the study.
        own: Scores that are at hand.
    """
    names = dict.fromkeys(score.name for score in store.scores())
    names[str(store.configuration.get("search", {}).get("score", "rank_mean"))] = None
    known, unknown = {**SCORES, **own}, []
    for name in names:
        try:
            known.setdefault(name, own[name] if name in own else named_score(name))
        except ValueError:
            unknown.append(name)
    return known, tuple(unknown)


def evaluate(name: str, score: Score, pool: Pool) -> Values:
    """Return what a score says of a pool.

    Raises:
        ValueError: If it raises, or does not return one number a trial; the message names it.
        LimitReached: If the budget ends while the score waits for a spectrum of the reference;
            likewise `StudyError` and `StoreError`.
    """
    try:
        values = np.asarray(score(pool), dtype=np.float64)
    except (LimitReached, StudyError, StoreError):  # of the study, not of the score
        raise
    except Exception as error:  # a user's function may raise anything
        raise ValueError(f"the score {name} raised {type(error).__name__}: {error}") from error
    if values.shape != (len(pool),):
        raise ValueError(
            f"the score {name} must return one number for each of {len(pool)} trials, got an array "
            f"of shape {values.shape}"
        )
    return values


def _own_score(name: str) -> Score:
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:  # last, so that nothing installed is hidden
        sys.path.append(os.getcwd())
    try:
        score: Score = getattr(importlib.import_module(module), function)
    except Exception as error:  # a user's module may raise anything
        raise ValueError(
            f"score must name a function that can be imported, but {name} raised "
            f"{type(error).__name__}: {error}; run this where its module lies, or set PYTHONPATH"
        ) from error
    if not callable(score):
        raise ValueError(f"score must name a function, got {score!r} as {name}")
    return score


def _each(pool: Sequence[Measurement], value: Callable[[Measurement], float]) -> Values:
    return np.array([value(measurement) for measurement in pool], dtype=np.float64)


def _extrapolate(epochs: Sequence[EpochRecord], total: int) -> float:
    losses = np.array([epoch.valid_loss for epoch in epochs])
    if len(losses) < 3 or not np.isfinite(losses).all():
        return float(losses[-1])
    times = np.arange(1, len(losses) + 1)
    best = (math.inf, float(losses[-1]))
    for scale in np.geomspace(1, max(total, 2), 12):
        falling = np.exp(-times / scale)
        centred = falling - falling.mean()
        slope = max(0.0, float(centred @ losses / (centred @ centred)))
        level = float(losses.mean() - slope * falling.mean())
        error = float(np.square(losses - level - slope * falling).sum())
        best = min(best, (error, level + slope * math.exp(-total / scale)))
    return best[1]
