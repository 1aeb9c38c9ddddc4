"""Everything that fixes one training run, in one record."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

_COUNTS = (
    "embedding_size",
    "hidden_size",
    "num_layers",
    "batch_size",
    "window",
    "epochs",
    "evaluation_batch_size",
)

_RANGES: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    "dropout": ("in [0, 1)", lambda value: 0 <= value < 1),
    "init_range": ("positive and finite", lambda value: 0 < value < math.inf),
    "learning_rate": ("positive and finite", lambda value: 0 < value < math.inf),
    "decay_start": ("in [0, 1]", lambda value: 0 <= value <= 1),
    "decay_floor": ("in [0, 1]", lambda value: 0 <= value <= 1),
    "clip": ("positive and finite", lambda value: 0 < value < math.inf),
    "weight_decay": ("zero or positive, and finite", lambda value: 0 <= value < math.inf),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Model, optimisation and evaluation of one training run.

    The loss is the mean negative log-likelihood per token of a window, in nats. A recipe published
    for the sum over a window's steps carries over with its learning rate multiplied and its clip
    divided by `window`. The defaults are the small language model for the generated corpus.

    Args:
        embedding_size: Width of a token's embedding.
        hidden_size: Units of each recurrent layer.
        num_layers: Recurrent layers in the stack.
        dropout: Probability with which an activation between layers is zeroed, in [0, 1).
        tied: Whether the decoder shares the embedding's weight, which needs equal sizes.
        init_range: Weights start uniform in ± this value.
        batch_size: Columns into which the training tokens are cut.
        window: Steps of truncated back-propagation through time; the state is carried between
            windows.
        epochs: Passes over the training tokens in the full schedule.
        learning_rate: Step size before any decay.
        decay_start: Fraction of all training steps at the constant learning rate; what is left
            follows half a cosine. 1 keeps the rate constant.
        decay_floor: Learning rate at the end of the cosine, as a fraction of `learning_rate`.
        clip: Largest global gradient norm; a longer gradient is scaled down to it. Dead connections
            count only in the steps in which a pruning method asks for their gradients.
        weight_decay: Coefficient of the L2 penalty, added to the gradient as `weight_decay · w`.
        nonmono: Most recent epochs that the trigger of weight averaging overlooks (see
            `averaging_is_due`); None never averages.
        evaluation_batch_size: Columns into which validation and test tokens are cut.
        dtype: Precision of the weights.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field is out of range, or two fields contradict each other.

    Example:
        >>> recipe = Recipe(epochs=10, decay_start=0.5, learning_rate=20)
        >>> recipe.learning_rate_at(0.25)
        20.0
    """

    embedding_size: int = 64
    hidden_size: int = 96
    num_layers: int = 2
    dropout: float = 0.0
    tied: bool = False
    init_range: float = 0.5
    batch_size: int = 20
    window: int = 20
    epochs: int = 12
    learning_rate: float = 20.0
    decay_start: float = 0.5
    decay_floor: float = 0.02
    clip: float = 0.25
    weight_decay: float = 1.2e-6
    nonmono: int | None = None
    evaluation_batch_size: int = 10
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        for name in _COUNTS if self.nonmono is None else (*_COUNTS, "nonmono"):
            _require_count(name, getattr(self, name))
        for name, (rule, holds) in _RANGES.items():
            value = _require_number(name, getattr(self, name))
            if not holds(value):
                raise ValueError(f"{name} must be {rule}, got {value}")
            object.__setattr__(self, name, value)  # 20 and 20.0 are one recipe and one hash
        if not isinstance(self.tied, bool):
            raise TypeError(f"tied must be true or false, got {self.tied!r}")
        if self.tied and self.embedding_size != self.hidden_size:
            raise ValueError(
                "a tied decoder needs embedding_size equal to hidden_size, got "
                f"{self.embedding_size} and {self.hidden_size}"
            )
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be float32 or float64, got {self.dtype!r}")

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision of the weights as torch names it."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def hash(self) -> str:
        """SHA-256 over every field: two recipes share it exactly when they are equal."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Every field as a plain value; `Recipe(**fields)` is the way back."""
        return asdict(self)

    def learning_rate_at(self, progress: float) -> float:
        """Step size after a fraction `progress` in [0, 1] of all training steps."""
        if progress <= self.decay_start:
            return self.learning_rate
        angle = math.pi * (progress - self.decay_start) / (1 - self.decay_start)
        cosine = (1 + math.cos(angle)) / 2
        return self.learning_rate * (self.decay_floor + (1 - self.decay_floor) * cosine)

    def steps_per_epoch(self, tokens: int) -> int:
        """Windows, and so updates of the weights, in one pass over this many training tokens.

        Raises:
            ValueError: The tokens do not fill one window.
        """
        targets = tokens // self.batch_size - 1
        if targets < self.window:
            raise ValueError(
                f"training needs at least {self.batch_size * (self.window + 1)} tokens, a window "
                f"of {self.window} and one more in each of {self.batch_size} columns, got {tokens}"
            )
        return math.ceil(targets / self.window)


def _require_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def _require_number(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)
