"""Which text or images a command works on."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from lsh_native.data import (
    LEVELS,
    Corpus,
    Images,
    UnknownTokenError,
    Vocabulary,
    digits,
    generate_corpus,
    level_of,
    read_corpus,
    read_images,
)
from lsh_native.data.generated import SMALLEST_VOCABULARY, TRAIN_TOKENS, VOCABULARY_SIZE
from lsh_native.models import Model

__all__ = ["UNKNOWN", "DataSettings", "beside_floor", "load_corpus", "load_data"]

UNKNOWN = "<unk>"
"""What texts by custom write for a word that is left out."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """How a text becomes tokens.

    Args:
        level: what a token is: a word, a character or a byte. A trained model has a level already.
        limit: keep only so many tokens of the training text, a tenth of it of the others; of
            images, so many for training and validation.
        unknown: token that stands for words the training text lacks, such as "<unk>", which a
            trained model takes if it knows it.
        vocabulary_size: keep only so many types of a text, the most frequent; `unknown` stands for
            the others. The generated text is made of so many, 1,000 by default. A trained model has
            a vocabulary already.
        seed: of the generated text.
        train_tokens: length of the generated text.
    """

    level: Literal["word", "character", "byte"] = "word"
    limit: int | None = None
    unknown: str | None = None
    vocabulary_size: int | None = None
    seed: int = 0
    train_tokens: int = TRAIN_TOKENS


# The settings that each kind of data reads.
_GENERATED = ("vocabulary_size", "seed", "train_tokens")
_READ = ("level", "limit", "unknown", "vocabulary_size")
_IMAGES = ("limit",)


def load_corpus(
    folder: Path | None, settings: DataSettings, vocabulary: Vocabulary | None = None
) -> Corpus:
    """Reads a folder's text, or generates the default one.

    Args:
        folder: with train, valid and test files; None for the generated text.
        settings: how it becomes tokens.
        vocabulary: of a trained model, whose level and tokens the text is read by.

    Raises:
        ValueError: a setting is not for such a text, or is not what the model was trained with; or
            there is no such text.
    """
    _refuse_ignored(settings, _GENERATED if folder is None else _READ)
    size = settings.vocabulary_size
    if vocabulary is not None and size not in (None, len(vocabulary)):
        raise ValueError(
            f"text.vocabulary_size must be left to the model, which has {len(vocabulary):,} types, "
            f"got {size:,}"
        )
    if folder is None:
        if size is None and vocabulary is not None:
            size = max(len(vocabulary), SMALLEST_VOCABULARY)
        return generate_corpus(
            seed=settings.seed,
            train_tokens=settings.train_tokens,
            vocabulary_size=VOCABULARY_SIZE if size is None else size,
        )
    level, unknown = LEVELS[settings.level], settings.unknown
    if vocabulary is not None:
        trained, size = level_of(vocabulary.tokens), None
        if settings.level not in (DataSettings.level, trained.name):
            raise ValueError(
                f"text.level must be left to the model, whose tokens are those of a {trained.name} "
                f"level, got {settings.level}"
            )
        level = trained
        if unknown is None and UNKNOWN in vocabulary:
            unknown = UNKNOWN
    try:
        return read_corpus(
            folder,
            level=level,
            vocabulary=vocabulary,
            limit=settings.limit,
            unknown=unknown,
            vocabulary_size=size,
        )
    except UnknownTokenError as error:
        raise ValueError(
            f"{error.token[:40]!r} at {error.place} must be a token of the "
            + (
                f'training text, or --text.unknown must name one for all such: "{UNKNOWN}"'
                if vocabulary is None
                else "model, or --text.unknown must name one of its tokens for all such"
            )
        ) from error


def load_data(
    model: Model, folder: Path | None, settings: DataSettings, vocabulary: Vocabulary | None = None
) -> Corpus | Images:
    """What a model reads: a text, or images with every twelfth one held out for validation.

    Args:
        model: decides which.
        folder: of text, see `load_corpus`; of images, with the four IDX files of MNIST's form, or
            None for scikit-learn's digits.
        settings: of text, how it becomes tokens; of images, their limit.
        vocabulary: of a trained model; see `load_corpus`.
    """
    if model.reads == "text":
        return load_corpus(folder, settings, vocabulary)
    _refuse_ignored(settings, _IMAGES)
    images = digits() if folder is None else read_images(folder)
    return images.held_out(limit=settings.limit)


def _refuse_ignored(settings: DataSettings, read: tuple[str, ...]) -> None:
    """Refuses settings that other data would read."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name not in read and value != field.default:
            kind = "images" if read is _IMAGES else "the text of a folder"
            if read is _GENERATED:
                kind = "a text that is generated, as it is without --data"
            raise ValueError(f"text.{field.name} must be left out for {kind}, got {value}")


def beside_floor(loss: float, corpus: Corpus) -> str:
    """A loss in nats per token as bits, beside the entropy of the source where it is known."""
    bits = loss / math.log(2)
    if not corpus.entropy:
        return f"{bits:.4f} bits a token"
    excess = loss / corpus.entropy - 1
    return f"{bits:.4f} bits a token, floor {corpus.entropy / math.log(2):.4f}, {excess:+.2%}"
