"""A job, what is told of it while it is done, and the one way of doing it, wherever that is."""

from __future__ import annotations

import errno
import importlib
import math
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
import torch

from lsh_native.search.candidate import Candidate
from lsh_native.search.trial import (
    Diverged,
    EpochRecord,
    OutOfMemory,
    Runner,
    SpectrumRecord,
    State,
    Trial,
    TrialFault,
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Train a trial to an epoch and take its spectrum there.

    Args:
        trial: The trial as the store knows it.
        until: Epoch to train to; it may be there already.
        parts: Stretches of the validation text to take a spectrum along, which none have yet.
    """

    trial: Trial
    until: int
    parts: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Started:
    """A worker has taken the job up."""

    number: int
    host: str


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """A training step was done; also a sign of life."""

    number: int
    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class EpochMeasured:
    """An epoch was trained, and its checkpoint is on disk."""

    number: int
    record: EpochRecord


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectrumMeasured:
    """A spectrum was taken."""

    number: int
    record: SpectrumRecord


@dataclass(frozen=True, kw_only=True)
class Done:
    """The job has ended as it should."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Faulted:
    """The job ended without a result.

    Args:
        number: Of the trial.
        state: What becomes of it.
        reason: Why, in words.
        retry: Whether it is worth another try.
        disk: The `errno` of a disk that failed or took no more, which is no fault of the trial.
    """

    number: int
    state: State
    reason: str
    retry: bool = False
    disk: int | None = None


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What an `OSError` says where a disk is full, cannot be written any more, or is broken."""

Message = Started | Stepped | EpochMeasured | SpectrumMeasured | Done | Faulted
Send = Callable[[Message], None]


class Executor(Protocol):
    """Does jobs, several at a time if it can. It never looks into the store."""

    @property
    def free(self) -> int:
        """How many more jobs can be taken up now."""

    def submit(self, job: Job) -> None:
        """Take a job up; `free` must be above 0."""

    def work(self, send: Send) -> None:
        """Block until something happened, and tell it; returns also after a second without."""

    def finish(self, send: Send) -> None:
        """Let every job end with its epoch in flight, and tell what it measured."""

    def close(self) -> None:
        """End everything at once; an executor can be closed twice."""


class Interrupted(Exception):  # noqa: N818 - asked for, not an error
    """Ends a job between two epochs."""


def perform(runner: Runner, job: Job, send: Send, stop: Callable[[], bool] = lambda: False) -> None:
    """Do a job and tell what happens; a fault of the trial is told, not raised.

    Raises:
        ValueError: If the runner does not keep to its protocol.
        Interrupted: If `stop` says so after an epoch.
    """
    number, trial, until = job.trial.number, job.trial, job.until
    send(Started(number=number, host=socket.gethostname()))
    reached = trial.epochs

    def record(epoch: EpochRecord) -> None:
        nonlocal reached
        if epoch.epoch > until:
            raise ValueError(f"a runner must stop at epoch {until}, got {epoch.epoch}")
        for name, loss in (("training", epoch.train_loss), ("validation", epoch.valid_loss)):
            if not math.isfinite(loss):
                raise Diverged(f"the {name} loss is {loss} after epoch {epoch.epoch}")
        reached = max(reached, epoch.epoch)
        send(EpochMeasured(number=number, record=epoch))
        if stop():
            raise Interrupted

    try:
        if reached < until:
            runner.run(trial, until, record)
            if reached < until:
                raise ValueError(f"a runner must record every epoch up to {until}, got {reached}")
        for part in job.parts:
            spectrum = runner.spectrum(replace(trial, epochs=reached), until, part)
            if spectrum is None:
                continue
            if spectrum.epoch != until:
                raise ValueError(f"a spectrum must be of epoch {until}, got {spectrum.epoch}")
            if np.isnan(spectrum.exponents).any():
                raise Diverged(f"an exponent is nan after epoch {until}")
            send(SpectrumMeasured(number=number, record=spectrum))
    except TrialFault as fault:
        retry = isinstance(fault, OutOfMemory)
        send(Faulted(number=number, state=fault.state, reason=str(fault), retry=retry))
    except (MemoryError, torch.OutOfMemoryError) as error:
        reason = f"no memory is left: {str(error) or type(error).__name__}"
        send(Faulted(number=number, state=State.OUT_OF_MEMORY, reason=reason, retry=True))
    except OSError as error:
        if error.errno not in DISK:
            raise
        reason = f"{error.filename or 'a disk'} on {socket.gethostname()}: {error.strerror}"
        send(Faulted(number=number, state=State.WAITING, reason=reason, disk=error.errno))
    else:
        send(Done(number=number))


@dataclass(frozen=True)
class RunnerSource:
    """How another process makes the runner: a function by name, and its settings as plain values.

    Args:
        function: `package.module:name`; called with `settings` and a callback for training steps.
        settings: JSON values.
    """

    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def make(self, on_step: Callable[[Trial, int, int, int, float], None]) -> Runner:
        """Make the runner."""
        module, _, name = self.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        return cast(Runner, function(self.settings, on_step))


def job_to_dict(job: Job) -> dict[str, Any]:
    """Return a job as JSON values."""
    trial = {**vars(job.trial), "candidate": None}
    if job.trial.candidate is not None:
        trial["candidate"] = job.trial.candidate.to_dict()
    return {"trial": trial, "until": job.until, "parts": list(job.parts)}


def job_from_dict(values: Mapping[str, Any]) -> Job:
    """Rebuild a job from `job_to_dict`."""
    trial = dict(values["trial"])
    candidate = trial["candidate"]
    trial["candidate"] = None if candidate is None else Candidate.from_dict(candidate)
    trial["state"] = State(trial["state"])
    return Job(trial=Trial(**trial), until=values["until"], parts=tuple(values["parts"]))


_KINDS = {kind.__name__: kind for kind in (Started, Stepped, Done, Faulted)}


def message_to_dict(message: Message) -> dict[str, Any]:
    """Return a message as JSON values; an exponent may be minus infinity."""
    values: dict[str, Any] = {"kind": type(message).__name__, **vars(message)}
    match message:
        case EpochMeasured(record=epoch):
            values["record"] = {**vars(epoch), "details": dict(epoch.details)}
        case SpectrumMeasured(record=spectrum):
            errors = spectrum.standard_errors
            values["record"] = {
                **vars(spectrum),
                "exponents": spectrum.exponents.tolist(),
                "standard_errors": None if errors is None else errors.tolist(),
                "conventions": dict(spectrum.conventions),
            }
    return values


def message_from_dict(values: Mapping[str, Any]) -> Message:
    """Rebuild a message from `message_to_dict`."""
    own = {name: value for name, value in values.items() if name != "kind"}
    match values["kind"]:
        case "EpochMeasured":
            return EpochMeasured(number=own["number"], record=EpochRecord(**own["record"]))
        case "SpectrumMeasured":
            record = dict(own["record"])
            for name in ("exponents", "standard_errors"):
                if record[name] is not None:
                    record[name] = np.array(record[name], dtype=np.float64)
            return SpectrumMeasured(number=own["number"], record=SpectrumRecord(**record))
        case "Faulted":
            return Faulted(**{**own, "state": State(own["state"])})
    message: Message = _KINDS[values["kind"]](**own)
    return message
