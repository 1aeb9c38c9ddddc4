"""Who proposes the next candidate: Gaussian process, chance, or one after the other.

Asking is stateless: a proposal follows from the space, the history and the seed alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from bayes_opt import BayesianOptimization
from bayes_opt.acquisition import UpperConfidenceBound
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.gaussian_process.kernels import Matern

from lsh_native.search.candidate import Candidate
from lsh_native.search.history import History
from lsh_native.search.space import Space

# Up to this size a space is enumerated; a larger one is drawn from.
_ENUMERABLE = 20_000

# A process without any noise cannot be fitted in floating point.
_LEAST_NOISE = 1e-6

# In units of a dimension: below, neighbours say nothing of each other; above, all are alike.
_LENGTH_SCALES = (0.1, 30.0)

# Length scales are fitted in so many steps to so many points; more changes few proposals.
_STEPS, _FITTED = 20, 64


class SpaceExhausted(Exception):  # noqa: N818 - the end of a space, not an error
    """Every candidate of the space has been proposed."""


class Sampler(Protocol):
    """Proposes candidates; its `repr` says all that decides what it proposes."""

    def propose(self, space: Space, history: History, *, seed: int, number: int) -> Candidate:
        """Return a candidate of the space that is not in the history.

        Args:
            space: Where to look.
            history: All earlier candidates, in the order proposed.
            seed: Of the study.
            number: Of the trial that the candidate is for.

        Raises:
            SpaceExhausted: If there is none left.
        """


@dataclass(frozen=True, kw_only=True)
class RandomSampler:
    """Each unseen candidate is as likely as any other."""

    def propose(self, space: Space, history: History, *, seed: int, number: int) -> Candidate:
        """See `Sampler.propose`."""
        return unseen(space, history, np.random.default_rng([seed, number]), limit=1)[0]


@dataclass(frozen=True, kw_only=True)
class GridSampler:
    """The candidates of a finite space in its own order."""

    def propose(self, space: Space, history: History, *, seed: int, number: int) -> Candidate:
        """See `Sampler.propose`; the seed and the number change nothing.

        Raises:
            ValueError: If the space is not finite.
        """
        for candidate in space:
            if candidate not in history.candidates:
                return candidate
        raise SpaceExhausted(_exhausted(history))


@dataclass(frozen=True, kw_only=True)
class BayesianSampler:
    """The unseen candidate with the highest upper confidence bound of a Gaussian process.

    The process is rebuilt from the history at every ask. Its target is the rank of
    `History.targets`, who misses a constraint last, turned into a normal quantile: any score will
    do, whatever its scale, and the long right tail of distances cannot outweigh the good
    candidates. A pending candidate is lied about with the worst target seen, which keeps the next
    proposal away from it; a failed one is left out. Every dimension of the space has a length
    scale of its own, so that choices that do not matter are seen not to.

    The bound is computed for every unseen candidate, or for a random batch of them where the space
    cannot be enumerated. So no candidate comes twice, and an ask takes hundredths of a second
    where the library's own search for the highest bound over relaxed categories takes seconds.

    Args:
        starts: Scores to wait for; candidates are random until then.
        kappa: Standard deviations of optimism.
        noise: Variance of a target's error, relative to the spread of targets. Distances of one
            candidate under two seeds differ by about 0.3 of the spread between candidates.
        batch: Unseen candidates to compare at most.

    Raises:
        ValueError: If a number is out of range.
    """

    starts: int = 5
    kappa: float = 2.576
    noise: float = 0.1
    batch: int = 2000

    def __post_init__(self) -> None:
        for name, least in (("starts", 1), ("kappa", 0), ("noise", 0), ("batch", 1)):
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise ValueError(f"{name} must be finite and at least {least}, got {value}")

    def propose(self, space: Space, history: History, *, seed: int, number: int) -> Candidate:
        """See `Sampler.propose`."""
        generator = np.random.default_rng([seed, number])
        scores = history.targets
        if len(scores) < self.starts:
            return unseen(space, history, generator, limit=1)[0]
        pool = unseen(space, history, generator, limit=self.batch)
        quantiles = _normal_quantiles(list(scores.values()))
        targets = dict(zip(scores, quantiles.tolist(), strict=True))
        for observation in history:
            if observation.pending:
                targets.setdefault(observation.candidate, float(quantiles.min()))
        points = [(space.encode(candidate), target) for candidate, target in targets.items()]
        with warnings.catch_warnings():
            # bayes_opt calls categories experimental, and the fit says when it stops at a bound.
            warnings.simplefilter("ignore")
            some = generator.permutation(len(points))[:_FITTED]
            scales = self._fit(space, [points[index] for index in some])
            process = self._process(space, points, kernel=_kernel(scales), optimizer=None)
            prediction = process.predict(map(space.encode, pool), return_std=True)
        mean, deviation = np.asarray(prediction)
        bound = UpperConfidenceBound(kappa=self.kappa).base_acq(mean, deviation)
        return pool[int(np.argmax(bound))]

    def _fit(
        self, space: Space, points: Sequence[tuple[dict[str, float | str], float]]
    ) -> NDArray[np.float64]:
        """Return the likeliest length scale of each number and each category of a space."""
        scales = np.ones(
            sum(1 if values == (0.0, 1.0) else len(values) for values in space.cube().values())
        )

        def keep(
            objective: Callable[..., Any], start: NDArray[np.float64], bounds: NDArray[np.float64]
        ) -> tuple[NDArray[np.float64], float]:
            options = {"maxiter": _STEPS}
            found = minimize(objective, start, jac=True, bounds=bounds, options=options)
            scales[:] = np.exp(found.x)
            return found.x, found.fun

        process = self._process(
            space, points, kernel=_kernel(scales), optimizer=keep, n_restarts_optimizer=0
        )
        process.predict(points[0][0])
        return scales

    def _process(
        self, space: Space, points: Sequence[tuple[dict[str, float | str], float]], **options: Any
    ) -> BayesianOptimization:
        process = BayesianOptimization(f=None, pbounds=space.cube(), random_state=0, verbose=0)
        process.set_gp_params(alpha=max(self.noise, _LEAST_NOISE), **options)
        for point, target in points:
            # The library's own register lists all earlier points for its log, every time.
            process.space.register(point, target)
        return process


def _kernel(scales: NDArray[np.float64]) -> Matern:
    return Matern(nu=2.5, length_scale=scales.copy(), length_scale_bounds=_LENGTH_SCALES)


def _normal_quantiles(scores: Sequence[float]) -> NDArray[np.float64]:
    """Map scores to standard normal quantiles, the best (smallest) to the largest."""
    ranks = rankdata(scores)
    quantiles: NDArray[np.float64] = ndtri((len(scores) + 0.5 - ranks) / len(scores))
    return quantiles


def unseen(
    space: Space,
    history: History,
    generator: np.random.Generator,
    *,
    limit: int,
) -> list[Candidate]:
    """Return unseen candidates in random order, at most `limit`; at least one."""
    known = history.candidates
    if space.finite and len(space) <= _ENUMERABLE:
        candidates = [candidate for candidate in space if candidate not in known]
        found = [candidates[index] for index in generator.permutation(len(candidates))[:limit]]
    else:
        draws = (space.draw(generator) for _ in range(100 + 2 * limit))
        found = list(dict.fromkeys(islice((c for c in draws if c not in known), limit)))
    if not found:
        raise SpaceExhausted(_exhausted(history))
    return found


def _exhausted(history: History) -> str:
    return f"all {len(history)} candidates of the space have been proposed"
