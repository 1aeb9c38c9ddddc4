"""`lsh-native train`: trains one network of a recipe, dense or pruned one way."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from lsh_native.cli.data import DataSettings, beside_floor, load_data
from lsh_native.cli.device import require_device
from lsh_native.cli.files import OPTIONS
from lsh_native.cli.options import keep_options
from lsh_native.cli.threads import use_threads
from lsh_native.cli.training_line import TrainingLine
from lsh_native.data import Corpus, Images
from lsh_native.search.candidate import Candidate
from lsh_native.search.training_runner import make_trainer
from lsh_native.training import (
    EpochResult,
    EpochTable,
    JsonLines,
    Recipe,
    Tracker,
    save_model,
    tensorboard,
)
from lsh_native.training import train as train_in_folder

__all__ = ["train"]


def train(
    data: Path | None = None,
    output: Path = Path("lsh-model"),
    sparsity: float = 0.0,
    candidate: Candidate = Candidate(  # noqa: B008 - frozen
        initial="erdos_renyi",
        drop="global_magnitude",
        grow="random",
        redistribute="nonzeros",
        drop_fraction=0.7,
    ),
    seed: int = 0,
    recipe: Recipe = Recipe(),  # noqa: B008
    text: DataSettings = DataSettings(),  # noqa: B008
    device: Literal["cpu", "cuda"] = "cpu",
    save_every: float = 600.0,
    log_every: int = 100,
    board: Path | None = None,
    threads: int | None = None,
) -> None:
    """Trains one network; run again, it goes on from its last checkpoint, bit for bit.

    Args:
        data: folder with train, valid and test text, or with images of MNIST's form for a model
            that reads them; without it a text of known entropy is made.
        output: folder for the checkpoint, the model and the logs.
        sparsity: share of all weight matrices to remove, in [0, 1); 0 trains the dense network.
        candidate: how it is pruned, if at all; the published winner by default.
        seed: of everything random.
        recipe: model and training.
        text: how the text becomes tokens, and how much of it, or of the images, is used.
        device: where it is trained.
        save_every: seconds from one checkpoint to the next within an epoch.
        log_every: steps from one line of the log to the next.
        board: folder for TensorBoard, where it is installed.
        threads: threads to compute on; torch's choice by default.
    """
    options = dict(locals())
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}")
    require_device(device)
    use_threads(threads)
    if device == "cuda":  # or nothing would go on bit for bit
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    read = load_data(recipe.model, data, text)
    trainer = make_trainer(
        read,
        recipe,
        candidate if sparsity > 0 else None,
        density=1 - sparsity,
        seed=seed,
        device=device,
    )
    trackers: list[Tracker] = [
        JsonLines(output / "log.jsonl", every=log_every),
        EpochTable(output / "epochs.csv"),
    ]
    if board is not None:
        trackers.append(tensorboard(board))
    with TrainingLine(recipe) as line:
        best = train_in_folder(
            trainer,
            output,
            trackers=(*trackers, line),
            save_every=save_every,
            ready=partial(keep_options, options, output / OPTIONS, without=("output",)),
        )
    path = output / "model.safetensors"
    save_model(path, best, recipe, read.vocabulary)
    print(f"{path}: epoch {best.epoch}, {judged(trainer.history[best.epoch - 1], read)}")


def judged(result: EpochResult, data: Corpus | Images) -> str:
    """How well a network does on its validation data, beside the best possible where known."""
    if result.accuracy is not None:
        return f"validation accuracy {result.accuracy:.2%}"
    said = f"validation perplexity {result.perplexity:.2f}"
    if isinstance(data, Corpus) and data.best_perplexity is not None:
        said += (
            f", best possible {data.best_perplexity:.2f}; {beside_floor(result.valid_loss, data)}"
        )
    return said
