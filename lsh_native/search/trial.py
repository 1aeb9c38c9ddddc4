"""One training run inside a study: its states, what it measures, and who runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from lsh_native.search.candidate import Candidate

REFERENCE = 0
"""The number of the dense reference; candidates count from 1."""

REPEAT = 1_000_000
"""What is added to a trial's number for each time that it is trained again with another seed."""


def repeat_of(number: int) -> int:
    """Return the number of the trial that a number repeats, or the number itself."""
    return number % REPEAT


def trainings(number: int, seeds: int) -> tuple[int, ...]:
    """Return the numbers of all trainings of a candidate in a search of so many seeds."""
    return tuple(number + REPEAT * repeat for repeat in range(seeds))


class State(StrEnum):
    """Where a trial stands."""

    WAITING = "waiting"
    """Proposed, or done with a rung and not yet asked to go on."""
    RUNNING = "running"
    """Training, or cut short by a kill while it was."""
    COMPLETE = "complete"
    """Trained for the full schedule."""
    STOPPED = "stopped"
    """Eliminated at a rung."""
    DIVERGED = "diverged"
    """A loss, spectrum or score was not finite."""
    OUT_OF_MEMORY = "out_of_memory"
    """Its process had no memory left, as often as it was tried."""
    FAILED = "failed"
    """Given up for another reason, such as a crash or a worker that no longer answered."""
    CANCELLED = "cancelled"
    """Taken out by hand."""

    @property
    def ended(self) -> bool:
        """Whether the trial goes no further."""
        return self not in (State.WAITING, State.RUNNING)

    @property
    def lost(self) -> bool:
        """Whether nothing can be learnt from the trial."""
        return self.ended and self not in (State.COMPLETE, State.STOPPED)


class TrialFault(Exception):  # noqa: N818 - an outcome of one trial, not an error of the study
    """Ends one trial, never the study; the message is the reason that is stored."""

    state = State.FAILED


class Diverged(TrialFault):
    """A loss, a spectrum or a distance is not finite."""

    state = State.DIVERGED


class OutOfMemory(TrialFault):
    """There is no memory left for the trial."""

    state = State.OUT_OF_MEMORY


