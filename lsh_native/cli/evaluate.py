"""`lsh-native evaluate`: how well a trained model predicts a text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

from lsh_native.cli.data import DataSettings, load_corpus
from lsh_native.cli.threads import use_threads
from lsh_native.training import evaluate as mean_loss
from lsh_native.training import load_model, perplexity

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
    """Prints the exact perplexity per token of a model on a text.

    Args:
        model: a model file that `train` or `search` wrote.
        data: folder with the text; without it the generated text.
        split: which of its three texts.
        batch_size: columns that are read side by side, each from a zero state; 1 reads the text
            from beginning to end.
        window: steps at once, which bound the memory and not the result.
        device: where it is computed.
        text: how the text becomes tokens.
        as_json: print one line of JSON.
        threads: threads to compute on; torch's choice by default.
    """
    use_threads(threads)
    saved = load_model(model)
    corpus = load_corpus(data, text)
    saved.require_vocabulary(corpus.vocabulary, corpus.name)
    tokens = getattr(corpus, split)
    loss = mean_loss(saved.model.to(device), tokens, batch_size=batch_size, window=window)
    if as_json:
        values = {"split": split, "batch_size": batch_size, "tokens": len(tokens) - 1, "loss": loss}
        print(json.dumps({**values, "perplexity": perplexity(loss)}))
        return
    print(
        f"{corpus.name}, {split}: perplexity {perplexity(loss):.3f} over {len(tokens) - 1:,} "
        f"tokens in {batch_size} columns; {loss:.4f} nats or {loss / math.log(2):.4f} bits a token"
        + (f"; floor {corpus.entropy / math.log(2):.4f} bits" if corpus.entropy else "")
    )
