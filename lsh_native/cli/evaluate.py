"""`lsh-native evaluate`: how well a trained model predicts a text, or tells the class of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from lsh_native.cli.data import DataSettings, beside_floor, load_data
from lsh_native.cli.device import require_device
from lsh_native.cli.threads import use_threads
from lsh_native.data import Corpus
from lsh_native.training import evaluate as mean_loss
from lsh_native.training import evaluate_classifier, load_model, perplexity

__all__ = ["evaluate"]


def evaluate(
    model: Path,
    data: Path | None = None,
    split: Literal["train", "valid", "test"] = "test",
    batch_size: int = 1,
    window: int = 100,
    device: Literal["cpu", "cuda"] = "cpu",
    text: DataSettings = DataSettings(),  # noqa: B008 - frozen
    as_json: bool = False,
    threads: int | None = None,
) -> None:
    """Prints the exact perplexity per token of a model on a text, or a classifier's accuracy.

    Args:
        model: a model file that `train` or `search` wrote.
        data: folder with the text or the images; without it the generated text, or digits.
        split: which part of it.
        batch_size: columns that are read side by side, each from a zero state; 1 reads the text
            from beginning to end. Of images, how many at once.
        window: steps at once, which bound the memory and not the result.
        device: where it is computed.
        text: how the text becomes tokens.
        as_json: print one line of JSON.
        threads: threads to compute on; torch's choice by default.
    """
    require_device(device)
    use_threads(threads)
    saved = load_model(model)
    read = load_data(saved.recipe.model, data, text, saved.vocabulary)
    saved.require_vocabulary(read.vocabulary, read.name)
    values: dict[str, Any] = {"split": split, "batch_size": batch_size}
    if isinstance(read, Corpus):
        tokens, network = getattr(read, split), saved.language_model.to(device)
        loss = mean_loss(network, tokens, batch_size=batch_size, window=window)
        values |= {"tokens": len(tokens) - 1, "loss": loss, "perplexity": perplexity(loss)}
        sentence = (
            f"perplexity {perplexity(loss):.3f} over {len(tokens) - 1:,} tokens in {batch_size} "
            f"columns; {loss:.4f} nats or {beside_floor(loss, read)}"
        )
    else:
        kind = saved.recipe.torch_dtype
        images, labels = getattr(read, split), getattr(read, f"{split}_labels")
        found = evaluate_classifier(
            saved.model.to(device),
            images.to(device, kind),
            labels.to(device),
            batch_size=batch_size,
        )
        values |= {"images": len(images), "loss": found.loss, "accuracy": found.accuracy}
        sentence = (
            f"accuracy {found.accuracy:.2%} of {len(images):,} images; "
            f"{found.loss:.4f} nats an image"
        )
    print(json.dumps(values) if as_json else f"{read.name}, {split}: {sentence}")
