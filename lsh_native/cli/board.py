"""What a study measures, as TensorBoard shows it: a run for each trial, beside the others."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsh_native.search.events import (
    Eliminated,
    EpochDone,
    Event,
    SpectrumDone,
    StudyStarted,
    TrialCompleted,
    TrialLost,
)
from lsh_native.search.store import Store
from lsh_native.search.trial import DETAILS, Trial, repeat_of
from lsh_native.training import perplexity, summary_writer

__all__ = ["Board"]


@dataclass(kw_only=True)
class _Run:
    """What is written of one trial; its file is open while the trial goes on."""

    writer: Any = None
    epochs: int = 0
    distances: set[int] = field(default_factory=set)


class Board:
    """Hears of a study and writes its numbers over epochs, as the store has them.

    A study that goes on is written anew, in the place of what was there: a kill may have come
    between the store and the board.

    Args:
        folder: for TensorBoard; a folder a trial is made in it.

    Raises:
        ValueError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = summary_writer()
        self._runs: dict[int, _Run] = {}

    def on_event(self, store: Store, event: Event) -> None:
        """Writes what is stored by now of the trials that an event is about."""
        match event:
            case StudyStarted(resumed=True):
                for trial in (*store.trials(), *store.repeats()):
                    if trial.epochs:
                        self._write(store, trial)
            case EpochDone(trial=trial) | SpectrumDone(trial=trial):
                self._write(store, trial)
            case TrialLost(trial=trial) | TrialCompleted(trial=trial):
                self._close({trial.number})
            case Eliminated(stopped=stopped):
                members = set(stopped)
                self._close({n for n in self._runs if repeat_of(n) in members})

    def _write(self, store: Store, trial: Trial) -> None:
        run = self._runs.setdefault(trial.number, _Run())
        if run.writer is None:
            folder = self._folder / f"{trial.kind}-{trial.number:04d}"
            # Whatever an earlier process left of later steps is no longer shown.
            run.writer = self._open(folder, purge_step=run.epochs + 1)
        for record in store.epochs(trial.number)[run.epochs :]:
            values = {
                "training perplexity": perplexity(record.train_loss),
                "validation perplexity": perplexity(record.valid_loss),
                "density": record.density,
                **{n.replace("_", " "): record.details[n] for n in DETAILS if n in record.details},
            }
            for name, value in values.items():
                run.writer.add_scalar(name, value, record.epoch)
            run.epochs = record.epoch
        for epoch, distance in store.distances(trial.number).items():
            if epoch not in run.distances:
                run.writer.add_scalar("distance", distance, epoch)
                run.distances.add(epoch)
        run.writer.flush()
        if trial.state.ended:  # and goes on only for evidence
            self._close({trial.number})

    def _close(self, numbers: Set[int]) -> None:
        """Lets go of the files of trials that have ended; one that goes on opens another."""
        for number in numbers & self._runs.keys():
            run = self._runs[number]
            if run.writer is not None:
                run.writer.close()
                run.writer = None
