"""Trains the trials of a study on a text and takes their spectra; owns their checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lsh_native.data import Corpus, Images, evaluation_columns
from lsh_native.lyapunov import (
    NonFiniteTangentError,
    Spectrum,
    TooLittleMemoryError,
    lyapunov_spectrum,
)
from lsh_native.nn import LanguageModel
from lsh_native.pruning.catalogue import method, needed_controls
from lsh_native.search.candidate import ACTIVE, RECIPE, Candidate
from lsh_native.search.latency import token_milliseconds
from lsh_native.search.space import Space
from lsh_native.search.spectral import ARRAYS
from lsh_native.search.trial import (
    Diverged,
    EpochRecord,
    OutOfMemory,
    SpectrumRecord,
    Trial,
)
from lsh_native.sparsity.topology import Topology
from lsh_native.training import (
    DivergedError,
    EpochResult,
    Recipe,
    Snapshot,
    Trainer,
    averaged_parameters,
    draw_model,
)

__all__ = ["SpectrumSettings", "TrainingRunner", "make_trainer"]


@dataclass(frozen=True, kw_only=True)
class SpectrumSettings:
    """Which spectrum judges a candidate.

    Args:
        steps: time steps that are averaged.
        sequences: windows of the validation text side by side, the same for every model.
        state_warmup: steps before for the state alone.
        tangent_warmup: steps between the two for the tangent vectors.
        every: steps from one orthonormalisation to the next.
        k: leading exponents of each layer; all by default, at several times the cost of a quarter.
        dtype: precision of the spectrum.
        reference: "lsh2022" for the published convention, which fixes steps and warm-up.

    Raises:
        ValueError: a number is out of range.
    """

    steps: int = 100
    sequences: int = 2
    state_warmup: int = 20
    tangent_warmup: int = 20
    every: int = 2
    k: int | None = None
    dtype: Literal["float32", "float64"] = "float64"
    reference: Literal["lsh2022"] | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("sequences", 1),
            ("state_warmup", 0),
            ("tangent_warmup", 0),
            ("every", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        if self.k is not None and self.k < 1:
            raise ValueError(f"k must be at least 1 or absent, got {self.k}")

    @property
    def rows(self) -> int:
        """Time steps of text that a spectrum reads."""
        if self.reference is not None:
            return 35  # the first window of the published programs
        return self.state_warmup + self.tangent_warmup + self.steps


@dataclass(frozen=True, kw_only=True)
class TrainingRunner:
    """Trains language models on a corpus; see `lsh_native.search.trial.Runner`.

    Args:
        corpus: what to train and evaluate on.
        recipe: how every trial is trained, the dense reference among them.
        density: share of all weight matrices that a candidate keeps in the end.
        folder: where checkpoints go, a file a trial.
        spectrum_settings: which spectrum is taken.
        device: where models are trained.
        on_step: called after every training step with the trial, the epoch in flight, the steps
            done in it, the steps of an epoch, and the step's loss. A spectrum tells the last step
            again and again, as a sign of life.
    """

    corpus: Corpus
    recipe: Recipe
    density: float
    folder: Path
    spectrum_settings: SpectrumSettings = field(default_factory=SpectrumSettings)
    device: str = "cpu"
    on_step: Callable[[Trial, int, int, int, float], None] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError(f"density must be in (0, 1], got {self.density}")
        if self.recipe.model.reads != "text":
            raise ValueError(
                f"a search needs a model that reads text, got a {self.recipe.model.family}"
            )
        rows = len(self._windows())
        if rows < self.spectrum_settings.rows:
            raise ValueError(
                f"the validation text must give {self.spectrum_settings.rows} steps for each of "
                f"{self.spectrum_settings.sequences} sequences of the spectrum, got {rows}"
            )

    def refuse(self, space: Space) -> None:
        """Refuses what the model or the text cannot take, before anything is trained.

        Raises:
            ValueError: the model has no such spectrum, or one of the space's `extremes` cannot be
                made; the message names it.
        """
        self._refuse_spectrum()
        for candidate in space.extremes():
            trial = Trial(number=1, candidate=candidate, seed=0)
            try:
                make_trainer(
                    self.corpus, self.recipe_of(trial), candidate, density=self.density, seed=0
                )
            except ValueError as error:
                raise ValueError(
                    f"a space must suit the model and the text, but {candidate}: {error}"
                ) from error

    def _refuse_spectrum(self) -> None:
        settings = self.spectrum_settings
        model: Any = draw_model(self.recipe, len(self.corpus.vocabulary), seed=0)
        if settings.reference is not None:
            model.lstm_layers()  # of which the published convention is made
            return
        # One step of one vector: whether the others fit into memory is a matter of where they run.
        tried = lyapunov_spectrum(model, self._windows()[:1], k=1, state_warmup=0, tangent_warmup=0)
        if settings.k is not None and settings.k > max(tried.state_sizes):
            raise ValueError(
                f"spectrum.k must be at most {max(tried.state_sizes)}, the size of the state of a "
                f"layer, got {settings.k}"
            )

    def checkpoint(self, number: int) -> Path:
        """The newest checkpoint of a trial."""
        return self.folder / f"{number:04d}.safetensors"

    def run(self, trial: Trial, until: int, record: Callable[[EpochRecord], None]) -> None:
        """Trains from the checkpoint to the end of epoch `until`.

        Raises:
            Diverged: a loss, gradient or weight is no longer finite.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        trainer = self.trainer(trial)
        for result in trainer.history[trial.epochs :]:
            record(_epoch_record(result, trainer.notes.get(str(result.epoch), {})))
        while trainer.epoch < until:
            try:
                result = trainer.train_epoch(self._step_callback(trial, trainer.epoch + 1))
                told = {n: note for n, note in trainer.notes.items() if int(n) > trial.epochs}
                trainer.notes = {**told, str(result.epoch): _measured(trainer)}
                trainer.save(self.checkpoint(trial.number))
            except DivergedError as error:
                raise Diverged(str(error)) from error
            record(_epoch_record(result, trainer.notes[str(result.epoch)]))

    def _step_callback(self, trial: Trial, epoch: int) -> Callable[[int, int, float], None] | None:
        on_step = self.on_step
        if on_step is None:
            return None
        return lambda step, steps, loss: on_step(trial, epoch, step, steps, loss)

    def _still_alive(self, trial: Trial, trainer: Trainer) -> Callable[[int, int], None] | None:
        on_step, last = self.on_step, trainer.history[-1]
        if on_step is None:
            return None
        steps = trainer.steps_per_epoch
        return lambda *_: on_step(trial, last.epoch, steps, steps, last.train_loss)

    def spectrum(self, trial: Trial, epoch: int, part: int = 0) -> SpectrumRecord | None:
        """Takes the spectrum of the newest checkpoint, which must be of `epoch`.

        Returns:
            The spectrum, or None where the validation text is too short for that part.

        Raises:
            Diverged: a weight or a tangent vector is not finite.
            OutOfMemory: the tangent vectors do not fit into what memory there is now.
            RuntimeError: the checkpoint is of another epoch.
        """
        settings = self.spectrum_settings
        columns = self._windows()[part * settings.rows : (part + 1) * settings.rows]
        if len(columns) < settings.rows:
            return None
        trainer = self.trainer(trial)
        if trainer.epoch != epoch:
            raise RuntimeError(
                f"the checkpoint of trial {trial.number} must be of epoch {epoch}, "
                f"got {trainer.epoch}"
            )
        started = time.perf_counter()
        options: dict[str, Any] = {"reference": settings.reference}
        if settings.reference is None:
            options = {
                "state_warmup": settings.state_warmup,
                "tangent_warmup": settings.tangent_warmup,
                "every": settings.every,
                "k": settings.k,
                "dtype": getattr(torch, settings.dtype),
                "progress": self._still_alive(trial, trainer),
            }
        model: Any = trainer.model.eval()
        with averaged_parameters(trainer.optimizer), _one_thread():
            for name, weight in model.named_parameters():
                if not weight.isfinite().all():
                    raise Diverged(f"{name} is not finite after epoch {epoch}")
            try:
                spectrum = lyapunov_spectrum(model, columns.to(self.device), **options)
            except TooLittleMemoryError as error:  # for now: other trials hold some of it
                raise OutOfMemory(f"no spectrum after epoch {epoch}: {error}") from error
            except NonFiniteTangentError as error:
                raise Diverged(f"the spectrum after epoch {epoch} failed: {error}") from error
        return _spectrum_record(spectrum, epoch, part, time.perf_counter() - started)

    def trainer(self, trial: Trial) -> Trainer:
        """The trainer of a trial as its newest checkpoint left it, or untrained."""
        trainer = make_trainer(
            self.corpus,
            self.recipe_of(trial),
            trial.candidate,
            density=self.density,
            seed=trial.seed,
            device=self.device,
        )
        path = self.checkpoint(trial.number)
        if path.exists():
            trainer.load(path)
        return trainer

    def recipe_of(self, trial: Trial) -> Recipe:
        """The recipe of a trial: what its candidate does not say is the study's."""
        values = {} if trial.candidate is None else trial.candidate.to_dict()
        changes: dict[str, Any] = {name: values[name] for name in RECIPE if name in values}
        return self.recipe.changed(**changes)

    def best(self, trial: Trial) -> Snapshot:
        """The model of the trial's best epoch by validation loss.

        Raises:
            RuntimeError: no epoch was trained.
        """
        snapshot = self.trainer(trial).best
        if snapshot is None:
            raise RuntimeError(f"trial {trial.number} must have trained an epoch, got none")
        return snapshot

    def _windows(self) -> Tensor:
        """The first tokens of the validation text, the same for every model, (T, B).

        Without the last row, which is a target alone and may be filled up with none.
        """
        return evaluation_columns(self.corpus.valid, self.spectrum_settings.sequences)[:-1]