DETAILS = ("non_zeros", "token_milliseconds", "survival", "explored")
"""Single numbers among the details of an epoch, as exports and boards show them."""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch of training measured.

    Args:
        epoch: Epochs trained so far, counted from 1.
        train_loss: Mean loss over the epoch, nats per token.
        valid_loss: Loss on the validation text, nats per token.
        density: Kept share of the masked weights, in [0, 1].
        tokens: Tokens trained on in this epoch.
        seconds: Wall-clock seconds of training and evaluation.
        details: Anything else worth a plot, as JSON values.

    Raises:
        ValueError: If a count, the density or the details are out of range.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    density: float
    tokens: int
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_epoch(self.epoch, self.seconds)
        if self.tokens < 0:
            raise ValueError(f"tokens must be at least 0, got {self.tokens}")
        if not 0 <= self.density <= 1:
            raise ValueError(f"density must be in [0, 1], got {self.density}")
        json.dumps(self.details, allow_nan=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectrumRecord:
    """A Lyapunov spectrum as it is stored.

    Args:
        epoch: Epochs trained before it was taken.
        exponents: Float array of any shape.
        standard_errors: Array of the same shape, or None.
        conventions: Everything needed to say whether two spectra may be compared, as JSON values.
        seconds: Wall-clock seconds it took.
        distance: Distance to the reference's spectrum at the same epoch; None before it is
            measured, and for the reference itself.
        part: Which stretch of the validation text it was taken along: 0 for the one that all
            spectra share, others to see how much the tokens matter.

    Raises:
        ValueError: If there is no exponent or the shapes differ.
    """

    epoch: int
    exponents: NDArray[np.float64]
    standard_errors: NDArray[np.float64] | None = None
    conventions: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    distance: float | None = None
    part: int = 0

    def __post_init__(self) -> None:
        _check_epoch(self.epoch, self.seconds)
        if self.part < 0:
            raise ValueError(f"part must be at least 0, got {self.part}")
        if self.exponents.size == 0:
            raise ValueError("a spectrum must have at least one exponent, got none")
        if self.standard_errors is not None and self.standard_errors.shape != self.exponents.shape:
            raise ValueError(
                f"standard_errors must have the shape {self.exponents.shape} of the exponents, "
                f"got {self.standard_errors.shape}"
            )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial as the store knows it.

    Args:
        number: 0 for the dense reference, then 1, 2, … in the order proposed.
        candidate: How it is pruned; None for the dense reference.
        seed: Seed of everything random in its training.
        state: Where it stands.
        reason: Why it ended, in words; empty while it goes on.
        epochs: Epochs recorded so far.
        repeats: The trial that this one trains again with another seed, or None.
        retries: How often it was begun anew after a crash.
        host: Where it ran last; empty before.
        crash: Why it was begun anew the last time; empty if it never was.
        created: When it was proposed, UTC, ISO 8601; `started` and `ended` likewise.
        started: When it first ran, or None.
        ended: When it ended, or None.
    """

    number: int
    candidate: Candidate | None
    seed: int
    state: State = State.WAITING
    reason: str = ""
    epochs: int = 0
    repeats: int | None = None
    retries: int = 0
    host: str = ""
    crash: str = ""
    created: str = ""
    started: str | None = None
    ended: str | None = None

    @property
    def kind(self) -> str:
        """What it is: "dense" for the reference, "repeat" of another trial, or "candidate"."""
        if self.repeats is not None:
            return "repeat"
        return "dense" if self.candidate is None else "candidate"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """All that a score may know of one trial at a rung.

    Args:
        number: The trial.
        candidate: How it is pruned.
        epochs: Its records up to the rung, first to last; never empty.
        distance: Distance of its spectrum to the dense reference at the rung's epoch, as the study
            measures it; None where there is no spectrum.
        spectrum: Its spectrum at the rung's epoch, or None.
    """

    number: int
    candidate: Candidate
    epochs: tuple[EpochRecord, ...]
    distance: float | None = None
    spectrum: SpectrumRecord | None = None


@dataclass(frozen=True, kw_only=True)
class Pool(Sequence[Measurement]):
    """The trials that are compared at a rung, as a sequence, and what surrounds them.

    Args:
        measurements: One a trial.
        epoch: Of the rung.
        total: Epochs of the full schedule.
        dense: Spectra of the dense reference by epoch.
        others: Trials that are not compared here, such as those stopped before, with all their
            epochs.
    """

    measurements: tuple[Measurement, ...]
    epoch: int
    total: int
    dense: Mapping[int, SpectrumRecord] = field(default_factory=dict)
    others: Sequence[Measurement] = ()

    def __len__(self) -> int:
        return len(self.measurements)

    def __iter__(self) -> Iterator[Measurement]:
        return iter(self.measurements)

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Measurement, ...]: ...
    def __getitem__(self, index: int | slice) -> Measurement | tuple[Measurement, ...]:
        return self.measurements[index]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One elimination: at `epoch`, of `entering` candidates the best `kept` go on."""

    round: int
    epoch: int
    entering: int
    kept: int


@dataclass(frozen=True, kw_only=True)
class RungRecord:
    """How one trial did at one elimination; rank 1 is the best."""

    round: int
    epoch: int
    trial: int
    rank: int
    kept: bool


@dataclass(frozen=True, kw_only=True)
class ScoreRecord:
    """What one score said of a trial at a rung; None where it had nothing to say."""

    trial: int
    epoch: int
    name: str
    value: float | None


class Runner(Protocol):
    """Trains trials and takes their spectra; the study decides which and how far.

    A runner owns the checkpoints, the study owns the store, and a kill may fall between the two.
    So the order is: checkpoint on disk first, holding the `EpochRecord` of its own epoch and of all
    since `trial.epochs`, then `record`. Nobody waits until a record is stored, so a runner may go
    on for epochs that no coordinator hears of any more. On its next call it finds either

    - a checkpoint that is ahead of `trial.epochs`, by an epoch or more: it records those epochs
      again from the checkpoint, first to last, and trains on, or
    - a checkpoint at or before `trial.epochs`: it trains on from there; epochs recorded before are
      ignored when they come again, and training is reproducible bit for bit.

    Either way no epoch is lost or counted twice. It also keeps the model of the best epoch by
    validation loss, which is what a finished study hands out.
    """

    def run(self, trial: Trial, until: int, record: Callable[[EpochRecord], None]) -> None:
        """Train from the checkpoint to the end of epoch `until`.

        Args:
            trial: The trial; `trial.epochs` of its epochs are recorded already.
            until: Last epoch to train.
            record: To be called after each epoch, once its checkpoint is durable, in order.

        Raises:
            Diverged: If a loss or a weight is no longer finite.
            TrialFault: If the trial must be given up for another reason.
        """

    def spectrum(self, trial: Trial, epoch: int, part: int = 0) -> SpectrumRecord | None:
        """Take the spectrum of the model as it is after `epoch` epochs, its newest checkpoint.

        Args:
            trial: The trial.
            epoch: Epochs it has trained.
            part: Which stretch of the validation text to follow; none overlaps another.

        Returns:
            The spectrum, or None where the text has no such part; it always has part 0.

        Raises:
            Diverged: If an exponent is NaN.
        """


Distance = Callable[[SpectrumRecord, SpectrumRecord], float]
"""How far a candidate's spectrum (first) lies from the reference's (second).

Raises `Diverged`, or returns a number that is not finite, where it cannot be said; that ends the
trial.
"""


def _check_epoch(epoch: int, seconds: float) -> None:
    if epoch < 1:
        raise ValueError(f"epoch must be at least 1, got {epoch}")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"seconds must be finite and at least 0, got {seconds}")
