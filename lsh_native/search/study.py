"""The search itself: the dense reference, a pool of candidates, eliminations, and the finish.

Nothing that matters lives in memory. Every step asks the store whether it is done already, so to
resume is to run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsh_native.search.coordinator import Coordinator
from lsh_native.search.errors import NothingFinishedError, ReferenceLostError
from lsh_native.search.events import (
    Eliminated,
    Event,
    PoolExhausted,
    StudyStarted,
    TrialProposed,
)
from lsh_native.search.result import StudyResult, read_result
from lsh_native.search.rounds import Rounds, Rung
from lsh_native.search.sampler import Observation, Sampler, SpaceExhausted
from lsh_native.search.score import SCORES, Score
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.trial import REFERENCE, Distance, Diverged, Measurement, Runner


def silent(event: Event) -> None:
    """Take an event and do nothing."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A search for the best way to prune.

    Args:
        store: Where everything is kept; a store that holds the same study is gone on with.
        space: What to search.
        sampler: Who proposes candidates.
        rounds: When candidates are compared and how many go on.
        runner: Who trains them.
        distance: How far a candidate's spectrum lies from the reference's.
        candidates: Size of the pool.
        seed: Of the proposals and, with a trial's number, of its training.
        score: Name of the score that decides, one of `scores`.
        scores: All scores to record at every rung, by name.
        settings: What else identifies the study, as JSON values: data, model, recipe.
        versions: Of the software, for the record.

    Raises:
        ValueError: If a number is out of range or the score is unknown.
    """

    store: Store
    space: Space
    sampler: Sampler
    rounds: Rounds
    runner: Runner
    distance: Distance
    candidates: int
    seed: int
    score: str = "rank_mean"
    scores: Mapping[str, Score] = field(default_factory=lambda: SCORES)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {self.candidates}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if self.score not in self.scores:
            raise ValueError(f"score must be one of {', '.join(self.scores)}, got {self.score!r}")
        if "search" in self.settings:
            raise ValueError('settings must leave the key "search" to the study, got one')

    @property
    def configuration(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON values."""
        return {
            **self.settings,
            "search": {
                "candidates": self.candidates,
                "seed": self.seed,
                "space": self.space.to_dict(),
                "sampler": repr(self.sampler),
                "rounds": self.rounds.to_dict(),
                "score": self.score,
            },
        }

    def run(self, on_event: Callable[[Event], None] = silent) -> StudyResult:
        """Run the study to its end, from wherever it is.

        Args:
            on_event: Called with everything that happens, after it is stored.

        Returns:
            The result, also that of a study that ended before.

        Raises:
            StoreError: If the store holds another study, or can no longer be written.
            ReferenceLostError: If the dense reference diverges.
            NothingFinishedError: If no candidate reaches the end.
        """
        new = self.store.begin(self.configuration, self.versions)
        coordinator = Coordinator(
            store=self.store, runner=self.runner, distance=self.distance, emit=on_event
        )
        on_event(
            StudyStarted(
                resumed=not new,
                candidates=self.candidates,
                plan=self.rounds.plan(self.candidates),
                total=self.rounds.total,
            )
        )
        self._train_reference(coordinator)
        left = pool = self._fill_pool(coordinator)
        for rung in self.rounds.plan(len(pool)):
            left = self._climb(left, rung, coordinator)
        for number in left:
            coordinator.advance(number, [self.rounds.total])
            coordinator.complete(number)
        return self._result()

    def _train_reference(self, coordinator: Coordinator) -> None:
        """Train the dense reference and keep its spectrum for every epoch."""
        if not self.store.trials():
            self.store.add_trial(REFERENCE, None, trial_seed(self.seed, REFERENCE))
        coordinator.advance(REFERENCE, range(1, self.rounds.total + 1))
        coordinator.complete(REFERENCE)
        reference = self.store.trial(REFERENCE)
        if reference.state.lost:
            raise ReferenceLostError(f"the dense reference must train, but {reference.reason}")

    def _fill_pool(self, coordinator: Coordinator) -> list[int]:
        """Propose each candidate from the scores seen so far, and train it to the first rung."""
        known = {trial.number for trial in self.store.trials()}
        pool: list[int] = []
        for number in range(1, self.candidates + 1):
            if number not in known:
                try:
                    candidate = self.sampler.propose(
                        self.space, self._history(), seed=self.seed, number=number
                    )
                except SpaceExhausted:
                    coordinator.emit(PoolExhausted(asked=self.candidates, found=len(pool)))
                    break
                self.store.add_trial(number, candidate, trial_seed(self.seed, number))
                coordinator.emit(TrialProposed(trial=self.store.trial(number)))
            coordinator.advance(number, [self.rounds.first])
            pool.append(number)
        return pool

    def _history(self) -> list[Observation]:
        """Return what the sampler may know: the score of each candidate, or that it has none."""
        trials = self.store.trials()
        alive = [trial.number for trial in trials if not trial.state.lost]
        scores = _by_trial(
            self.scores[self.score], self.store.measurements(alive, self.rounds.first)
        )
        history = []
        for trial in trials:
            if trial.candidate is not None:
                score = scores.get(trial.number)
                history.append(
                    Observation(
                        candidate=trial.candidate,
                        score=None if score is None or not math.isfinite(score) else score,
                        pending=score is None and not trial.state.lost,
                    )
                )
        return history

    def _climb(self, left: Sequence[int], rung: Rung, coordinator: Coordinator) -> list[int]:
        """Train what is left to a rung and eliminate; return who goes on, best first."""
        closed = [record for record in self.store.rungs() if record.round == rung.round]
        if closed:
            return [record.trial for record in closed if record.kept]
        for number in left:
            coordinator.advance(number, [rung.epoch])
        measurements = self._comparable(left, rung.epoch, coordinator)
        scores = {name: _by_trial(score, measurements) for name, score in self.scores.items()}
        ranking = sorted(scores[self.score], key=lambda n: (scores[self.score][n], n))
        kept, stopped = ranking[: rung.kept], ranking[rung.kept :]
        self.store.close_rung(
            rung,
            ranking,
            scores,
            reason=f"not among the best {rung.kept} of {len(ranking)} by {self.score} "
            f"after epoch {rung.epoch}",
        )
        coordinator.emit(Eliminated(rung=rung, kept=tuple(kept), stopped=tuple(stopped)))
        return kept

    def _comparable(
        self, left: Sequence[int], epoch: int, coordinator: Coordinator
    ) -> tuple[Measurement, ...]:
        """Return the measurements that the deciding score can rank; who has no rank is lost."""
        while True:
            alive = [number for number in left if not self.store.trial(number).state.lost]
            measurements = self.store.measurements(alive, epoch)
            scores = _by_trial(self.scores[self.score], measurements)
            unranked = {n: value for n, value in scores.items() if not math.isfinite(value)}
            if not unranked:
                return measurements
            for number, value in unranked.items():
                reason = f"the score {self.score} is {value} after epoch {epoch}"
                coordinator.lose(number, Diverged(reason))

    def _result(self) -> StudyResult:
        result = read_result(self.store)
        if result.best is None:
            lost = next(s.trial for s in result.trials if s.trial.state.lost)
            raise NothingFinishedError(
                f"one candidate at least must reach epoch {self.rounds.total}, got none of "
                f"{len(result.trials)}; trial {lost.number} {lost.state}: {lost.reason}"
            )
        return result


def trial_seed(seed: int, number: int) -> int:
    """Return the 32-bit seed of a trial of a study."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _by_trial(score: Score, measurements: Sequence[Measurement]) -> dict[int, float]:
    if not measurements:
        return {}
    values = score(measurements)
    return {m.number: float(value) for m, value in zip(measurements, values, strict=True)}
