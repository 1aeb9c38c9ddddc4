"""How trials get on: jobs go to an executor, what they measure into the store.

It is the only writer of their records. A fault ends a trial and nothing else.
"""

from __future__ import annotations

import errno
import heapq
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lsh_native.search.errors import (
    DiskFullError,
    LimitReached,
    ReadOnlyStoreError,
    ReferenceLostError,
    StoreError,
)
from lsh_native.search.events import (
    EpochDone,
    Event,
    SpectrumDone,
    TrialCompleted,
    TrialLost,
    TrialRetried,
    TrialStarted,
    TrialStepped,
)
from lsh_native.search.executors.job import (
    DISK,
    Done,
    EpochMeasured,
    Executor,
    Faulted,
    Job,
    Message,
    SpectrumMeasured,
    Started,
    Stepped,
)
from lsh_native.search.store import Store
from lsh_native.search.trial import (
    REFERENCE,
    Distance,
    Diverged,
    EpochRecord,
    SpectrumRecord,
    State,
    TrialFault,
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a call may spend; where it is spent, the study pauses and can be resumed with more.

    Args:
        epochs: Of training, all trials together, those of earlier calls among them.
        seconds: Of this call.

    Raises:
        ValueError: If a limit is not above 0.
    """

    epochs: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"the limit of {name} must be above 0, got {value}")


_Entry = tuple[int, int, Job]
"""Rank, order and job: what is done first stands first."""


_DISK_ERRORS: Mapping[int, type[StoreError]] = {
    errno.ENOSPC: DiskFullError,
    errno.EDQUOT: DiskFullError,
    errno.EROFS: ReadOnlyStoreError,
}


class Coordinator:
    """Moves trials on and writes down what they do.

    Each call looks into the store for what is done already, and does only the rest.

    Args:
        store: Where everything is kept.
        executor: Who does the jobs.
        distance: How far a candidate's spectrum lies from the reference's.
        emit: Told everything that happens, after it is stored.
        retries: How often a trial whose process died is begun anew from its last epoch.
        limits: What may be spent.
    """

    def __init__(
        self,
        *,
        store: Store,
        executor: Executor,
        distance: Distance,
        emit: Callable[[Event], None],
        retries: int = 2,
        limits: Limits | None = None,
    ) -> None:
        self.store, self.emit = store, emit
        self._executor, self._distance = executor, distance
        self._retries, self._limits = retries, limits or Limits()
        self._waiting: list[_Entry] = []
        self._asked = 0
        self._busy: dict[int, _Entry] = {}
        self._refused: StoreError | None = None
        self._started = time.monotonic()
        self._spent = sum(t.epochs for t in (*store.trials(), *store.repeats()))

    def request(self, number: int, until: int, *, parts: tuple[int, ...] = (0,)) -> None:
        """Ask for a trial to be trained to an epoch and measured there, unless it is or has ended.

        The reference comes before all others, for they wait for it; else who asked first.
        """
        trial = self.store.trial(number)
        missing = tuple(p for p in parts if not self.store.has_spectrum(number, until, p))
        if trial.state.lost or (trial.epochs >= until and not missing):
            return
        self._asked += 1
        rank = 0 if number == REFERENCE else 1
        job = Job(trial=trial, until=until, parts=missing)
        heapq.heappush(self._waiting, (rank, self._asked, job))

    def wait_for(self, number: int, until: int) -> None:
        """Work until a trial has been measured at an epoch, or is lost.

        Raises:
            ReferenceLostError: If the reference is, for then nothing can be compared.
            LimitReached: If the budget ends before.
        """
        self._check_reference()
        while not self._measured(number, until):
            self._work()
            self._check_reference()

    def settle(self) -> None:
        """Work until nothing is left to do."""
        while self._waiting or self._busy:
            self._work()

    def complete(self, number: int) -> None:
        """Note that a trial has trained for the full schedule, unless it has ended otherwise."""
        if not self.store.trial(number).state.ended:
            self.store.set_state(number, State.COMPLETE)
            self.emit(TrialCompleted(trial=self.store.trial(number)))

    def lose(self, number: int, fault: TrialFault) -> None:
        """Note that a trial ended without a result, and why."""
        self.store.set_state(number, fault.state, str(fault))
        self.emit(TrialLost(trial=self.store.trial(number)))

    def finish(self) -> None:
        """Let every job end with its epoch in flight, and ask for no more; then no trial runs."""
        self._waiting.clear()
        try:
            self._executor.finish(self._take)
        finally:
            for trial in (*self.store.trials(), *self.store.repeats()):
                if trial.state is State.RUNNING:
                    self.store.set_state(trial.number, State.WAITING)

    def _measured(self, number: int, until: int) -> bool:
        trial = self.store.trial(number)
        if trial.state.lost:
            return True
        if trial.epochs < until or not self.store.has_spectrum(number, until):
            return False
        if number == REFERENCE or until in self.store.distances(number):
            return True
        if not self._measured(REFERENCE, until):
            return False
        self._fill_distances(until)
        return True

    def _work(self) -> None:
        self._check_limits()
        while self._waiting and self._executor.free:
            entry = self._next()
            if entry is None:
                break
            self._begin(entry)
        if not self._busy:
            if self._waiting:
                return
            raise RuntimeError("there must be a job to wait for, got none")
        try:
            self._executor.work(self._take)
        except OSError as error:  # of a checkpoint that came from elsewhere
            if error.errno not in DISK:
                raise
            raise _disk_error(f"{error.filename}: {error.strerror}", error.errno) from error
        if self._refused is not None:
            raise self._refused

    def _check_reference(self) -> None:
        reference = self.store.trial(REFERENCE)
        if reference.state.lost:
            again = "" if reference.state is State.DIVERGED else "; resume to try it again"
            raise ReferenceLostError(
                f"the dense reference must train, but {reference.reason}{again}"
            )

    def _next(self) -> _Entry | None:
        """Return the first job whose trial is not busy with another one."""
        held, found = [], None
        while self._waiting and found is None:
            entry = heapq.heappop(self._waiting)
            if entry[2].trial.number in self._busy:
                held.append(entry)
            else:
                found = entry
        for entry in held:
            heapq.heappush(self._waiting, entry)
        return found

    def _begin(self, entry: _Entry) -> None:
        job = entry[2]
        number = job.trial.number
        trial = self.store.trial(number)
        if trial.state.lost:
            return
        if trial.epochs < job.until:
            self.emit(TrialStarted(trial=trial, until=job.until))
        self._busy[number] = entry
        self._executor.submit(replace(job, trial=trial))

    def _check_limits(self) -> None:
        epochs, seconds = self._limits.epochs, self._limits.seconds
        if epochs is not None and self._spent >= epochs:
            raise LimitReached(f"{self._spent} epochs are trained, {epochs} may be")
        if seconds is not None and time.monotonic() - self._started >= seconds:
            raise LimitReached(f"{seconds:g} seconds have passed")

    def _take(self, message: Message) -> None:
        number = message.number
        match message:
            case Started(host=host):
                self.store.begin_trial(number, host)
            case Stepped():
                self.emit(
                    TrialStepped(
                        number=number,
                        epoch=message.epoch,
                        step=message.step,
                        steps=message.steps,
                        loss=message.loss,
                    )
                )
            case EpochMeasured(record=epoch):
                self._record_epoch(number, epoch)
            case SpectrumMeasured(record=spectrum):
                self._record_spectrum(number, spectrum)
            case Done():
                del self._busy[number]
                self._rest(number)
            case Faulted():
                self._fault(message, self._busy.pop(number))

    def _rest(self, number: int) -> None:
        """Note that a trial waits to be asked on, unless it has ended."""
        if not self.store.trial(number).state.ended:
            self.store.set_state(number, State.WAITING)

    def _record_epoch(self, number: int, record: EpochRecord) -> None:
        if self.store.add_epoch(number, record):
            self._spent += 1
            self.emit(EpochDone(trial=self.store.trial(number), record=record))

    def _record_spectrum(self, number: int, record: SpectrumRecord) -> None:
        epoch = record.epoch
        if number != REFERENCE and record.part == 0 and self.store.has_spectrum(REFERENCE, epoch):
            try:
                record = replace(record, distance=self._measure(record))
            except Diverged as fault:
                self.lose(number, fault)
                return
        self.store.add_spectrum(number, record)
        self.emit(SpectrumDone(trial=self.store.trial(number), record=record))
        if number == REFERENCE:
            self._fill_distances(epoch)

    def _fill_distances(self, epoch: int) -> None:
        """Measure the distances that had to wait for the reference's spectrum."""
        for number in self.store.without_distance(epoch):
            if self.store.trial(number).state.lost:
                continue
            try:
                distance = self._measure(self.store.spectrum(number, epoch))
            except Diverged as fault:
                self.lose(number, fault)
            else:
                self.store.set_distance(number, epoch, distance)
                self.emit(
                    SpectrumDone(
                        trial=self.store.trial(number), record=self.store.spectrum(number, epoch)
                    )
                )

    def _measure(self, record: SpectrumRecord) -> float:
        distance = float(self._distance(record, self.store.spectrum(REFERENCE, record.epoch)))
        if not math.isfinite(distance):
            raise Diverged(
                f"the distance to the dense reference is {distance} after epoch {record.epoch}"
            )
        return distance

    def _fault(self, fault: Faulted, entry: _Entry) -> None:
        if fault.disk is not None:
            self._refused = _disk_error(fault.reason, fault.disk)
        if fault.state is State.WAITING:  # nor is it the trial's fault that it was interrupted
            self._rest(fault.number)
            return
        trial = self.store.trial(fault.number)
        if fault.retry and trial.retries < self._retries:
            self.store.retry_trial(fault.number, fault.reason)
            self.emit(TrialRetried(trial=self.store.trial(fault.number)))
            heapq.heappush(self._waiting, entry)  # before what was asked for later
            return
        self.store.set_state(fault.number, fault.state, fault.reason)
        self.emit(TrialLost(trial=self.store.trial(fault.number)))


def _disk_error(reason: str, code: int) -> StoreError:
    """Return what ends a study whose trials can no longer be kept."""
    kind = _DISK_ERRORS.get(code, StoreError)
    mend = "make room" if kind is DiskFullError else "mend that"
    return kind(f"{reason}: {mend} and resume; every trial goes on from its last stored epoch")
