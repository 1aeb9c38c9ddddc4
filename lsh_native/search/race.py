"""A search as its rounds see it: propose, train, wait, rank, stop.

Time is virtual, an epoch of any trial being one unit. Trials are heard of in its order, whichever
worker was faster, so that the same study takes the same way on any number of workers, and after
any number of kills: what is in the store already is passed through at once.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import overload

import numpy as np

from lsh_native.search.candidate import Candidate
from lsh_native.search.constraint import Constraint, excess
from lsh_native.search.coordinator import Coordinator
from lsh_native.search.errors import ScoreFailedError
from lsh_native.search.events import Eliminated, PoolExhausted, ScoreFailed, TrialProposed
from lsh_native.search.history import History, Observation
from lsh_native.search.sampler import Sampler, SpaceExhausted
from lsh_native.search.score import Score, evaluate
from lsh_native.search.space import Space
from lsh_native.search.trial import (
    REFERENCE,
    REPEAT,
    Diverged,
    Measurement,
    Pool,
    Rung,
    SpectrumRecord,
    State,
    TrialFault,
    repeat_of,
    trainings,
)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a race goes by.

    Args:
        space: What to search.
        sampler: Who proposes candidates.
        candidates: How many there may be.
        seed: Of the proposals and, with a trial's number, of its training.
        score: Name of the score that decides, one of `scores`.
        scores: All scores to record at every rung, by name.
        total: Epochs of the full schedule.
        ahead: Candidates in training at once while proposals are made: a proposal does not know
            the scores of the last `ahead - 1` before it.
        seeds: Trainings of every candidate, each with a seed of its own; it is judged by their
            mean.
        constraints: What a candidate must keep to.
    """

    space: Space
    sampler: Sampler
    candidates: int
    seed: int
    score: str
    scores: Mapping[str, Score]
    total: int
    ahead: int = 4
    seeds: int = 1
    constraints: tuple[Constraint, ...] = ()


