"""Which text or images a command works on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsh_native.data import Corpus, Images, digits, generate_corpus, read_corpus, read_images
from lsh_native.data.generated import TRAIN_TOKENS, VOCABULARY_SIZE
from lsh_native.data.levels import LEVELS
from lsh_native.models import Model

__all__ = ["DataSettings", "beside_floor", "load_corpus", "load_data"]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """How a text becomes tokens.

    Args:
        level: what a token is: a word, a character or a byte.
        limit: keep only so many tokens of the training text, a tenth of it of the others; of
            images, so many for training and validation.
        unknown: token that stands for words the training text lacks, such as "<unk>".
        vocabulary_size: keep only so many types of a text, the most frequent; `unknown` stands for
            the others. The generated text is made of so many, 1,000 by default.
        seed: of the generated text.
        train_tokens: length of the generated text.
    """

    level: Literal["word", "character", "byte"] = "word"
    limit: int | None = None
    unknown: str | None = None
    vocabulary_size: int | None = None
    seed: int = 0
    train_tokens: int = TRAIN_TOKENS


def load_corpus(folder: Path | None, settings: DataSettings) -> Corpus:
    """Reads a folder's text, or generates the default one.

    Args:
        folder: with train, valid and test files; None for the generated text.
        settings: how it becomes tokens.
    """
    if folder is None:
        return generate_corpus(
            seed=settings.seed,
            train_tokens=settings.train_tokens,
            vocabulary_size=settings.vocabulary_size or VOCABULARY_SIZE,
        )
    return read_corpus(
        folder,
        level=LEVELS[settings.level],
        limit=settings.limit,
        unknown=settings.unknown,
        vocabulary_size=settings.vocabulary_size,
    )


def load_data(model: Model, folder: Path | None, settings: DataSettings) -> Corpus | Images:
    """What a model reads: a text, or images with every twelfth one held out for validation.

    Args:
        model: decides which.
        folder: of text, see `load_corpus`; of images, with the four IDX files of MNIST's form, or
            None for scikit-learn's digits.
        settings: of text, how it becomes tokens; of images, their limit.
    """
    if model.reads == "text":
        return load_corpus(folder, settings)
    images = digits() if folder is None else read_images(folder)
    return images.held_out(limit=settings.limit)


def beside_floor(loss: float, corpus: Corpus) -> str:
    """A loss in nats per token as bits, beside the entropy of the source where it is known."""
    bits = loss / math.log(2)
    if not corpus.entropy:
        return f"{bits:.4f} bits a token"
    excess = loss / corpus.entropy - 1
    return f"{bits:.4f} bits a token, floor {corpus.entropy / math.log(2):.4f}, {excess:+.2%}"
