"""What a study tells while it runs: one frozen record for each thing that happened."""

from __future__ import annotations

from dataclasses import dataclass

from lsh_native.search.trial import EpochRecord, Rung, SpectrumRecord, Trial


@dataclass(frozen=True, kw_only=True)
class StudyStarted:
    """The study begins, or goes on where it was; `plan` is what it intends."""

    resumed: bool
    candidates: int
    plan: tuple[Rung, ...]
    total: int


@dataclass(frozen=True, kw_only=True)
class TrialProposed:
    """A candidate joined the pool."""

    trial: Trial


@dataclass(frozen=True, kw_only=True)
class PoolExhausted:
    """The space has fewer candidates than were asked for."""

    asked: int
    found: int


@dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A trial trains on, from `trial.epochs` to `until`."""

    trial: Trial
    until: int


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """An epoch is recorded."""

    trial: Trial
    record: EpochRecord


@dataclass(frozen=True, kw_only=True)
class SpectrumDone:
    """A spectrum is recorded; told again once its distance is known, if that had to wait."""

    trial: Trial
    record: SpectrumRecord


@dataclass(frozen=True, kw_only=True)
class TrialLost:
    """A trial diverged or failed; `trial.reason` says how."""

    trial: Trial


@dataclass(frozen=True, kw_only=True)
class TrialStepped:
    """A training step was done; not every one is told."""

    number: int
    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class TrialRetried:
    """A trial is begun anew from its last epoch; `trial.crash` says why."""

    trial: Trial


@dataclass(frozen=True, kw_only=True)
class ScoreFailed:
    """A score that only watches said nothing of a rung."""

    name: str
    epoch: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class StudyPaused:
    """What the study may spend is spent; it can be resumed with more."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class StudyInterrupted:
    """Ctrl-C was pressed: epochs in flight end, then the study does."""


@dataclass(frozen=True, kw_only=True)
class Eliminated:
    """A rung is closed; numbers of trials, best first."""

    rung: Rung
    kept: tuple[int, ...]
    stopped: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TrialCompleted:
    """A trial trained for the full schedule."""

    trial: Trial


Event = (
    StudyStarted
    | TrialProposed
    | PoolExhausted
    | TrialStarted
    | EpochDone
    | SpectrumDone
    | TrialLost
    | TrialStepped
    | TrialRetried
    | ScoreFailed
    | StudyPaused
    | StudyInterrupted
    | Eliminated
    | TrialCompleted
)
