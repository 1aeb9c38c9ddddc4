"""`lsh-native generate`: text that a trained model makes up."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch

from lsh_native.cli.data import UNKNOWN
from lsh_native.cli.threads import use_threads
from lsh_native.data import WORDS, level_of
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
    level = level_of(tokens)
    end = "<eos>" if level is WORDS else "\n"
    # a level reads the bytes of a text by its own encoding, and so those of an option
    read = prompt.encode(errors="surrogateescape").decode(level.encoding)
    given = read.split() if level is WORDS else list(read)
    start = given or [end if end in tokens else tokens[0]]
    drawn = tokens_of(
        saved.language_model,
        saved.vocabulary.encode(start, unknown=UNKNOWN if UNKNOWN in tokens else None).tolist(),
        generator=torch.Generator().manual_seed(seed),
        temperature=temperature,
        banned=[] if unknown or UNKNOWN not in tokens else [tokens.index(UNKNOWN)],
    )
    made = [*given, *saved.vocabulary.decode(islice(drawn, length))]
    if level is WORDS:
        print(" ".join("\n" if word == "<eos>" else word for word in made).replace("\n ", "\n"))
    else:
        print("".join(made).encode(level.encoding).decode(errors="replace"))
