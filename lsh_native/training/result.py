"""What an epoch of training leaves: its measures, its weights, or the news that it diverged."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


class DivergedError(ArithmeticError):
    """A loss, a gradient or a weight is no longer finite.

    Args:
        epoch: Epoch in which it was found, counted from 1.
        step: Step of that epoch, counted from 1.
        quantity: What is not finite.
        value: What it is instead.
    """

    def __init__(self, *, epoch: int, step: int, quantity: str, value: float) -> None:
        super().__init__(
            f"training diverged in step {step} of epoch {epoch}: "
            f"the {quantity} must be finite, got {value}"
        )
        self.epoch = epoch
        self.step = step
        self.quantity = quantity
        self.value = value


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch measured; losses in nats per prediction, of a token or of an image's class.

    Args:
        epoch: Epochs trained, counted from 1.
        train_loss: Mean over the training data, with dropout, each prediction at the weights of its
            own step.
        valid_loss: Mean over the validation data.
        perplexity: `exp(valid_loss)`.
        tokens: Predictions made in training.
        seconds: Wall-clock seconds of training and evaluation.
        train_seconds: Those of training alone.
        density: Live share of the weights that the topology rules, in [0, 1]; 1 without a topology.
        learning_rate: Step size of the last step.
        averaging: Whether the weights evaluated were averages.
        accuracy: Share of validation images whose class is told; None of a text.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    perplexity: float
    tokens: int
    seconds: float
    train_seconds: float
    density: float
    learning_rate: float
    averaging: bool
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A model as it was evaluated after an epoch.

    Args:
        epoch: Epochs trained.
        valid_loss: Nats per prediction.
        state: The model's weights and masks, as `model_state` names them.
    """

    epoch: int
    valid_loss: float
    state: Mapping[str, Tensor]

    def measures(self) -> dict[str, int | float]:
        """What JSON can hold of it."""
        return {"epoch": self.epoch, "valid_loss": self.valid_loss}