def make_trainer(
    data: Corpus | Images,
    recipe: Recipe,
    candidate: Candidate | None,
    *,
    density: float,
    seed: int,
    device: str = "cpu",
) -> Trainer:
    """Makes an untrained network of a recipe, and what trains and prunes it.

    Args:
        data: what it is trained and evaluated on.
        recipe: how.
        candidate: how it is pruned; None for a dense network.
        density: share of all weight matrices that it keeps, unless the candidate says.
        seed: of everything random.
        device: where it is trained.
    """
    model = draw_model(recipe, len(data.vocabulary), seed=seed).to(device)
    steps = recipe.steps_per_epoch(len(data.train))
    topology = None
    if candidate is not None:
        topology = Topology(
            model,
            method(candidate.method, **_controls(candidate, steps)),
            density=candidate.density or density,
            seed=seed,
            steps=steps * recipe.epochs,
        )
    return Trainer(model, data, recipe, topology=topology, seed=seed)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: its small QR factorisations lose more than they win from another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _controls(candidate: Candidate, steps_per_epoch: int) -> dict[str, Any]:
    """What the catalogue must be told of a candidate.

    A method without an interval of its own changes once an epoch, in the first step after the
    evaluation, so that a model is judged with the connections it was trained with.
    """
    told = {*ACTIVE[candidate.method], *dict(candidate.controls)}
    controls = {name: value for name, value in candidate.to_dict().items() if name in told}
    needs_interval = "every" in needed_controls(candidate.method)
    return ({"every": steps_per_epoch, "begin": 1} if needs_interval else {}) | controls


