"""`lsh-native generate`: text that a trained model makes up."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch

from lsh_native.cli.threads import use_threads
from lsh_native.training import generate as tokens_of
from lsh_native.training import load_model

__all__ = ["generate"]


def generate(
    model: Path,
    prompt: str = "",
    length: int = 200,
    temperature: float = 1.0,
    seed: int = 0,
    unknown: bool = False,
    threads: int | None = None,
) -> None:
    """Prints text that a model makes up.

    Args:
        model: a model file that `train` or `search` wrote.
        prompt: what the text begins with; by default the end of a line.
        length: tokens to make.
        temperature: below 1 likelier tokens get likelier; 0 takes the likeliest.
        seed: of what is drawn.
        unknown: whether "<unk>" may stand in the text.
        threads: threads to compute on; torch's choice by default.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    use_threads(threads)
    saved = load_model(model)
    tokens = saved.vocabulary.tokens
    by_words = max(map(len, tokens)) > 1
    end = "<eos>" if by_words else "\n"
    start = (prompt.split() if by_words else list(prompt)) or [end if end in tokens else tokens[0]]
    drawn = tokens_of(
        saved.language_model,
        saved.vocabulary.encode(start, unknown="<unk>" if "<unk>" in tokens else None).tolist(),
        generator=torch.Generator().manual_seed(seed),
        temperature=temperature,
        banned=[] if unknown or "<unk>" not in tokens else [tokens.index("<unk>")],
    )
    made = [*(start if prompt else []), *saved.vocabulary.decode(islice(drawn, length))]
    if by_words:
        print(" ".join("\n" if word == "<eos>" else word for word in made).replace("\n ", "\n"))
    else:
        print("".join(made))
