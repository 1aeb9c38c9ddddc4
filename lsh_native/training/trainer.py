"""One model trained on one text, or on images, by one recipe; resumable at any step."""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from lsh_native.data import Corpus, Images, Window
from lsh_native.nn import LiveWeights, SparseModule
from lsh_native.sparsity.selection import NaNError
from lsh_native.sparsity.topology import Topology
from lsh_native.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from lsh_native.training.evaluate import perplexity
from lsh_native.training.image_class import ImageClass
from lsh_native.training.memory import memory_errors
from lsh_native.training.model import load_model_state_, model_state
from lsh_native.training.next_token import NextToken
from lsh_native.training.optim import (
    AveragedSGD,
    averaged_parameters,
    averaging_is_due,
    clip_gradients_,
    make_optimizer,
)
from lsh_native.training.random_stream import RandomStream
from lsh_native.training.recipe import Recipe
from lsh_native.training.result import (
    DivergedError,
    EpochResult,
    Snapshot,
)
from lsh_native.training.task import Objective, State, Task

_LESS_A_STEP = (
    "lower batch_size or window, or raise micro_batches, which leaves the result as it is"
)
_LESS_EVALUATION = "lower evaluation_batch_size or window"


@dataclass(kw_only=True)
class _Progress:
    """How far the epoch in flight is."""

    step: int = 0
    loss: float = 0.0  # summed over predictions
    tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains a model in place, an epoch at a time.

    A step is: the loss of one batch, its gradient, clipping, `optimizer.step()`,
    `topology.step(optimizer)`. An epoch starts from a zero state and ends with an evaluation on the
    validation data, after which averaging may start. It leaves the model as it was evaluated, so
    that is what a checkpoint or a spectrum sees. A topology that changes once per epoch therefore
    does so in the first step of the next one: `every=recipe.steps_per_epoch(…), begin=1`.

    The trainer owns the random numbers of its dropout. They depend on its seed alone, and outside a
    step the global generators stand where the caller left them.

    Args:
        model: What `NextToken` or `ImageClass` takes. Training happens on its device.
        data: What to train and evaluate on: a text to predict, or images to classify.
        recipe: How to train.
        topology: What keeps the model sparse; None for a model without one.
        seed: Seed of the dropout.

    Attributes:
        optimizer: Where the averages are: `with averaged_parameters(trainer.optimizer)` shows the
            model as it was evaluated once averaging has started.
        steps_per_epoch: Steps in an epoch.
        history: The results of all epochs trained.
        best: The model of lowest validation loss so far, averaged weights included.
        notes: What the owner wants kept in the checkpoint beside it, as JSON values.

    Raises:
        ValueError: The training text is shorter than one window, or the recipe asks of the model
            or the device what it cannot do.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Corpus | Images,
        recipe: Recipe,
        *,
        topology: Topology | None = None,
        seed: int,
    ) -> None:
        self._weights = dict(model.named_parameters())
        device = next(iter(self._weights.values())).device
        self.model = model
        self.recipe = recipe
        self.topology = topology
        self._live = self._live_weights(device)
        self.optimizer = make_optimizer(
            recipe.optimizer,
            self._weights.values(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            live=self._live,
        )
        kind = "text" if isinstance(data, Corpus) else "images"
        if recipe.model.reads != kind:
            raise ValueError(
                f"a {recipe.model.family} must be given {recipe.model.reads}, got {data.name}, "
                f"which is {kind}"
            )
        self.steps_per_epoch = recipe.steps_per_epoch(len(data.train))
        self.history: list[EpochResult] = []
        self.best: Snapshot | None = None
        self.notes: dict[str, Any] = {}
        self._device = device
        self._task: Task = (
            NextToken(model, data, recipe)
            if isinstance(data, Corpus)
            else ImageClass(model, data, recipe)
        )
        self._seed = seed
        self._random = RandomStream(seed, device)
        self._state: State | None = None
        self._progress = _Progress()
        self._intact = True
        self._identity = {
            "kind": "training",
            "recipe": recipe.to_dict(),
            **self._task.identity,
            "sparse": topology is not None,
            "seed": seed,
        }
        if recipe.precision == "bfloat16" and device.type != "cuda":
            raise ValueError(f"precision bfloat16 needs a model on a GPU, got one on {device}")

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return len(self.history)

    @property
    def total_steps(self) -> int:
        """Steps trained, in all epochs."""
        return self.epoch * self.steps_per_epoch + self._progress.step

    @property
    def tokens(self) -> int:
        """Predictions made in the epoch in flight."""
        return self._progress.tokens

    @property
    def seconds(self) -> float:
        """Seconds of training in the epoch in flight."""
        return self._progress.seconds

    def train_epoch(self, on_step: Callable[[int, int, float], None] | None = None) -> EpochResult:
        """Train to the end of the epoch in flight, or of the next one, and evaluate.

        Args:
            on_step: Called after every step with the steps done in this epoch, the steps of an
                epoch and the step's loss in nats per token. The trainer may be saved in it.

        Raises:
            DivergedError: A loss, the gradient or the weights are no longer finite. The trainer can
                then neither go on nor be saved, only load a checkpoint.
            MemoryExhaustedError: There is not enough memory for a step or the evaluation; likewise.
            ValueError: All epochs of the recipe are trained.
            RuntimeError: An earlier step was interrupted half way.
        """
        self._require_intact()
        total = self.recipe.total_epochs
        if self.epoch == total:
            raise ValueError(f"the recipe ends after {total} epochs, and all are done")
        if self.epoch == self.recipe.epochs and self._progress.step == 0:
            self._begin_finetuning()
        self.model.train()
        for window in islice(self._windows(), self._progress.step, None):
            with memory_errors(f"in epoch {self.epoch + 1}", _LESS_A_STEP):
                loss = self._train_step(window)
            if on_step is not None:
                on_step(self._progress.step, self.steps_per_epoch, loss)
        return self._finish_epoch()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint from which `load` continues bit for bit, wherever in an epoch this is.

        "Bit for bit" holds on the same kind of device with the same number of threads.

        Raises:
            DivergedError: A weight is not finite; nothing is written.
            RuntimeError: A step was interrupted half way; nothing is written.
            OSError: The file could not be written; an older one is kept.
        """
        self._require_intact()
        for name, weight in self._weights.items():
            self._require_finite(f"sum of {name}", weight.sum().item())
        topology = {} if self.topology is None else self.topology.state_dict()
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": model_state(self.model),
            "optimizer": {
                f"{key}.{name}": value
                for name, weight in self._weights.items()
                for key, value in self.optimizer.state.get(weight, {}).items()
            },
            "state": {str(index): part for index, part in enumerate(self._state or ())},
            "random": self._random.state_dict(),
            "topology": {k: value for k, value in topology.items() if isinstance(value, Tensor)},
            "best": self.best.state if self.best else {},
        }
        save_checkpoint(
            path,
            {
                f"{part}.{name}": value
                for part, named in parts.items()
                for name, value in named.items()
            },
            {
                **self._identity,
                "progress": asdict(self._progress),
                "history": [asdict(result) for result in self.history],
                "topology": {
                    k: value for k, value in topology.items() if not isinstance(value, Tensor)
                },
                "best": self.best.measures() if self.best else None,
                "notes": self.notes,
            },
        )

    def load(self, path: str | os.PathLike[str]) -> None:
        """Continue where the trainer that wrote this checkpoint stood.

        Raises:
            FileNotFoundError: There is no such file.
            CheckpointError: The file is no whole checkpoint of this model, recipe, corpus, topology
                and seed. The trainer is as it was before.
        """
        tensors, metadata = load_checkpoint(path, expected=self._identity)
        model = _part(tensors, "model")
        device = self._device
        random = RandomStream(0, device)
        try:
            _require_layout(model, model_state(self.model))
            random.load_state_dict(_part(tensors, "random"))
            if self.topology is not None:
                self.topology.load_state_dict(_part(tensors, "topology") | metadata["topology"])
        except ValueError as error:
            raise CheckpointError(f"{path} does not fit: {error}") from error
        self.optimizer.state.clear()
        load_model_state_(self.model, model)
        for name, value in _part(tensors, "optimizer").items():
            key, _, weight_name = name.partition(".")
            # torch keeps the count of steps on the CPU
            where = device if value.dim() else value.device
            self.optimizer.state[self._weights[weight_name]][key] = value.to(where)
        state = _part(tensors, "state")
        self._state = tuple(state[str(index)].to(device) for index in range(len(state))) or None
        self._random = random
        self._progress = _Progress(**metadata["progress"])
        self.history = [EpochResult(**result) for result in metadata["history"]]
        self.best = None
        if metadata["best"]:
            self.best = Snapshot(**metadata["best"], state=_part(tensors, "best", device))
        self.notes = metadata.get("notes", {})  # none in checkpoints of earlier versions
        self._intact = True

    def _windows(self) -> Iterable[Window]:
        """The batches of the epoch in flight; a function of seed and epoch."""
        return self._task.batches(self.epoch, self._seed)

    def _train_step(self, window: Window) -> float:
        started = time.perf_counter()
        self._require_intact()
        self._intact = False
        progress, recipe = self._progress, self.recipe
        rate = self._learning_rate(progress.step)
        if recipe.window_spread > 0:
            rate *= len(window.input) / recipe.window
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        if recipe.clip_norm == "dense":
            self._ask_for_dense_gradients()
        with self._random, self._live or nullcontext():
            loss, state = self._backward(window)
        loss = self._require_finite("training loss", loss)
        trained: Mapping[str, Tensor] = self._weights
        masks = None
        if self._live is not None:
            trained = {name: self._live.trained(weight) for name, weight in trained.items()}
        if recipe.clip_norm == "masked" and self.topology is not None:
            masks = self.topology.masks()
        norm = clip_gradients_(trained, recipe.clip, masks)
        self._require_finite("gradient norm", norm)
        self.optimizer.step()
        if self.topology is not None:
            self._step_topology(self.topology)
        self._state = tuple(part.detach() for part in state) or None
        progress.step += 1
        progress.loss += loss * window.target.numel()
        progress.tokens += window.target.numel()
        progress.seconds += time.perf_counter() - started
        self._intact = True
        return loss

    def _backward(self, window: Window) -> tuple[float, State]:
        """Adds up the gradients of a batch; its mean loss per prediction, and the state after."""
        parts = self.recipe.micro_batches
        if parts == 1:
            made = self._objective(window, self._state)
            torch.autograd.backward(made.objective)
            return made.mean.item(), made.state
        total, after = 0.0, []
        groups = [part.tensor_split(parts, dim=-2) for part in self._state or ()]
        size = window.target.shape[-1]
        for index, (read, target) in enumerate(
            zip(
                window.input.tensor_split(parts, dim=1),
                window.target.tensor_split(parts, dim=-1),
                strict=True,
            )
        ):
            if not target.numel():  # a last batch with fewer items than parts
                continue
            before = tuple(group[index].contiguous() for group in groups) or None
            made = self._objective(Window(input=read, target=target), before)
            share = target.shape[-1] / size
            torch.autograd.backward(made.objective * share)
            total += made.mean.item() * share
            after.append([part.detach() for part in made.state])
        return total, tuple(torch.cat(same, dim=-2) for same in zip(*after, strict=True))

    def _objective(self, window: Window, state: State | None) -> Objective:
        with self._autocast():
            return self._task.objective(window, state)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.recipe.precision == "full":
            return nullcontext()
        return torch.autocast("cuda", dtype=torch.bfloat16)

    def _live_weights(self, device: torch.device) -> LiveWeights | None:
        """Live values, where no step needs anything of dead connections."""
        topology = self.topology
        if topology is None or device.type != "cpu" or self.recipe.clip_norm == "dense":
            return None
        return LiveWeights() if topology.trains_live_only() else None

    def _ask_for_dense_gradients(self) -> None:
        for module in self.model.modules():
            if isinstance(module, SparseModule):
                module.gradient = "dense"

    def _begin_finetuning(self) -> None:
        """Go on from the best model, with its connections, averaging from the first step."""
        if self.best is None or not isinstance(self.optimizer, AveragedSGD):
            raise RuntimeError("finetuning must follow an epoch of SGD")
        if self.topology is not None:
            masks = {
                f"mask.{name}": self.best.state[f"{name}_mask"] for name in self.topology.masks()
            }
            self.topology.load_state_dict(self.topology.state_dict() | masks)
        load_model_state_(self.model, self.best.state)
        self.optimizer.state.clear()
        self.optimizer.start_averaging()

    def _step_topology(self, topology: Topology) -> None:
        try:
            topology.step(self.optimizer)
        except NaNError as error:
            raise self._diverged("weights and gradients", math.nan) from error

    def _finish_epoch(self) -> EpochResult:
        started = time.perf_counter()
        progress = self._progress
        averaging = isinstance(self.optimizer, AveragedSGD) and self.optimizer.averaging
        with averaged_parameters(self.optimizer):
            with memory_errors(f"in the evaluation of epoch {self.epoch + 1}", _LESS_EVALUATION):
                evaluation = self._task.evaluate()
            loss = evaluation.loss
            self._require_finite("validation loss", loss)
            self._require_finite("validation perplexity", perplexity(loss))
            if self.best is None or loss < self.best.valid_loss:
                self.best = self._snapshot(loss)
        result = EpochResult(
            epoch=self.epoch + 1,
            train_loss=progress.loss / progress.tokens,
            valid_loss=loss,
            perplexity=perplexity(loss),
            accuracy=evaluation.accuracy,
            tokens=progress.tokens,
            seconds=progress.seconds + time.perf_counter() - started,
            train_seconds=progress.seconds,
            density=1.0 if self.topology is None else self.topology.density(),
            learning_rate=self._learning_rate(progress.step - 1),
            averaging=averaging,
        )
        self.history.append(result)
        losses = [past.valid_loss for past in self.history]
        if isinstance(self.optimizer, AveragedSGD) and averaging_is_due(
            losses, self.recipe.nonmono
        ):
            self.optimizer.start_averaging()
        self._progress = _Progress()
        self._state = None
        return result

    def _snapshot(self, valid_loss: float) -> Snapshot:
        state = {name: tensor.clone() for name, tensor in model_state(self.model).items()}
        return Snapshot(epoch=self.epoch + 1, valid_loss=valid_loss, state=state)

    def _learning_rate(self, step: int) -> float:
        done = self.epoch * self.steps_per_epoch + step
        share = done / (self.recipe.epochs * self.steps_per_epoch)
        return self.recipe.learning_rate_at(min(share, 1.0))

    def _require_intact(self) -> None:
        if not self._intact:
            raise RuntimeError(
                f"step {self._progress.step + 1} of epoch {self.epoch + 1} did not end well, so "
                "the trainer must load a checkpoint before it is used again"
            )

    def _require_finite(self, quantity: str, value: float) -> float:
        if not math.isfinite(value):
            raise self._diverged(quantity, value)
        return value

    def _diverged(self, quantity: str, value: float) -> DivergedError:
        self._intact = False
        return DivergedError(
            epoch=self.epoch + 1,
            step=min(self._progress.step + 1, self.steps_per_epoch),
            quantity=quantity,
            value=value,
        )


def _part(
    tensors: Mapping[str, Tensor], part: str, device: torch.device | None = None
) -> dict[str, Tensor]:
    """The tensors whose name starts with `part` and a dot, by the rest of their names."""
    return {
        name.removeprefix(f"{part}."): tensor.to(device)
        for name, tensor in tensors.items()
        if name.startswith(f"{part}.")
    }


def _require_layout(stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    if stored.keys() != own.keys():
        raise ValueError(f"the model's tensors must be {sorted(own)}, got {sorted(stored)}")
    for name in own:
        there, here = (f"{tuple(t.shape)} of {t.dtype}" for t in (stored[name], own[name]))
        if there != here:
            raise ValueError(f"{name} must be {here}, got {there}")
