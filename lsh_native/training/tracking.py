"""Who hears of a training run: one small protocol, and files that a kill cannot corrupt."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from lsh_native.training.checkpoint import replace_file
from lsh_native.training.evaluate import perplexity
from lsh_native.training.result import EpochResult

__all__ = [
    "EpochTable",
    "JsonLines",
    "Scalars",
    "StepResult",
    "Tracker",
    "summary_writer",
    "tensorboard",
]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One step of training.

    Args:
        epoch: epoch in flight, counted from 1.
        step: steps done in it.
        steps: steps of an epoch.
        total_steps: steps done in all epochs.
        loss: mean nats per prediction of the step.
        tokens: predictions made in this epoch so far.
        seconds: seconds of training in this epoch so far.
        density: live share of the weights that the topology rules.
    """

    epoch: int
    step: int
    steps: int
    total_steps: int
    loss: float
    tokens: int
    seconds: float
    density: float

    @property
    def tokens_per_second(self) -> float:
        """Speed of training in this epoch so far."""
        return self.tokens / max(self.seconds, 1e-9)


class Tracker(Protocol):
    """Hears of training; whatever it raises ends the run."""

    def on_start(self, epochs: int, total_steps: int) -> None:
        """Training begins, or goes on, after so many whole epochs and steps."""

    def on_step(self, step: StepResult) -> None:
        """A step is done."""

    def on_epoch(self, result: EpochResult) -> None:
        """An epoch is trained and evaluated."""


class JsonLines:
    """Steps and epochs as lines of JSON, each with its `kind`, forced to the disk one by one.

    A line that a kill cut short, and lines of steps that a resumed run trains again, are taken out
    when training goes on.

    Args:
        path: the file.
        every: steps from one line to the next.
    """

    def __init__(self, path: str | os.PathLike[str], *, every: int = 100) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self._path = Path(path)
        self._every = every

    def on_start(self, epochs: int, total_steps: int) -> None:
        """Takes out what is not so."""

        def kept(line: str) -> bool:
            row = json.loads(line)
            if row["kind"] == "epoch":
                return int(row["epoch"]) <= epochs
            return int(row["total_steps"]) <= total_steps

        _keep_lines(self._path, kept)

    def on_step(self, step: StepResult) -> None:
        """Writes a line if it is time."""
        if step.total_steps % self._every == 0:
            self._write("step", asdict(step))

    def on_epoch(self, result: EpochResult) -> None:
        """Writes a line."""
        self._write("epoch", asdict(result))

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        _append(self._path, json.dumps({"kind": kind, **values}, allow_nan=False))


class EpochTable:
    """Epochs as CSV with a header, kept as `JsonLines` is.

    Args:
        path: the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._names = [field.name for field in fields(EpochResult)]

    def on_start(self, epochs: int, total_steps: int) -> None:
        """Takes out what is not so, and writes the header."""
        header = ",".join(self._names)

        def kept(line: str) -> bool:
            return line == header or int(line.split(",")[0]) <= epochs

        _keep_lines(self._path, kept)
        if not self._path.exists() or self._path.stat().st_size == 0:
            _append(self._path, header)

    def on_step(self, step: StepResult) -> None:
        """Does nothing."""

    def on_epoch(self, result: EpochResult) -> None:
        """Writes a row."""
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(asdict(result).values())
        _append(self._path, row.getvalue())


class Scalars:
    """Hands numbers by name to any tracker that takes them so.

    Args:
        write: takes a name, a value and the number of steps done.
        every: steps from one value to the next.

    Example:
        >>> heard = []
        >>> tracker = Scalars(lambda name, value, step: heard.append(name))
    """

    def __init__(self, write: Callable[[str, float, int], Any], *, every: int = 100) -> None:
        self._write = write
        self._every = every
        self._total_steps = 0

    def on_start(self, epochs: int, total_steps: int) -> None:
        """Counts on from there."""
        self._total_steps = total_steps

    def on_step(self, step: StepResult) -> None:
        """Hands on loss and speed if it is time."""
        self._total_steps = step.total_steps
        if step.total_steps % self._every == 0:
            self._write("step/loss", step.loss, step.total_steps)
            self._write("step/tokens_per_second", step.tokens_per_second, step.total_steps)

    def on_epoch(self, result: EpochResult) -> None:
        """Hands on what the epoch measured."""
        for name, value in asdict(result).items():
            if value is None:
                continue
            self._write(f"epoch/{name}", float(value), self._total_steps)
        self._write("epoch/training_perplexity", perplexity(result.train_loss), self._total_steps)


def summary_writer() -> Callable[..., Any]:
    """PyTorch's `SummaryWriter`, which writes to a folder what TensorBoard shows.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    try:
        writer: Callable[..., Any] = import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise ValueError(
            f"TensorBoard must be installed: pip install 'lsh-native[board]': {error}"
        ) from None
    return writer


class _Summaries(Scalars):
    """Writes what TensorBoard shows; steps that a kill took back are shown once, as done again."""

    def __init__(self, folder: str) -> None:
        self._folder, self._open = folder, summary_writer()
        self._flush: Callable[[], Any] = lambda: None
        super().__init__(lambda name, value, step: None)

    def on_start(self, epochs: int, total_steps: int) -> None:
        super().on_start(epochs, total_steps)
        writer = self._open(self._folder, purge_step=total_steps + 1)
        self._write, self._flush = writer.add_scalar, writer.flush

    def on_epoch(self, result: EpochResult) -> None:
        super().on_epoch(result)
        self._flush()


def tensorboard(folder: str | os.PathLike[str]) -> Scalars:
    """A tracker that writes what TensorBoard shows.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    return _Summaries(os.fspath(folder))


def _append(path: Path, line: str) -> None:
    """Adds a whole line in one write and forces it to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        data = f"{line}\n".encode()
        if os.write(descriptor, data) < len(data):
            raise OSError(f"no space is left for a line of {path}; lines before it are whole")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_lines(path: Path, kept: Callable[[str], bool]) -> None:
    """Rewrites a file without the lines that are torn or no longer so; leaves a whole one alone."""
    if not path.exists():
        return
    data = path.read_bytes()
    lines = []
    for line in data.decode("utf-8", "replace").split("\n")[:-1]:
        try:
            if kept(line):
                lines.append(f"{line}\n")
        except (ValueError, KeyError, TypeError):
            continue
    text = "".join(lines).encode()
    if text != data:
        replace_file(path, text)
