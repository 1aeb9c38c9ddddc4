"""Everything that fixes one training run, in one record."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import torch

from lsh_native.data.batches import MEAN_LENGTH
from lsh_native.models import Model, StackedLSTM, as_model, model_values
from lsh_native.models.record import (
    POSITIVE,
    ZERO_OR_POSITIVE,
    Rule,
    check_counts,
    check_numbers,
)

if TYPE_CHECKING:
    ModelField = Model
else:  # what may be given; it is a record as soon as the recipe is made
    ModelField = Model | dict[str, Any] | None

_COUNTS = ("batch_size", "window", "epochs", "evaluation_batch_size", "micro_batches")
_OPTIONAL_COUNTS = ("nonmono", "decay_epoch")

_SHARE: Rule = ("in [0, 1]", lambda value: 0 <= value <= 1)
_RANGES: Mapping[str, Rule] = {
    "learning_rate": POSITIVE,
    "decay_start": _SHARE,
    "decay_floor": _SHARE,
    "clip": POSITIVE,
    "weight_decay": ZERO_OR_POSITIVE,
    "activation_penalty": ZERO_OR_POSITIVE,
    "temporal_penalty": ZERO_OR_POSITIVE,
    "window_spread": ZERO_OR_POSITIVE,
}
_NAMES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adam", "adamw"),
    "loss": ("mean", "sum"),
    "clip_norm": ("seen", "masked", "dense"),
    "dtype": ("float32", "float64"),
    "precision": ("full", "bfloat16"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Model, optimisation and evaluation of one training run.

    The defaults are the small language model for the generated corpus.

    Args:
        model: Which model, and its sizes: a record of `lsh_native.models`, or a table with its
            `family` and fields.
        batch_size: Columns into which the training tokens are cut; images in a batch.
        window: Steps of truncated back-propagation through time; the state is carried between
            windows. An image is read whole.
        window_spread: Standard deviation of the length of a window, in steps. Above 0, windows are
            cut anew in each epoch, one in twenty half as long, and the step size of a window goes
            with its length; see `random_windows`.
        micro_batches: Parts of the columns that go through the model one after another, their
            gradients added up: the same step in less memory.
        epochs: Passes over the training data in the full schedule.
        finetune_epochs: Epochs after those, from the best model on, averaging from the start.
        optimizer: `sgd`, which may average its weights, `adam`, or `adamw`, in which weight decay
            is no part of the gradient.
        learning_rate: Step size before any decay.
        decay_start: Fraction of all training steps at the constant learning rate; what is left
            follows half a cosine. 1 keeps the rate constant.
        decay_floor: Learning rate at the end of the cosine, as a fraction of `learning_rate`.
        decay_epoch: Epochs at the constant rate, after which each is divided by `decay_factor`
            once more. In the place of the cosine, so it needs a `decay_start` of 1.
        decay_factor: Above 1; needs `decay_epoch`.
        loss: `mean` or `sum` of the negative log-likelihoods over the steps of a window, always
            the mean over columns, in nats. At a window of 35 steps a rate for the sum is worth 35
            times as much for the mean, and a clip a 35th. Reports are means in either case.
        activation_penalty: Coefficient of the mean square of the last layer's output after dropout.
        temporal_penalty: Coefficient of the mean square of its change from step to step, before
            dropout.
        clip: Largest global gradient norm; a longer gradient is scaled down to it.
        clip_norm: What of a masked weight counts in that norm: `masked`, its connections; `dense`,
            every entry, as in programs that train under masks; `seen`, its connections, and all
            entries in the steps in which a pruning method asks for their gradients.
        weight_decay: Coefficient of the L2 penalty, added to the gradient as `weight_decay · w`.
        nonmono: Most recent epochs that the trigger of weight averaging overlooks (see
            `averaging_is_due`); None never averages. SGD only.
        evaluation_batch_size: Columns into which validation and test tokens are cut; images
            at once.
        dtype: Precision of the weights.
        precision: `full`, or `bfloat16` to compute what can be in 16 bits, on a GPU.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field is out of range, or two fields contradict each other.

    Example:
        >>> recipe = Recipe(epochs=10, decay_start=0.5, optimizer="sgd", learning_rate=20)
        >>> recipe.learning_rate_at(0.25)
        20.0
        >>> Recipe(model={"family": "rhn", "depth": 3}).model.depth
        3
    """

    model: ModelField = StackedLSTM()  # noqa: RUF009 - frozen
    batch_size: int = 20
    window: int = 20
    window_spread: float = 0.0
    micro_batches: int = 1
    epochs: int = 9
    finetune_epochs: int = 0
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: float = 0.01
    decay_start: float = 0.5
    decay_floor: float = 0.02
    decay_epoch: int | None = None
    decay_factor: float | None = None
    loss: Literal["mean", "sum"] = "mean"
    activation_penalty: float = 0.0
    temporal_penalty: float = 0.0
    clip: float = 1.0
    clip_norm: Literal["seen", "masked", "dense"] = "seen"
    weight_decay: float = 1.2e-6
    nonmono: int | None = None
    evaluation_batch_size: int = 10
    dtype: Literal["float32", "float64"] = "float32"
    precision: Literal["full", "bfloat16"] = "full"

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", as_model(self.model))
        given = [name for name in _OPTIONAL_COUNTS if getattr(self, name) is not None]
        check_counts(self, (*_COUNTS, *given))
        check_numbers(self, _RANGES)
        for name, choices in _NAMES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be {' or '.join(choices)}, got {getattr(self, name)!r}"
                )
        if isinstance(self.finetune_epochs, bool) or not isinstance(self.finetune_epochs, int):
            raise TypeError(f"finetune_epochs must be an integer, got {self.finetune_epochs!r}")
        if self.finetune_epochs < 0:
            raise ValueError(f"finetune_epochs must be at least 0, got {self.finetune_epochs}")
        if self.decay_factor is not None:
            check_numbers(
                self, {"decay_factor": ("at least 1 and finite", lambda v: 1 <= v < math.inf)}
            )
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if (self.decay_epoch is None) != (self.decay_factor is None):
            raise ValueError(
                "decay_epoch and decay_factor must be given together, "
                f"got {self.decay_epoch} and {self.decay_factor}"
            )
        if self.decay_epoch is not None and self.decay_start < 1:
            raise ValueError(
                "decay_epoch needs decay_start to be 1, as a rate follows one schedule, "
                f"got {self.decay_start}"
            )
        if self.window_spread > 0 and self.window < 2:
            raise ValueError(f"window_spread needs a window of at least 2, got {self.window}")
        if self.optimizer != "sgd" and (self.nonmono is not None or self.finetune_epochs):
            raise ValueError(
                f"nonmono and finetune_epochs need the optimizer sgd, got {self.optimizer}"
            )
        if self.model.reads == "images":
            plain = {"window_spread": 0, "activation_penalty": 0, "temporal_penalty": 0}
            for name, value in {**plain, "loss": "mean"}.items():
                if getattr(self, name) != value:
                    raise ValueError(
                        f"{name} must be {value} for a model that reads images, "
                        f"got {getattr(self, name)}"
                    )
        if self.micro_batches > self.batch_size:
            raise ValueError(
                f"micro_batches must be at most batch_size, {self.batch_size}, "
                f"got {self.micro_batches}"
            )

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision of the weights as torch names it."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def total_epochs(self) -> int:
        """Epochs with those of finetuning."""
        return self.epochs + self.finetune_epochs

    @property
    def hash(self) -> str:
        """SHA-256 over every field: two recipes share it exactly when they are equal."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Every field as a plain value; `Recipe(**fields)` is the way back."""
        return {**asdict(self), "model": model_values(self.model)}

    def changed(self, **values: Any) -> Self:
        """A recipe with other values; a field that only the model has goes to the model.

        Raises:
            ValueError: neither has such a field.
        """
        own = {field.name for field in fields(self)}
        inner = {name: value for name, value in values.items() if name not in own}
        model = self.model
        if inner:
            model = as_model({**model_values(model), **inner})
        outer = {name: value for name, value in values.items() if name in own}
        return replace(self, **{"model": model, **outer})

    def learning_rate_at(self, progress: float) -> float:
        """Step size after a fraction `progress` in [0, 1] of all training steps."""
        if self.decay_epoch is not None and self.decay_factor is not None:
            epoch = min(math.floor(progress * self.epochs + 1e-9), self.epochs - 1)
            return self.learning_rate / self.decay_factor ** max(0, epoch + 1 - self.decay_epoch)
        if progress <= self.decay_start:
            return self.learning_rate
        angle = math.pi * (progress - self.decay_start) / (1 - self.decay_start)
        cosine = (1 + math.cos(angle)) / 2
        return self.learning_rate * (self.decay_floor + (1 - self.decay_floor) * cosine)

    def steps_per_epoch(self, count: int) -> int:
        """Updates of the weights in one pass over so many training tokens or images.

        Raises:
            ValueError: The tokens do not fill one window, or there is no image.
        """
        if self.model.reads == "images":
            if count < 1:
                raise ValueError("training needs at least one image, got none")
            return math.ceil(count / self.batch_size)
        targets = count // self.batch_size - 1
        if targets < self.window:
            raise ValueError(
                f"training needs at least {self.batch_size * (self.window + 1)} tokens, a window "
                f"of {self.window} and one more in each of {self.batch_size} columns, got {count}"
            )
        return math.ceil(targets / (self.window * (MEAN_LENGTH if self.window_spread else 1)))
