"""How a trial gets to an epoch: train, measure, record. A fault ends the trial and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from lsh_native.search.events import (
    EpochDone,
    Event,
    SpectrumDone,
    TrialCompleted,
    TrialLost,
    TrialStarted,
)
from lsh_native.search.store import Store
from lsh_native.search.trial import (
    REFERENCE,
    Distance,
    Diverged,
    EpochRecord,
    Runner,
    SpectrumRecord,
    State,
    TrialFault,
)


@dataclass(frozen=True, kw_only=True)
class Coordinator:
    """Moves trials on and writes down what they do; the only writer of their records.

    Each call looks into the store for what is done already, and does only the rest.

    Args:
        store: Where everything is kept.
        runner: Who trains and takes spectra.
        distance: How far a candidate's spectrum lies from the reference's.
        emit: Told everything that happens, after it is stored.
    """

    store: Store
    runner: Runner
    distance: Distance
    emit: Callable[[Event], None]

    def advance(self, number: int, epochs: Iterable[int]) -> None:
        """Train a trial to each of these epochs and take its spectrum there."""
        if self.store.trial(number).state.ended:
            return
        try:
            for epoch in epochs:
                if not self.store.has_spectrum(number, epoch):
                    self._train(number, epoch)
                    self._measure(number, epoch)
        except TrialFault as fault:
            self.lose(number, fault)
        else:
            self.store.set_state(number, State.WAITING)

    def complete(self, number: int) -> None:
        """Note that a trial has trained for the full schedule, unless it has ended otherwise."""
        if not self.store.trial(number).state.ended:
            self.store.set_state(number, State.COMPLETE)
            self.emit(TrialCompleted(trial=self.store.trial(number)))

    def lose(self, number: int, fault: TrialFault) -> None:
        """Note that a trial ended without a result, and why."""
        self.store.set_state(number, fault.state, str(fault))
        self.emit(TrialLost(trial=self.store.trial(number)))

    def _train(self, number: int, until: int) -> None:
        trial = self.store.trial(number)
        if trial.epochs >= until:
            return
        self.store.set_state(number, State.RUNNING)
        self.emit(TrialStarted(trial=trial, until=until))

        def record(epoch: EpochRecord) -> None:
            if epoch.epoch > until:
                raise ValueError(f"a runner must stop at epoch {until}, got {epoch.epoch}")
            for name, loss in (("training", epoch.train_loss), ("validation", epoch.valid_loss)):
                if not math.isfinite(loss):
                    raise Diverged(f"the {name} loss is {loss} after epoch {epoch.epoch}")
            if self.store.add_epoch(number, epoch):
                self.emit(EpochDone(trial=trial, record=epoch))

        self.runner.run(trial, until, record)
        if (reached := self.store.trial(number).epochs) < until:
            raise ValueError(f"a runner must record every epoch up to {until}, got {reached}")

    def _measure(self, number: int, epoch: int) -> None:
        trial = self.store.trial(number)
        record = self.runner.spectrum(trial, epoch)
        if record.epoch != epoch:
            raise ValueError(f"a spectrum must be of epoch {epoch}, got {record.epoch}")
        if np.isnan(record.exponents).any():
            raise Diverged(f"an exponent is nan after epoch {epoch}")
        if number != REFERENCE:
            record = replace(record, distance=self._distance(record))
        self.store.add_spectrum(number, record)
        self.emit(SpectrumDone(trial=trial, record=record))

    def _distance(self, record: SpectrumRecord) -> float:
        distance = float(self.distance(record, self.store.spectrum(REFERENCE, record.epoch)))
        if not math.isfinite(distance):
            raise Diverged(
                f"the distance to the dense reference is {distance} after epoch {record.epoch}"
            )
        return distance
