"""Measures finished networks side by side: perplexity, size on disk, speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lsh_native.data import Corpus
from lsh_native.nn import LanguageModel
from lsh_native.nn.recurrent import SparseRecurrent
from lsh_native.report.final import ModelFigures, count_blocks
from lsh_native.search.result import TrialSummary
from lsh_native.search.trial import EpochRecord
from lsh_native.training import SavedModel, evaluate, load_model, perplexity

__all__ = ["measure_models"]

_TIMED_TOKENS = 20_000
_REPEATS = 3


def measure_models(
    models: Sequence[tuple[TrialSummary, Path, Sequence[EpochRecord]]],
    corpus: Corpus,
    *,
    device: str = "cpu",
) -> list[ModelFigures]:
    """Measures models one beside the other, so that a machine's mood touches all alike.

    Args:
        models: of each its trial, its file, and the epochs it trained.
        corpus: whose test text is read.
        device: where it is read: the one they were trained on, for speeds to be of one machine.

    Returns:
        Figures of each model, in the same order.
    """
    loaded = [load_model(path) for _, path, _ in models]
    for saved in loaded:
        saved.model.to(device)
    speeds = _inference_speeds(loaded, corpus.test)
    return [
        _figures(summary, path, epochs, saved, speed, corpus)
        for (summary, path, epochs), saved, speed in zip(models, loaded, speeds, strict=True)
    ]


def _figures(
    summary: TrialSummary,
    path: Path,
    epochs: Sequence[EpochRecord],
    saved: SavedModel,
    speed: float,
    corpus: Corpus,
) -> ModelFigures:
    candidate = summary.trial.candidate
    recipe = saved.recipe
    test = evaluate(
        saved.model, corpus.test, batch_size=recipe.evaluation_batch_size, window=recipe.window
    )
    return ModelFigures(
        method="dense" if candidate is None else str(candidate),
        valid_perplexity=perplexity(saved.valid_loss),
        test_perplexity=perplexity(test),
        blocks=count_blocks(saved.language_model.masks(), gates=_gates(saved.language_model)),
        file_bytes=path.stat().st_size,
        training_tokens_per_second=statistics.median(
            epoch.tokens / epoch.details["train_seconds"] for epoch in epochs
        ),
        inference_tokens_per_second=speed,
        epochs=len(epochs),
        seconds=sum(epoch.seconds for epoch in epochs),
    )


def _gates(model: LanguageModel) -> dict[str, tuple[str, ...]]:
    """Names of the gates of each weight whose rows lie gate after gate."""
    return {
        f"{owner}.{weight}": layers.cell.gates
        for owner, layers in model.named_modules()
        if isinstance(layers, SparseRecurrent)
        for weight in layers.masks()
        if weight.startswith(("weight_ih_", "weight_hh_"))
    }


def _inference_speeds(models: Sequence[SavedModel], tokens: Tensor) -> list[float]:
    """Tokens per second of each model over the same text, the median of interleaved runs."""
    tokens = tokens[:_TIMED_TOKENS]
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(_REPEATS):
        for saved, spent in zip(models, seconds, strict=True):
            started = time.perf_counter()
            recipe = saved.recipe
            with torch.inference_mode():
                evaluate(
                    saved.language_model,
                    tokens,
                    batch_size=recipe.evaluation_batch_size,
                    window=recipe.window,
                )
            spent.append(time.perf_counter() - started)
    return [(len(tokens) - 1) / statistics.median(spent) for spent in seconds]
