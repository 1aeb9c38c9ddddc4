"""What a score was worth on the user's own task: stopped candidates trained to the end after all.

Everything is worked out from the store, so the report can be drawn again at any time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from lsh_native.search.agreement import (
    Estimate,
    chance_regret,
    difference,
    interaction_noise,
    kendall,
    partial,
    regret,
    repeat_noise,
    spearman,
)
from lsh_native.search.coordinator import Coordinator
from lsh_native.search.race import add_repeat, mean_by_candidate
from lsh_native.search.result import final_loss, read_result, seeds_of
from lsh_native.search.rounds import half_and_one
from lsh_native.search.score import SCORES, Score, evaluate
from lsh_native.search.spectral import spectrum_distance
from lsh_native.search.store import Store
from lsh_native.search.surrogate import features
from lsh_native.search.trial import (
    REFERENCE,
    REPEAT,
    Distance,
    Measurement,
    Pool,
    State,
    repeat_of,
    trainings,
)

Values = NDArray[np.float64]

ENOUGH = 8
"""Candidates with a known end below which nothing is said about a score."""

RETESTS = 4
"""Candidates that are trained again with another seed."""

PARTS = (0, 1, 2)
"""Stretches of the validation text along which retests are measured."""

# Scores whose values stand by themselves; a rank or a model's residual changes with the pool.
_RELATIVE = ("rank_mean", "surrogate")

_RANDOM = 300


def gather(
    coordinator: Coordinator,
    count: int,
    *,
    total: int,
    seed: int,
    epochs: Iterable[int],
    seeds: int = 1,
) -> None:
    """Train a random sample of stopped candidates to the end, and some trials again.

    Args:
        coordinator: Of a study that has ended.
        count: How many stopped candidates; the same seed chooses the same ones, and a larger
            number those of a smaller one and more.
        total: Epochs of the full schedule.
        seed: Of the study.
        epochs: Those at which trials are compared.
        seeds: Trainings of every candidate in the search; a retest is one more.
    """
    store = coordinator.store
    measured = sorted({*epochs, total})
    stopped = [t.number for t in store.trials() if t.state is State.STOPPED]
    generator = np.random.default_rng([seed, 1])
    sample = [stopped[index] for index in generator.permutation(len(stopped))][:count]
    finished = [t.number for t in store.trials()[1:] if t.state is State.COMPLETE]
    retested = sorted((sample + finished)[:RETESTS])
    for member in [m for number in sorted(sample) for m in trainings(number, seeds)]:
        for epoch in measured:
            if epoch > max(store.distances(member), default=0):
                coordinator.request(member, epoch)
    again = [add_repeat(coordinator, n, seeds, seed) for n in (REFERENCE, *retested)]
    for number in again:
        for epoch in measured:
            coordinator.request(number, epoch, parts=PARTS)
    coordinator.settle()
    for number in again:
        coordinator.complete(number)


@dataclass(frozen=True, kw_only=True)
class ScoreEvidence:
    """What one score at one rung was worth; None where it cannot be said.

    Args:
        name: Of the score.
        epoch: Of the rung.
        count: Candidates behind the numbers.
        spearman: Rank correlation with the final validation loss.
        kendall: The same by pairs.
        over_loss: By how much its rank correlation is above that of the loss.
        given_drop: Partial correlation given the drop fraction.
        given_configuration: Partial correlation given the whole configuration.
        regret: Perplexity lost by its first pick against the best candidate, relative to it.
        regret_of_three: The same for the best of its first three picks.
        retest: Standard deviation between two seeds over that between candidates.
        tokens: Standard deviation between stretches of text over that between candidates.
        floor: Distance between two dense networks over the mean distance of the candidates.
    """

    name: str
    epoch: int
    count: int
    spearman: Estimate | None
    kendall: Estimate | None
    over_loss: Estimate | None
    given_drop: float | None
    given_configuration: float | None
    regret: float
    regret_of_three: float
    retest: float | None
    tokens: float | None
    floor: float | None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The eliminations of the study played again under another score, on what is known by now.

    Two are by chance: "random_elimination" goes through the same rounds and keeps anybody;
    "random_search" trains as many candidates to the end as the same epochs allow, and knows the
    best of them. Of both the expectation is given.

    Args:
        name: Of the score, or one of the above.
        picked: The candidate that would have been found; None where that is a matter of chance.
        regret: Its loss in perplexity against the best candidate, relative to it.
        curve: Best validation loss so far after so many epochs of the candidates, as pairs; of
            random search one a candidate.
    """

    name: str
    picked: int | None
    regret: float
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known about the scores of a study.

    Args:
        score: The one that decided.
        candidates: Size of the pool.
        finals: Final validation loss of each candidate whose end is known, by number; the mean
            over its trainings.
        scores: Every score at every rung.
        replays: The search under each score, and its rivals, for the same epochs.
        chance: Expected relative regret of one pick at random, and of three.
        epochs: Epochs that were trained for the evidence alone.
        spent: Epochs that the candidates of each replay train.
        reference_epochs: Those of the dense reference, which a search by spectra pays beyond.
        eliminated: Whether the study stopped anybody; where not, replays keep ⌊n/2⌋ + 1.
    """

    score: str
    candidates: int
    finals: Mapping[int, float]
    scores: tuple[ScoreEvidence, ...]
    replays: tuple[Replay, ...]
    chance: tuple[float, float]
    epochs: int
    spent: int
    reference_epochs: int
    eliminated: bool

    @property
    def verdict(self) -> str:
        """One plain sentence: whether the score that decided can be trusted on this task."""
        count = len(self.finals)
        if count < ENOUGH:
            return (
                f"Nothing can be said about any score: the end of {count} candidates is known, "
                f"and at least {ENOUGH} are needed."
            )
        if not self.scores:
            return (
                "Nothing can be said about any score: candidates were not compared before their "
                "end."
            )
        rows = [row for row in self.scores if row.name == self.score and row.spearman]
        if not rows:
            return f"Nothing can be said about {self.score}: it has no spread at any rung."
        first = rows[0]
        assert first.spearman is not None
        seen = (
            f"its rank correlation with the final perplexity after epoch {first.epoch} is "
            f"{first.spearman} over {first.count} candidates"
        )
        if first.spearman.low <= 0:
            return f"On this task {self.score} cannot be told from chance: {seen}."
        gain = first.over_loss
        if self.score == "loss" or gain is None:
            return f"On this task {self.score} tells good candidates from bad ones: {seen}."
        if gain.low > 0:
            return f"On this task {self.score} is better than the loss alone: {seen}."
        if gain.high < 0:
            return f"On this task {self.score} is worse than the loss alone: {seen}."
        return (
            f"On this task {self.score} tells good candidates from bad ones, but no better than "
            f"the loss alone: {seen}."
        )


def read_evidence(
    store: Store, *, scores: Mapping[str, Score] = SCORES, distance: Distance = spectrum_distance
) -> Evidence | None:
    """Work the evidence out from what is stored; None where fewer than three ends are known."""
    configuration = store.configuration.get("search", {})
    total = int(configuration.get("rounds", {}).get("total", 0))
    seeds = seeds_of(store)
    trials = {t.number: t for t in (*store.trials(), *store.repeats())}
    ended = {n for n, t in trials.items() if t.epochs >= total > 0 and not t.state.lost}
    candidates = {n: t.candidate for n, t in trials.items() if t.kind == "candidate"}
    finals = {
        number: loss
        for number in candidates
        if ended.issuperset(trainings(number, seeds))
        and (loss := final_loss(store, number, seeds)) is not None
    }
    if len(finals) < 3:
        return None
    judged = _Judged(store, finals, total, seeds, scores, distance)
    shares = _shares(store)
    budget = read_result(store).budget
    spent, replays = judged.replays(shares)
    return Evidence(
        score=str(configuration.get("score", "rank_mean")),
        candidates=len(candidates),
        finals=finals,
        scores=tuple(row for epoch in sorted(shares) for row in judged.rows(epoch)),
        replays=replays,
        chance=(chance_regret(judged.outcome, 1), chance_regret(judged.outcome, 3)),
        epochs=budget.evidence_epochs,
        spent=spent,
        reference_epochs=budget.reference_epochs,
        eliminated=None not in shares.values(),
    )


def _shares(store: Store) -> dict[int, float | None]:
    """Return which share went on, by the epoch of a rung; None where the study stopped nobody."""
    rungs = store.rungs()
    eliminated = not all(rung.kept for rung in rungs)
    return {
        epoch: fmean(rung.kept for rung in rungs if rung.epoch == epoch) if eliminated else None
        for epoch in sorted({rung.epoch for rung in rungs})
    }


class _Judged:
    """Candidates whose end is known, and what every score says of them."""

    def __init__(
        self,
        store: Store,
        finals: Mapping[int, float],
        total: int,
        seeds: int,
        scores: Mapping[str, Score],
        distance: Distance,
    ) -> None:
        self._store, self._total, self._seeds = store, total, seeds
        self._scores = {**scores, "largest_drop_fraction": _largest_drop_fraction}
        self._distance = distance
        self.numbers = sorted(finals)
        self._best = min(finals.values())
        # Relative to the best perplexity: exp(a) / exp(b) - 1.
        self.outcome = np.array([math.expm1(finals[n] - self._best) for n in self.numbers])
        self._dense = {s.epoch: s for s in store.spectra(REFERENCE)}
        self._pools: dict[int, tuple[Measurement, ...]] = {}
        # The lowest loss up to each epoch, the mean over a candidate's trainings.
        self._lowest = {
            number: np.mean(
                [
                    np.minimum.accumulate([record.valid_loss for record in measurement.epochs])
                    for measurement in self._pool(total, [number])
                ],
                axis=0,
            )
            for number in self.numbers
        }

    def rows(self, epoch: int) -> Iterable[ScoreEvidence]:
        """Yield what is known of each score at a rung."""
        candidates = [self._store.trial(n).candidate for n in self.numbers]
        known = [candidate for candidate in candidates if candidate is not None]
        losses = self._values("loss", SCORES["loss"], epoch)
        configured = features(known)
        drops = np.array([candidate.drop_fraction or 0.0 for candidate in known])[:, None]
        tokens = self._token_noise(epoch)
        for name, score in self._scores.items():
            values = self._values(name, score, epoch)
            if values is None or losses is None:
                continue
            far = name.startswith("lyapunov")
            yield ScoreEvidence(
                name=name,
                epoch=epoch,
                count=len(values),
                spearman=spearman(values, self.outcome),
                kendall=kendall(values, self.outcome),
                over_loss=None if name == "loss" else difference(values, losses, self.outcome),
                given_drop=partial(values, self.outcome, drops),
                given_configuration=partial(values, self.outcome, configured),
                regret=regret(values, self.outcome, 1),
                regret_of_three=regret(values, self.outcome, 3),
                retest=self._retest(name, score, epoch, values),
                tokens=tokens if name == "lyapunov" else None,
                floor=self._floor(score, epoch, values) if far else None,
            )

    def replays(self, shares: Mapping[int, float | None]) -> tuple[int, tuple[Replay, ...]]:
        """Return the search under each score and by chance, and the epochs that each takes."""
        if not shares:
            return 0, ()
        generator = np.random.default_rng(0)
        by_chance = [self._replay(shares, "", _shuffled(generator)) for _ in range(_RANDOM)]
        spent = by_chance[0][1][-1][0]
        replays = [
            Replay(name=name, picked=left, regret=self._regret(left), curve=curve)
            for name, score in self._scores.items()
            for left, curve in [self._replay(shares, name, score)]
            if left is not None
        ]
        mean = float(np.mean([self._regret(left) for left, _ in by_chance]))
        return spent, (*replays, self._random_search(spent), _random("random_elimination", mean))

    def _random_search(self, spent: int) -> Replay:
        """Return the best of as many candidates, trained to the end, as the epochs allow."""
        each = self._total * self._seeds
        regrets = [
            chance_regret(self.outcome, count)
            for count in range(1, min(spent // each, len(self.numbers)) + 1)
        ]
        curve = tuple(
            (count * each, self._best + math.log1p(worse))
            for count, worse in enumerate(regrets, start=1)
        )
        return _random("random_search", regrets[-1], curve)

    def _replay(
        self, shares: Mapping[int, float | None], name: str, score: Score
    ) -> tuple[int | None, tuple[tuple[int, float], ...]]:
        left, spent, reached, best = list(self.numbers), 0, 0, math.inf
        curve: list[tuple[int, float]] = []
        for epoch in (*shares, self._total):
            for number in left:
                spent += self._seeds * (epoch - reached)
                best = min(best, float(self._lowest[number][epoch - 1]))
                curve.append((spent, best))
            reached = epoch
            if epoch == self._total:
                break
            values = self._scored(name, score, epoch, left)
            if values is None:
                return None, ()
            share = shares[epoch]
            kept = half_and_one(len(left)) if share is None else round(share * len(left))
            left = sorted(values, key=lambda n: values[n])[: max(1, kept)]
        return min(left, key=self._regret, default=None), tuple(curve)

    def _regret(self, number: int | None) -> float:
        if number is None:
            return math.nan
        return float(self.outcome[self.numbers.index(number)])

    def _values(self, name: str, score: Score, epoch: int) -> Values | None:
        """Return what a score says of all candidates, in the order of `numbers`, or None."""
        scored = self._scored(name, score, epoch, self.numbers)
        return None if scored is None else np.array(list(scored.values()))

    def _scored(
        self, name: str, score: Score, epoch: int, numbers: Sequence[int]
    ) -> dict[int, float] | None:
        """Return a finite number for each candidate: the mean over its trainings, or None."""
        pool = self._pool(epoch, numbers)
        values = _evaluate(name, score, pool)
        return None if values is None else mean_by_candidate(pool, values.tolist())

    def _pool(self, epoch: int, numbers: Sequence[int]) -> Pool:
        if epoch not in self._pools:
            members = [m for n in self.numbers for m in trainings(n, self._seeds)]
            found = [self._store.measurement(member, epoch) for member in members]
            self._pools[epoch] = tuple(m for m in found if m is not None)
        chosen = set(numbers)
        return self._as_pool(
            epoch, [m for m in self._pools[epoch] if repeat_of(m.number) in chosen]
        )

    def _as_pool(self, epoch: int, measurements: Sequence[Measurement]) -> Pool:
        return Pool(
            measurements=tuple(measurements), epoch=epoch, total=self._total, dense=self._dense
        )

    def _retest(self, name: str, score: Score, epoch: int, spread: Values) -> float | None:
        if name in (*_RELATIVE, "largest_drop_fraction") or "+" in name:  # ranks
            return None
        pairs = []
        for trial in self._store.repeats():
            second = self._store.measurement(trial.number, epoch)
            original = self._store.measurement(repeat_of(trial.number), epoch)
            if second is not None and original is not None:
                pairs.append((original, second))
        if len(pairs) < 2:
            return None
        first, again = (
            _evaluate(name, score, self._as_pool(epoch, side)) for side in zip(*pairs, strict=True)
        )
        if first is None or again is None:
            return None
        return repeat_noise(first, again, spread)

    def _floor(self, score: Score, epoch: int, spread: Values) -> float | None:
        """Return how far another dense network is, in units of the candidates' mean distance."""
        for trial in self._store.repeats():
            if trial.repeats == REFERENCE and epoch in (far := self._store.distances(trial.number)):
                mean = float(spread.mean())
                return far[epoch] / mean if mean > 0 and score is SCORES["lyapunov"] else None
        return None

    def _token_noise(self, epoch: int) -> float | None:
        spectra = self._store.token_spectra(epoch)
        dense = {part: s for (n, part), s in spectra.items() if n % REPEAT == REFERENCE}
        numbers = sorted({n for n, _ in spectra if n % REPEAT != REFERENCE})
        parts = [p for p in dense if all((n, p) in spectra for n in numbers)]
        if len(parts) < 2 or len(numbers) < 2:
            return None
        try:
            table = [[self._distance(spectra[n, p], dense[p]) for p in parts] for n in numbers]
        except (ValueError, KeyError, TypeError):
            return None
        return interaction_noise(np.array(table))


def _evaluate(name: str, score: Score, pool: Pool) -> Values | None:
    """Return what a score says of a pool; None where it raises, or a number is not finite."""
    try:
        values = evaluate(name, score, pool)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _random(name: str, worse: float, curve: tuple[tuple[int, float], ...] = ()) -> Replay:
    return Replay(name=name, picked=None, regret=worse, curve=curve)


def _largest_drop_fraction(pool: Pool) -> Values:
    """The trivial rival: whoever rewires most."""
    return np.array([-(m.candidate.drop_fraction or 0.0) for m in pool])


def _shuffled(generator: np.random.Generator) -> Score:
    return lambda pool: generator.permutation(len(pool)).astype(np.float64)