def _measured(trainer: Trainer) -> dict[str, Any]:
    """What can only be measured while the model is as the newest epoch left it."""
    measured: dict[str, Any] = {}
    if isinstance(trainer.model, LanguageModel):
        masks = trainer.model.masks()
        measured |= {
            "non_zeros": sum(int(mask.sum()) for mask in masks.values()),
            "densities": {name: float(mask.float().mean()) for name, mask in masks.items()},
            "token_milliseconds": token_milliseconds(trainer.model),
        }
    if trainer.topology is not None:
        change = trainer.topology.change()
        measured |= {"survival": change.survival(), "explored": change.explored_share()}
    return measured


def _epoch_record(result: EpochResult, measured: Mapping[str, Any]) -> EpochRecord:
    details = {
        "train_seconds": result.train_seconds,
        "learning_rate": result.learning_rate,
        "averaging": result.averaging,
        **measured,
    }
    return EpochRecord(
        epoch=result.epoch,
        train_loss=result.train_loss,
        valid_loss=result.valid_loss,
        density=result.density,
        tokens=result.tokens,
        seconds=result.seconds,
        details=details,
    )


def _spectrum_record(spectrum: Spectrum, epoch: int, part: int, seconds: float) -> SpectrumRecord:
    conventions = {name: value for name, value in spectrum.to_dict().items() if name not in ARRAYS}
    return SpectrumRecord(
        epoch=epoch,
        part=part,
        exponents=np.array(spectrum.exponents),
        standard_errors=None
        if spectrum.standard_errors is None
        else np.array(spectrum.standard_errors),
        conventions=conventions,
        seconds=seconds,
    )