class Race:
    """The state of a search; nothing in it that the store could not give back.

    Args:
        coordinator: Moves trials on.
        rules: What to go by.
    """

    def __init__(self, coordinator: Coordinator, rules: Rules) -> None:
        self.rules = rules
        self._coordinator, self._store = coordinator, coordinator.store
        self._known = {trial.number: trial.candidate for trial in self._store.trials()}
        self._now = 0.0
        self._flying: list[tuple[float, int, int, tuple[int, ...]]] = []
        self._begun = 0
        self._proposed: dict[int, Candidate] = {}
        self._candidates: dict[Candidate, int] = {}
        self._seen: dict[int, int] = {}
        self._gone: set[int] = set()
        self._measurements: dict[int, dict[int, Measurement]] = {}  # by epoch and number
        self._closed: dict[int, list[int]] = {}
        for rung in self._store.rungs():
            self._closed.setdefault(rung.round, []).extend([rung.trial] if rung.kept else [])
        self._exhausted = False

    @property
    def free(self) -> int:
        """How many proposals may be made before the next trial is heard of."""
        return max(0, self.rules.ahead - len(self._flying))

    @property
    def left(self) -> int:
        """How many more candidates there may be."""
        return 0 if self._exhausted else self.rules.candidates - len(self._proposed)

    def reached(self, number: int) -> int:
        """Return the epoch at which a trial was last heard of; 0 before."""
        return self._seen.get(number, 0)

    def propose(
        self,
        until: int,
        choose: Callable[[History, int], Candidate] | None = None,
        *,
        through: Sequence[int] = (),
    ) -> int | None:
        """Let one more candidate start.

        Args:
            until: Epoch to train it to; scores seen at this epoch guide the proposal.
            choose: Who proposes instead of the sampler, from the history and the trial's number.
            through: Epochs before at which a spectrum is taken too.

        Returns:
            Its number, or None if there are no more in the space.
        """
        if self._exhausted:
            return None
        number = len(self._proposed) + 1
        candidate = self._known.get(number)
        if candidate is None:
            try:
                history = History(self._candidates, partial(self._observe, until))
                if choose is None:
                    candidate = self.rules.sampler.propose(
                        self.rules.space, history, seed=self.rules.seed, number=number
                    )
                else:
                    candidate = choose(history, number)
            except SpaceExhausted:
                self._exhausted = True
                self._coordinator.emit(
                    PoolExhausted(asked=self.rules.candidates, found=len(self._proposed))
                )
                return None
            self._store.add_trial(number, candidate, trial_seed(self.rules.seed, number))
            self._coordinator.emit(TrialProposed(trial=self._store.trial(number)))
        self._proposed[number] = candidate
        self._candidates[candidate] = number
        self.start(number, until, through=through)
        return number

    def start(self, number: int, until: int, *, through: Sequence[int] = ()) -> None:
        """Let a trial, with its repeats, train on to an epoch and take its spectrum there.

        Args:
            number: Of the trial.
            until: The epoch.
            through: Epochs before at which a spectrum is taken too.
        """
        stops = (*through, until)
        for member in () if self._cancelled(number) else self._group(number):
            if member != number:
                add_repeat(self._coordinator, number, member // REPEAT, self.rules.seed)
            for epoch in stops:
                self._coordinator.request(member, epoch)
        self._begun += 1
        ends = self._now + until - self.reached(number)
        heapq.heappush(self._flying, (ends, self._begun, number, stops))

    def wait(self) -> int | None:
        """Wait for the trial that is next in virtual time; None if none is on its way."""
        if not self._flying:
            return None
        self._now, _, number, stops = heapq.heappop(self._flying)
        if not self._cancelled(number):
            for member in self._group(number):
                for epoch in stops:
                    self._coordinator.wait_for(member, epoch)
        self._seen[number] = stops[-1]
        self._note_lost(number, stops[-1])
        return number

    def settle(self) -> None:
        """Wait for every trial on its way."""
        while self.wait() is not None:
            pass

    def fill(self, until: int, count: int, *, through: Sequence[int] = ()) -> list[int]:
        """Propose so many candidates, or all there are, and wait for them; see `propose`."""
        pool: list[int] = []
        while len(pool) < count:
            while not self.free:
                self.wait()
            number = self.propose(until, through=through)
            if number is None:
                break
            pool.append(number)
        self.settle()
        return pool

    def insert(self, parents: Sequence[int], until: int, count: int) -> list[int]:
        """Generate candidates near the best of a ranking, and let them catch up."""

        def near(history: History, number: int) -> Candidate:
            generator = np.random.default_rng([self.rules.seed, number])
            for _ in range(100):
                # The nearer to the top, the likelier: ranks in a triangle.
                place = int(min(generator.integers(len(parents), size=2)))
                child = self.rules.space.neighbour(self._proposed[parents[place]], generator)
                if child not in history.candidates:
                    return child
            return self.rules.sampler.propose(
                self.rules.space, history, seed=self.rules.seed, number=number
            )

        inserted = []
        for _ in range(count if parents else 0):
            while not self.free:
                self.wait()
            number = self.propose(until, near)
            if number is None:
                break
            inserted.append(number)
        self.settle()
        return inserted

    def rank(self, numbers: Iterable[int], epoch: int) -> list[int]:
        """Return trials at an epoch, best first by the score that decides.

        Who keeps to the constraints comes before who does not. Who is lost is left out, and a
        trial for which the score has no finite number is lost.

        Raises:
            ScoreFailedError: If the score raises.
        """
        numbers = list(numbers)
        while True:
            pool = self._pool(self.alive(numbers), epoch)
            scores = self._scores(self.rules.score, pool)
            unranked = {n: value for n, value in scores.items() if not math.isfinite(value)}
            for number, value in unranked.items():
                reason = f"the score {self.rules.score} is {value} after epoch {epoch}"
                self._lose(number, Diverged(reason))
            if not unranked:
                break
        ranked = np.array(list(scores), dtype=np.int64)
        above = self._excess(pool)
        excesses = np.array([above.get(number, 0.0) for number in scores])
        order = np.lexsort((ranked, np.array(list(scores.values())), excesses))  # the last decides
        best: list[int] = ranked[order].tolist()
        return best

    def close(self, rung: Rung, numbers: Iterable[int]) -> list[int]:
        """Stop all but the best of a rung; return who goes on, best first.

        A rung that is closed already stays as it is.
        """
        if rung.round in self._closed:
            return self._closed[rung.round]
        ranking = self.rank(numbers, rung.epoch)
        self.conclude(rung, ranking)
        return ranking[: rung.kept]

    def conclude(self, rung: Rung, ranking: Sequence[int]) -> None:
        """Write an elimination down, with what every score said, unless it is closed already."""
        if rung.round in self._closed:
            return
        pool = self._pool(self.alive(ranking), rung.epoch)
        scores = {}
        for name in self.rules.scores:
            try:
                scores[name] = self._scores(name, pool)
            except ScoreFailedError as error:
                scores[name] = dict.fromkeys(ranking, math.nan)
                self._coordinator.emit(ScoreFailed(name=name, epoch=rung.epoch, reason=str(error)))
        self._store.close_rung(
            rung,
            ranking,
            scores,
            reason=f"not among the best {rung.kept} of {len(ranking)} by {self.rules.score} "
            f"after epoch {rung.epoch}",
        )
        kept, stopped = tuple(ranking[: rung.kept]), tuple(ranking[rung.kept :])
        self._coordinator.emit(Eliminated(rung=rung, kept=kept, stopped=stopped))

    def climb(self, numbers: Sequence[int], rung: Rung) -> list[int]:
        """Train trials to a rung and eliminate; return who goes on, best first."""
        for number in numbers:
            if self.reached(number) < rung.epoch:
                self.start(number, rung.epoch)
        self.settle()
        return self.close(rung, numbers)

    def finish(self, numbers: Sequence[int]) -> None:
        """Train trials to the end of the schedule."""
        for number in numbers:
            if self.reached(number) < self.rules.total:
                self.start(number, self.rules.total)
        self.settle()
        for number in numbers:
            self._coordinator.complete(number)

    def alive(self, numbers: Iterable[int]) -> list[int]:
        """Return the trials that were not lost, nor any repeat of theirs, by the virtual time.

        What the store knows already of later is not asked for: it would depend on the workers.
        """
        return [number for number in numbers if number not in self._gone]

    def _group(self, number: int) -> tuple[int, ...]:
        return trainings(number, self.rules.seeds)

    def _cancelled(self, number: int) -> bool:
        return number in self._store.lost and self._store.trial(number).state is State.CANCELLED

    def _note_lost(self, number: int, until: int) -> None:
        """Note a trial that is lost before it was measured at an epoch, or that was cancelled."""
        lost = [m for m in self._group(number) if m in self._store.lost]
        if self._cancelled(number):
            self._gone.add(number)
        elif lost and any(until not in self._store.distances(member) for member in lost):
            cause = self._store.trial(lost[0])
            fault = TrialFault(f"its training with another seed {cause.state}: {cause.reason}")
            fault.state = cause.state
            self._lose(number, fault)

    def _lose(self, number: int, fault: TrialFault) -> None:
        """Note that a trial is lost, here and, unless it is there already, in the store."""
        self._gone.add(number)
        if number not in self._store.lost:
            self._coordinator.lose(number, fault)

    def _observe(self, epoch: int) -> Iterator[Observation]:
        """Yield what the sampler may know: the score of each candidate, or that it has none."""
        seen = self.alive(n for n, reached in self._seen.items() if reached >= epoch)
        pool = self._pool(seen, epoch)
        scores, above = self._scores(self.rules.score, pool), self._excess(pool)
        flying = {number for *_, number, _ in self._flying}
        for number, candidate in self._proposed.items():
            score = scores.get(number)
            yield Observation(
                candidate=candidate,
                score=None if score is None or not math.isfinite(score) else score,
                excess=above.get(number, 0.0),
                pending=score is None and number in flying,
            )

    def _pool(self, numbers: Iterable[int], epoch: int) -> Pool:
        """Return what scores may know of trials at an epoch, their repeats among them."""
        members = [member for number in numbers for member in self._group(number)]

        def others() -> Iterator[Measurement]:
            inside = set(members)
            for number, reached in self._seen.items():
                if number not in inside:
                    yield from self._measured([number], reached)

        return Pool(
            measurements=tuple(self._measured(members, epoch)),
            epoch=epoch,
            total=self.rules.total,
            dense=_Dense(self._coordinator, self.rules.total),
            others=_Others(others),
        )

    def _measured(self, numbers: Sequence[int], epoch: int) -> list[Measurement]:
        """Return the measurements of trials at an epoch, without those that are not complete."""
        known = self._measurements.setdefault(epoch, {})
        for number in numbers:
            if number not in known:
                measurement = self._store.measurement(number, epoch)
                if measurement is not None:
                    known[number] = measurement
        return [known[number] for number in numbers if number in known]

    def _scores(self, name: str, pool: Pool) -> dict[int, float]:
        """Return a number for each candidate: the mean over its repeats."""
        if not len(pool):
            return {}
        try:
            values = evaluate(name, self.rules.scores[name], pool)
        except ValueError as error:
            raise ScoreFailedError(str(error)) from error
        return mean_by_candidate(pool, values.tolist())

    def _excess(self, pool: Pool) -> dict[int, float]:
        """Return by which share each candidate misses a constraint: the mean over its repeats."""
        if not self.rules.constraints:
            return {}
        own = [excess(self.rules.constraints, m.epochs[-1].details) for m in pool]
        return mean_by_candidate(pool, own)


class _Dense(Mapping[int, SpectrumRecord]):
    """The spectra of the dense reference; the last one is waited for when it is asked for."""

    def __init__(self, coordinator: Coordinator, total: int) -> None:
        self._coordinator, self._total = coordinator, total

    def __getitem__(self, epoch: int) -> SpectrumRecord:
        if epoch == self._total:
            self._coordinator.wait_for(REFERENCE, epoch)
        try:
            return self._coordinator.store.spectrum(REFERENCE, epoch)
        except LookupError as error:
            raise KeyError(epoch) from error

    def __iter__(self) -> Iterator[int]:
        return iter([record.epoch for record in self._coordinator.store.spectra(REFERENCE)])

    def __len__(self) -> int:
        return len(self._coordinator.store.spectra(REFERENCE))


class _Others(Sequence[Measurement]):
    """Trials that a pool leaves out: walked over only if a score asks for them."""

    def __init__(self, find: Callable[[], Iterable[Measurement]]) -> None:
        self._find = find

    @cached_property
    def _found(self) -> tuple[Measurement, ...]:
        return tuple(self._find())

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Measurement, ...]: ...
    def __getitem__(self, index: int | slice) -> Measurement | tuple[Measurement, ...]:
        return self._found[index]


def mean_by_candidate(
    measurements: Iterable[Measurement], values: Iterable[float]
) -> dict[int, float]:
    """Return the mean value of each candidate over its repeats."""
    by_trial: dict[int, list[float]] = {}
    for measurement, value in zip(measurements, values, strict=True):
        by_trial.setdefault(repeat_of(measurement.number), []).append(value)
    return {number: math.fsum(own) / len(own) for number, own in by_trial.items()}


def trial_seed(seed: int, number: int) -> int:
    """Return the 32-bit seed of a trial of a study."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def add_repeat(coordinator: Coordinator, number: int, repeat: int, seed: int) -> int:
    """Add a trial that trains another one again with another seed, unless it is there.

    Args:
        coordinator: Of the study.
        number: The trial to repeat.
        repeat: The how manieth repeat, from 1.
        seed: Of the study.

    Returns:
        The number of the repeat.
    """
    store = coordinator.store
    again = number + REPEAT * repeat
    if again not in {trial.number for trial in store.repeats()}:
        candidate = store.trial(number).candidate
        store.add_trial(again, candidate, trial_seed(seed, again), repeats=number)
    return again
