"""What a score was worth on the user's own task: stopped candidates trained to the end after all.

Everything is worked out from the store, so the report can be drawn again at any time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
from lsh_native.search.race import add_repeat
from lsh_native.search.result import read_result
from lsh_native.search.score import SCORES, Score, evaluate
from lsh_native.search.spectral import spectrum_distance
from lsh_native.search.store import Store
from lsh_native.search.surrogate import features
from lsh_native.search.trial import (
    REFERENCE,
    REPEAT,
    Distance,
    EpochRecord,
    Measurement,
    Pool,
    State,
    repeat_of,
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
    repeat: int = 1,
) -> None:
    """Train a random sample of stopped candidates to the end, and some trials again.

    Args:
        coordinator: Of a study that has ended.
        count: How many stopped candidates; the same seed chooses the same ones, and a larger
            number those of a smaller one and more.
        total: Epochs of the full schedule.
        seed: Of the study.
        epochs: Those at which trials are compared.
        repeat: The how manieth repeat of a trial is its retest.
    """
    store = coordinator.store
    measured = sorted({*epochs, total})
    stopped = [t.number for t in store.trials() if t.state is State.STOPPED]
    generator = np.random.default_rng([seed, 1])
    sample = [stopped[index] for index in generator.permutation(len(stopped))][:count]
    finished = [t.number for t in store.trials()[1:] if t.state is State.COMPLETE]
    retested = sorted((sample + finished)[:RETESTS])
    for number in sorted(sample):
        for epoch in measured:
            if epoch > max(store.distances(number), default=0):
                coordinator.request(number, epoch)
    again = [add_repeat(coordinator, n, repeat, seed) for n in (REFERENCE, *retested)]
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

    Args:
        name: Of the score.
        picked: The candidate that would have been found.
        regret: Its loss in perplexity against the best candidate, relative to it.
        curve: Best validation loss so far after so many epochs of the candidates, as pairs.
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
        finals: Final validation loss of each candidate whose end is known, by number.
        scores: Every score at every rung.
        replays: The search under each score, and its rivals, for the same epochs.
        chance: Expected relative regret of one pick at random, and of three.
        epochs: Epochs that were trained for the evidence alone.
    """

    score: str
    candidates: int
    finals: Mapping[int, float]
    scores: tuple[ScoreEvidence, ...]
    replays: tuple[Replay, ...]
    chance: tuple[float, float]
    epochs: int

    @property
    def verdict(self) -> str:
        """One plain sentence: whether the score that decided can be trusted on this task."""
        count = len(self.finals)
        if count < ENOUGH:
            return (
                f"Nothing can be said about any score: the end of {count} candidates is known, "
                f"and at least {ENOUGH} are needed."
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
    trials = [t for t in store.trials() if t.candidate is not None]
    known = [t for t in trials if t.epochs >= total > 0 and not t.state.lost]
    if len(known) < 3:
        return None
    finals = {t.number: min(e.valid_loss for e in store.epochs(t.number)) for t in known}
    rungs: dict[int, float] = {}
    for rung in store.rungs():
        rungs.setdefault(rung.epoch, 1.0)
    for epoch in rungs:
        entered = [r for r in store.rungs() if r.epoch == epoch]
        rungs[epoch] = sum(r.kept for r in entered) / len(entered)
    judged = _Judged(store, finals, total, scores, distance)
    decided = str(configuration.get("score", "rank_mean"))
    return Evidence(
        score=decided,
        candidates=len(trials),
        finals=finals,
        scores=tuple(row for epoch in sorted(rungs) for row in judged.rows(epoch)),
        replays=judged.replays(rungs),
        chance=(chance_regret(judged.outcome, 1), chance_regret(judged.outcome, 3)),
        epochs=read_result(store).budget.evidence_epochs,
    )


class _Judged:
    """Candidates whose end is known, and what every score says of them."""

    def __init__(
        self,
        store: Store,
        finals: Mapping[int, float],
        total: int,
        scores: Mapping[str, Score],
        distance: Distance,
    ) -> None:
        self._store, self._total, self._scores = store, total, dict(scores)
        self._scores["largest_drop_fraction"] = _largest_drop_fraction
        self._distance = distance
        self.numbers = sorted(finals)
        best = min(finals.values())
        # Relative to the best perplexity: exp(a) / exp(b) - 1.
        self.outcome = np.array([math.expm1(finals[n] - best) for n in self.numbers])
        self._dense = {s.epoch: s for s in store.spectra(REFERENCE)}
        self._pools: dict[int, Pool] = {}

    def rows(self, epoch: int) -> Iterable[ScoreEvidence]:
        """Yield what is known of each score at a rung."""
        pool = self._pool(epoch, self.numbers)
        place = {n: index for index, n in enumerate(self.numbers)}
        outcome = self.outcome[[place[m.number] for m in pool]]
        losses = np.array([m.epochs[-1].valid_loss for m in pool])
        configured = features([m.candidate for m in pool])
        drops = np.array([m.candidate.drop_fraction or 0.0 for m in pool])[:, None]
        tokens = self._token_noise(epoch)
        for name, score in self._scores.items():
            values = _values(name, score, pool)
            if values is None or not np.isfinite(values).all() or len(values) < 3:
                continue
            far = name.startswith("lyapunov")
            yield ScoreEvidence(
                name=name,
                epoch=epoch,
                count=len(values),
                spearman=spearman(values, outcome),
                kendall=kendall(values, outcome),
                over_loss=None if name == "loss" else difference(values, losses, outcome),
                given_drop=partial(values, outcome, drops),
                given_configuration=partial(values, outcome, configured),
                regret=regret(values, outcome, 1),
                regret_of_three=regret(values, outcome, 3),
                retest=self._retest(name, score, epoch, values),
                tokens=tokens if name == "lyapunov" else None,
                floor=self._floor(score, epoch, values) if far else None,
            )

    def replays(self, rungs: Mapping[int, float]) -> tuple[Replay, ...]:
        """Return the search under each score, at random, and without any elimination."""
        if not rungs:
            return ()
        replays = [
            Replay(name=name, picked=left, regret=self._regret(left), curve=curve)
            for name, score in self._scores.items()
            for left, curve in [self._replay(rungs, name, score)]
            if left is not None
        ]
        generator = np.random.default_rng(0)
        by_chance = [
            self._regret(self._replay(rungs, "", _shuffled(generator))[0]) for _ in range(_RANDOM)
        ]
        replays.append(Replay(name="random", picked=None, regret=float(np.mean(by_chance))))
        return tuple(replays)

    def _replay(
        self, rungs: Mapping[int, float], name: str, score: Score
    ) -> tuple[int | None, tuple[tuple[int, float], ...]]:
        left, spent, reached, best = list(self.numbers), 0, 0, math.inf
        curve: list[tuple[int, float]] = []
        for epoch in (*sorted(rungs), self._total):
            for number in left:
                spent += epoch - reached
                losses = [e.valid_loss for e in self._store_epochs(number)[:epoch]]
                best = min(best, *losses)
                curve.append((spent, best))
            reached = epoch
            if epoch == self._total:
                break
            pool = self._pool(epoch, left)
            values = _values(name, score, pool)
            if values is None or not np.isfinite(values).all():
                return None, ()
            kept = max(1, round(rungs[epoch] * len(left)))
            order = np.argsort(values, kind="stable")[:kept]
            left = [pool[int(index)].number for index in order]
        by_end = {n: float(r) for n, r in zip(self.numbers, self.outcome, strict=True)}
        return min(left, key=lambda n: by_end[n], default=None), tuple(curve)

    def _regret(self, number: int | None) -> float:
        if number is None:
            return math.nan
        return float(self.outcome[self.numbers.index(number)])

    def _pool(self, epoch: int, numbers: Sequence[int]) -> Pool:
        if epoch not in self._pools:
            found = [self._store.measurement(n, epoch) for n in self.numbers]
            self._pools[epoch] = self._as_pool(epoch, [m for m in found if m is not None])
        chosen = set(numbers)
        return self._as_pool(epoch, [m for m in self._pools[epoch] if m.number in chosen])

    def _as_pool(self, epoch: int, measurements: Sequence[Measurement]) -> Pool:
        return Pool(
            measurements=tuple(measurements), epoch=epoch, total=self._total, dense=self._dense
        )

    def _store_epochs(self, number: int) -> tuple[EpochRecord, ...]:
        measurement = self._pool(self._total, [number])
        return measurement[0].epochs if len(measurement) else ()

    def _retest(self, name: str, score: Score, epoch: int, spread: Values) -> float | None:
        if name in (*_RELATIVE, "largest_drop_fraction"):
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
            _values(name, score, self._as_pool(epoch, side)) for side in zip(*pairs, strict=True)
        )
        if first is None or again is None or not np.isfinite(first + again).all():
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


def _values(name: str, score: Score, pool: Pool) -> Values | None:
    try:
        return evaluate(name, score, pool)
    except ValueError:
        return None


def _largest_drop_fraction(pool: Pool) -> Values:
    """The trivial rival: whoever rewires most."""
    return np.array([-(m.candidate.drop_fraction or 0.0) for m in pool])


def _shuffled(generator: np.random.Generator) -> Score:
    return lambda pool: generator.permutation(len(pool)).astype(np.float64)
