"""What came out of a study, and what it cost beside its rivals; read from the store alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from lsh_native.search.constraint import Constraint, Missed, excess
from lsh_native.search.store import Store
from lsh_native.search.trial import (
    REFERENCE,
    REPEAT,
    EpochRecord,
    State,
    Trial,
    repeat_of,
    trainings,
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Epochs and seconds of a search, and of searches that would do the same job.

    Epochs that a kill interrupted, and their seconds, are not in it: they left no record.

    Args:
        candidates: Size of the pool.
        total: Epochs of the full schedule.
        trial_epochs: Epochs that the candidates trained, those of evidence not counted.
        reference_epochs: Epochs that the dense reference trained.
        trial_seconds: Seconds of those trial epochs.
        reference_seconds: Seconds of those reference epochs.
        spectrum_seconds: Seconds of all spectra, the reference's with them.
        evidence_epochs: Epochs that were trained only to see what scores are worth.
        seeds: Trainings of every candidate.
    """

    candidates: int
    total: int
    trial_epochs: int
    reference_epochs: int
    trial_seconds: float = 0.0
    reference_seconds: float = 0.0
    spectrum_seconds: float = 0.0
    evidence_epochs: int = 0
    seeds: int = 1

    @property
    def epochs(self) -> int:
        """All epochs of this search: its candidates and the dense reference."""
        return self.trial_epochs + self.reference_epochs

    @property
    def full_search_epochs(self) -> int:
        """Every candidate trained for the full schedule, with every seed; needs no reference."""
        return self.candidates * self.seeds * self.total

    @property
    def halving_epochs(self) -> int:
        """Successive halving on the loss in the same rounds; needs no reference, no spectra."""
        return self.trial_epochs

    @property
    def full_search_ratio(self) -> float:
        """How many times the epochs of this search a full search takes."""
        return self.full_search_epochs / max(self.epochs, 1)

    @property
    def halving_ratio(self) -> float:
        """The same for successive halving on the loss; at most 1."""
        return self.halving_epochs / max(self.epochs, 1)

    @property
    def seconds(self) -> float:
        """All seconds of training, evaluation and spectra."""
        return self.trial_seconds + self.reference_seconds + self.spectrum_seconds


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """One row of the table of trials.

    Args:
        trial: The trial.
        best: Its epoch of the lowest validation loss, or None before the first epoch.
        last: Its last epoch, or None.
        distance: Of its last spectrum to the dense reference, or None.
        seconds: Of training and evaluation.
        loss: What a finisher is judged by: its lowest validation loss, the mean over its trainings;
            None while one of them has no epoch.
    """

    trial: Trial
    best: EpochRecord | None
    last: EpochRecord | None
    distance: float | None
    seconds: float
    loss: float | None


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What a study has found so far.

    Args:
        reference: The dense reference, or None before it was started.
        trials: All candidates by number.
        best: The finisher with the lowest validation loss, at its best epoch, or None; who keeps to
            the targets comes before all others.
        budget: What it cost.
        missed: Targets that the best one does not keep to.
    """

    reference: TrialSummary | None
    trials: tuple[TrialSummary, ...]
    best: TrialSummary | None
    budget: Budget
    missed: tuple[Missed, ...] = ()


def read_result(store: Store) -> StudyResult:
    """Return the result of a study, finished or not."""
    seeds = seeds_of(store)
    summaries = [_summary(store, trial, seeds) for trial in store.trials()]
    reference = next((s for s in summaries if s.trial.number == REFERENCE), None)
    trials = tuple(s for s in summaries if s is not reference)
    search = store.configuration.get("search", {})
    searched = searched_epochs(store)
    records = [
        record
        for number, end in searched.items()
        if number != REFERENCE
        for record in store.epochs(number)[:end]
    ]
    constraints = tuple(
        Constraint(name=name, at_most=most) for name, most in search.get("constraints", {}).items()
    )
    best = _best(trials, constraints)
    trained = sum(s.trial.epochs for s in trials) + sum(t.epochs for t in store.repeats())
    return StudyResult(
        reference=reference,
        trials=trials,
        best=best,
        missed=_missed(best, constraints),
        budget=Budget(
            candidates=len(trials),
            total=search.get("rounds", {}).get("total", 0),
            trial_epochs=len(records),
            reference_epochs=reference.trial.epochs if reference else 0,
            trial_seconds=sum(record.seconds for record in records),
            reference_seconds=reference.seconds if reference else 0.0,
            spectrum_seconds=sum(
                seconds
                for (number, epoch), seconds in store.spectrum_seconds().items()
                if epoch <= searched.get(number, 0)
            ),
            evidence_epochs=trained - len(records),
            seeds=seeds,
        ),
    )


def searched_epochs(store: Store) -> dict[int, int]:
    """Return how many epochs of each trial the search itself asked for, the reference included.

    A stopped candidate was searched up to its last rung; what it trained beyond, and retests that
    took no part in the search, is evidence.
    """
    seeds = seeds_of(store)
    last = {rung.trial: rung.epoch for rung in store.rungs() if not rung.kept}
    return {
        trial.number: min(trial.epochs, last.get(repeat_of(trial.number), trial.epochs))
        for trial in (*store.trials(), *store.repeats())
        if trial.number // REPEAT < seeds
    }


def seeds_of(store: Store) -> int:
    """Return how often every candidate of a study is trained."""
    return int(store.configuration.get("search", {}).get("seeds", 1))


def final_loss(store: Store, number: int, seeds: int) -> float | None:
    """Return the lowest validation loss of a candidate, the mean over its trainings, or None."""
    lowest = [
        min((record.valid_loss for record in store.epochs(member)), default=None)
        for member in trainings(number, seeds)
    ]
    known = [loss for loss in lowest if loss is not None]
    return fmean(known) if len(known) == seeds else None


def _best(
    trials: Iterable[TrialSummary], constraints: tuple[Constraint, ...]
) -> TrialSummary | None:
    """Return the best finisher: who keeps to the constraints first, then by the loss."""

    def order(summary: TrialSummary) -> tuple[float, float]:
        details = summary.best.details if summary.best else {}
        loss = math.inf if summary.loss is None else summary.loss
        return excess(constraints, details), loss

    finished = (summary for summary in trials if summary.trial.state is State.COMPLETE)
    return min(finished, key=order, default=None)


def _missed(best: TrialSummary | None, constraints: tuple[Constraint, ...]) -> tuple[Missed, ...]:
    details = best.best.details if best and best.best else {}
    return tuple(
        Missed(constraint=constraint, value=details.get(constraint.name))
        for constraint in constraints
        if best is not None and constraint.excess(details)
    )


def _summary(store: Store, trial: Trial, seeds: int) -> TrialSummary:
    records = store.epochs(trial.number)
    distances = store.distances(trial.number)
    best = min(records, key=lambda record: record.valid_loss, default=None)
    loss = best.valid_loss if best else None
    if seeds > 1 and trial.number != REFERENCE:
        loss = final_loss(store, trial.number, seeds)
    return TrialSummary(
        trial=trial,
        best=best,
        last=records[-1] if records else None,
        distance=distances[max(distances)] if distances else None,
        seconds=sum(record.seconds for record in records),
        loss=loss,
    )
