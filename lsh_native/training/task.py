"""What a model learns: what a batch is, what its loss is, and how well it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lsh_native.data import Window

__all__ = ["Evaluation", "Objective", "State", "Task"]

State = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """What a model makes of a batch.

    Args:
        objective: what is minimised, penalties included.
        mean: the mean loss per prediction in it, nats.
        state: carried to the next batch; empty where nothing is.
    """

    objective: Tensor
    mean: Tensor
    state: State


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a model does on what it was not trained on.

    Args:
        loss: mean nats per prediction.
        accuracy: share of predictions that are right, of a classifier.
    """

    loss: float
    accuracy: float | None = None


class Task(Protocol):
    """A model, data and recipe put together; a trainer knows nothing else of them.

    Attributes:
        identity: what a checkpoint must agree with, by name.
    """

    identity: Mapping[str, str]

    def batches(self, epoch: int, seed: int) -> Iterable[Window]:
        """The batches of an epoch, a function of its number and the seed.

        B is dimension 1 of their input and the last dimension of their target.
        """

    def objective(self, batch: Window, state: State | None) -> Objective:
        """The loss of a batch, from the state of the one before."""

    def evaluate(self) -> Evaluation:
        """How well the model does on the validation data."""
