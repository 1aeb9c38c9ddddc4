"""Progress of one training: a live line on a terminal, a line for each epoch everywhere."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from lsh_native.training import EpochResult, Recipe, StepResult, perplexity

__all__ = ["TrainingLine"]


class TrainingLine:
    """A tracker that prints; use as a context manager.

    Args:
        recipe: what is trained.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._epochs = recipe.total_epochs
        self._unit = "tokens" if recipe.model.reads == "text" else "images"
        self._console = Console()
        self._status: Status | None = None
        self._loss = 0.0
        self._evaluation = 0.0  # seconds that an epoch takes beyond its steps

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def on_start(self, epochs: int, total_steps: int) -> None:
        """Says so if training goes on."""
        if total_steps:
            self._say(f"going on after epoch {epochs} of {self._epochs}, step {total_steps:,}")

    def on_step(self, step: StepResult) -> None:
        """Brings the live line up to date."""
        first = step.step == 1 or not self._loss
        self._loss = step.loss if first else 0.95 * self._loss + 0.05 * step.loss
        if self._status is not None:
            self._status.update(self._line(step))

    def on_epoch(self, result: EpochResult) -> None:
        """Prints a line that stays."""
        self._evaluation = result.seconds - result.train_seconds
        self._say(
            f"epoch {result.epoch} of {self._epochs}: validation {self._judged(result)}, "
            f"density {result.density:.3f}, {result.seconds:.1f} s, "
            f"{result.tokens / max(result.train_seconds, 1e-9):,.0f} {self._unit}/s"
            + (", averaged" if result.averaging else "")
        )

    @staticmethod
    def _judged(result: EpochResult) -> str:
        if result.accuracy is None:
            training = perplexity(result.train_loss)
            return f"perplexity {result.perplexity:.2f}, training {training:.2f}"
        return (
            f"accuracy {result.accuracy:.2%}, loss {result.valid_loss:.4f}, "
            f"training {result.train_loss:.4f}"
        )

    def _line(self, step: StepResult) -> str:
        per_step = step.seconds / step.step
        steps = step.steps * (self._epochs - step.epoch + 1) - step.step
        left = per_step * steps + self._evaluation * (self._epochs - step.epoch + 1)
        return (
            f"epoch {step.epoch} of {self._epochs}, step {step.step} of {step.steps}: "
            f"loss {self._loss:.3f}, perplexity {perplexity(self._loss):.1f}, "
            f"{step.tokens_per_second:,.0f} {self._unit}/s, density {step.density:.3f}, "
            f"{timedelta(seconds=round(left))} left"
        )

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
