"""The search itself: the dense reference, the rounds, and the finish.

Nothing that matters lives in memory. Every step asks the store whether it is done already, so to
resume is to run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lsh_native.search.constraint import Constraint
from lsh_native.search.coordinator import Coordinator, Limits
from lsh_native.search.errors import LimitReached, NothingFinishedError, StudyError
from lsh_native.search.events import Event, StudyInterrupted, StudyPaused, StudyStarted
from lsh_native.search.evidence import Evidence, gather, read_evidence
from lsh_native.search.executors.job import Executor
from lsh_native.search.race import Race, Rules, trial_seed
from lsh_native.search.result import StudyResult, read_result
from lsh_native.search.rounds import Rounds
from lsh_native.search.sampler import Sampler
from lsh_native.search.score import RECORDED, SCORES, Score
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.trial import REFERENCE, Distance, State


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
        executor: Who trains them, and where.
        distance: How far a candidate's spectrum lies from the reference's.
        candidates: Size of the pool.
        seed: Of the proposals and, with a trial's number, of its training.
        score: Name of the score that decides, one of `scores`.
        scores: All scores to record at every rung, by name.
        ahead: Candidates in training at once while proposals are made; see `Rules`.
        seeds: Trainings of every candidate; see `Rules`.
        constraints: What a candidate must keep to.
        settings: What else identifies the study, as JSON values: data, model, recipe.
        versions: Of the software, for the record.

    Raises:
        ValueError: If a number is out of range or the score is unknown.
    """

    store: Store
    space: Space
    sampler: Sampler
    rounds: Rounds
    executor: Executor
    distance: Distance
    candidates: int
    seed: int
    score: str = "rank_mean"
    scores: Mapping[str, Score] = field(
        default_factory=lambda: {name: SCORES[name] for name in RECORDED}
    )
    ahead: int = 4
    seeds: int = 1
    constraints: tuple[Constraint, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("candidates", 1), ("seed", 0), ("ahead", 1), ("seeds", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.score not in self.scores:
            raise ValueError(f"score must be one of {', '.join(self.scores)}, got {self.score!r}")
        if "search" in self.settings:
            raise ValueError('settings must leave the key "search" to the study, got one')

    @property
    def configuration(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON values; the executor does not."""
        return {
            **self.settings,
            "search": {
                "candidates": self.candidates,
                "seed": self.seed,
                "space": self.space.to_dict(),
                "sampler": repr(self.sampler),
                "rounds": self.rounds.to_dict(),
                "score": self.score,
                "ahead": self.ahead,
                "seeds": self.seeds,
                "constraints": {c.name: c.at_most for c in self.constraints},
            },
        }

    @property
    def rules(self) -> Rules:
        """What the race goes by."""
        return Rules(
            space=self.space,
            sampler=self.sampler,
            candidates=self.candidates,
            seed=self.seed,
            score=self.score,
            scores=self.scores,
            total=self.rounds.total,
            ahead=self.ahead,
            seeds=self.seeds,
            constraints=self.constraints,
        )

    def run(
        self,
        on_event: Callable[[Event], None] = silent,
        *,
        limits: Limits | None = None,
        retries: int = 2,
    ) -> StudyResult:
        """Run the study to its end, from wherever it is.

        The first Ctrl-C lets the epochs in flight end, the second ends at once; the study can be
        resumed after both.

        Args:
            on_event: Called with everything that happens, after it is stored.
            limits: What this call may spend; the study pauses where it is spent.
            retries: How often a trial whose process died is begun anew.

        Returns:
            The result, also that of a study that ended before; without a best trial if it paused.

        Raises:
            StoreError: If the store holds another study, or can no longer be written.
            ReferenceLostError: If the dense reference is lost; unless it diverged, the next call
                tries it again.
            NothingFinishedError: If no candidate reaches the end.
            ScoreFailedError: If the score that decides raises.
            KeyboardInterrupt: After Ctrl-C.
        """
        self._guard(self._search, on_event, limits, retries)
        return self._result() if self.store.finished else read_result(self.store)

    def gather_evidence(
        self,
        count: int,
        on_event: Callable[[Event], None] = silent,
        *,
        limits: Limits | None = None,
        retries: int = 2,
    ) -> Evidence | None:
        """Train stopped candidates of a finished study to the end, to see what scores are worth.

        Args:
            count: How many, drawn at random.
            on_event: Called with everything that happens, after it is stored.
            limits: What this call may spend.
            retries: How often a trial whose process died is begun anew.

        Returns:
            What is known by now; None where it is too little.

        Raises:
            StudyError: If the study has not finished.
            StoreError: If the store can no longer be written.
            KeyboardInterrupt: After Ctrl-C.
        """
        if not self.store.finished:
            raise StudyError("a study must have finished before evidence is gathered, it has not")

        def train(coordinator: Coordinator) -> None:
            epochs = {rung.epoch for rung in self.store.rungs()}
            total, seed, seeds = self.rounds.total, self.seed, self.seeds
            gather(coordinator, count, total=total, seed=seed, epochs=epochs, seeds=seeds)

        self._guard(train, on_event, limits, retries)
        return read_evidence(self.store, scores={**SCORES, **self.scores}, distance=self.distance)

    def _guard(
        self,
        work: Callable[[Coordinator], None],
        on_event: Callable[[Event], None],
        limits: Limits | None,
        retries: int,
    ) -> None:
        """Do work that may be cut short by a limit or by Ctrl-C."""
        coordinator = self._begin(on_event, limits, retries)
        try:
            work(coordinator)
        except LimitReached as limit:
            coordinator.finish()
            on_event(StudyPaused(reason=str(limit)))
        except KeyboardInterrupt:
            on_event(StudyInterrupted())
            coordinator.finish()
            raise
        finally:
            self.executor.close()

    def _begin(
        self, on_event: Callable[[Event], None], limits: Limits | None, retries: int
    ) -> Coordinator:
        """Write down what the study is, or check that it is still the same."""
        new = self.store.begin(self.configuration, self.versions)
        if not self.store.trials():
            self.store.add_trial(REFERENCE, None, trial_seed(self.seed, REFERENCE))
        elif self.store.trial(REFERENCE).state in (State.FAILED, State.OUT_OF_MEMORY):
            # That was its surroundings' fault. A candidate stays lost: others were proposed, and
            # rungs closed, without it.
            self.store.revive_trial(REFERENCE)
        on_event(
            StudyStarted(
                resumed=not new,
                candidates=self.candidates,
                plan=self.rounds.plan(self.candidates),
                total=self.rounds.total,
            )
        )
        return Coordinator(
            store=self.store,
            executor=self.executor,
            distance=self.distance,
            emit=on_event,
            retries=retries,
            limits=limits,
        )

    def _search(self, coordinator: Coordinator) -> None:
        if self.store.finished:
            return
        total = self.rounds.total
        for epoch in range(1, total + 1):
            coordinator.request(REFERENCE, epoch)
        self.rounds.run(Race(coordinator, self.rules))
        coordinator.wait_for(REFERENCE, total)
        coordinator.complete(REFERENCE)
        self.store.finish()

    def _result(self) -> StudyResult:
        result = read_result(self.store)
        if result.best is None:
            lost = next(s.trial for s in result.trials if s.trial.state.lost)
            raise NothingFinishedError(
                f"one candidate at least must reach epoch {self.rounds.total}, got none of "
                f"{len(result.trials)}; trial {lost.number} {lost.state}: {lost.reason}"
            )
        return result
