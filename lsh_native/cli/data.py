"""Which text a command works on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsh_native.data import Corpus, generate_corpus, read_corpus
from lsh_native.data.generated import TRAIN_TOKENS, VOCABULARY_SIZE
from lsh_native.data.levels import LEVELS

__all__ = ["DataSettings", "load_corpus"]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """How a text becomes tokens.

    Args:
        level: what a token is: a word, a character or a byte.
        limit: keep only so many tokens of the training text, a tenth of it of the others.
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
