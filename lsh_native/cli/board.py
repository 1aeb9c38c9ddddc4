"""What a study measures, as TensorBoard shows it: a run for each trial, beside the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lsh_native.search.events import EpochDone, Event, SpectrumDone
from lsh_native.search.trial import Trial
from lsh_native.training import perplexity, scalar_writer

__all__ = ["Board"]


class Board:
    """Hears of a study and writes its numbers over epochs.

    Args:
        folder: for TensorBoard; a folder a trial is made in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[int, Callable[[str, float, int], Any]] = {}

    def on_event(self, event: Event) -> None:
        """Writes what an event measured.

        Raises:
            ValueError: TensorBoard is not installed.
        """
        match event:
            case EpochDone(trial=trial, record=record):
                write = self._run(trial)
                write("training perplexity", perplexity(record.train_loss), record.epoch)
                write("validation perplexity", perplexity(record.valid_loss), record.epoch)
                write("density", record.density, record.epoch)
                for name in ("non_zeros", "token_milliseconds", "survival", "explored"):
                    if name in record.details:
                        write(name.replace("_", " "), record.details[name], record.epoch)
            case SpectrumDone(trial=trial, record=spectrum):
                if spectrum.distance is not None:
                    self._run(trial)("distance", spectrum.distance, spectrum.epoch)

    def _run(self, trial: Trial) -> Callable[[str, float, int], Any]:
        if trial.number not in self._runs:
            name = f"{trial.kind}-{trial.number:04d}"
            self._runs[trial.number] = scalar_writer(self._folder / name)
        return self._runs[trial.number]
