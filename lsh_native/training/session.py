"""A training run in a folder: to the end of its recipe, through kills, heard by trackers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from lsh_native.training.lock import lone_writer
from lsh_native.training.result import DivergedError, Snapshot
from lsh_native.training.tracking import StepResult, Tracker
from lsh_native.training.trainer import Trainer

__all__ = ["CHECKPOINT", "train"]

CHECKPOINT = "checkpoint.safetensors"


def train(
    trainer: Trainer,
    folder: Path,
    *,
    trackers: Sequence[Tracker] = (),
    save_every: float = 600.0,
    ready: Callable[[], object] = lambda: None,
) -> Snapshot:
    """Trains to the end of the recipe, or goes on with what the folder holds.

    Args:
        trainer: untrained.
        folder: where the checkpoint goes, and is looked for.
        trackers: who hears of it.
        save_every: seconds after which a checkpoint is written in the middle of an epoch; one is
            written after every epoch in any case.
        ready: called when the folder is this run's alone and its checkpoint is loaded, before
            anything is trained.

    Returns:
        The best model by validation loss.

    Raises:
        DivergedError: a loss, gradient or weight is no longer finite; the last good checkpoint is
            kept, and the message names it.
        CheckpointError: the folder's checkpoint is damaged or of another run.
        LockedError: another training works in the folder.
        OSError: a checkpoint or a log could not be written; the last one is kept.
    """
    path = folder / CHECKPOINT
    folder.mkdir(parents=True, exist_ok=True)
    with lone_writer(path):
        return _train(trainer, path, trackers, save_every, ready)


def _train(
    trainer: Trainer,
    path: Path,
    trackers: Sequence[Tracker],
    save_every: float,
    ready: Callable[[], object],
) -> Snapshot:
    """Trains with a checkpoint that nobody else writes; see `train`."""
    if path.exists():
        trainer.load(path)
    ready()
    for tracker in trackers:
        tracker.on_start(trainer.epoch, trainer.total_steps)
    saved = time.monotonic()

    def on_step(step: int, steps: int, loss: float) -> None:
        nonlocal saved
        result = StepResult(
            epoch=trainer.epoch + 1,
            step=step,
            steps=steps,
            total_steps=trainer.total_steps,
            loss=loss,
            tokens=trainer.tokens,
            seconds=trainer.seconds,
            density=density,
        )
        for tracker in trackers:
            tracker.on_step(result)
        if time.monotonic() - saved >= save_every:
            trainer.save(path)
            saved = time.monotonic()

    try:
        while trainer.epoch < trainer.recipe.total_epochs:
            density = 1.0 if trainer.topology is None else trainer.topology.density()
            result = trainer.train_epoch(on_step)
            for tracker in trackers:
                tracker.on_epoch(result)
            trainer.save(path)  # last: what trackers heard without it, they hear again
            saved = time.monotonic()
    except KeyboardInterrupt:
        with suppress(RuntimeError):  # in the middle of a step: the last checkpoint stays
            trainer.save(path)
        raise
    except DivergedError as error:
        if path.exists():
            error.args = (f"{error}; the last good checkpoint is {path}",)
        raise
    if trainer.best is None:
        raise RuntimeError("a finished training must have a best model")
    return trainer.best
