"""The corpora whose published token counts a reader can rely on."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PublishedCorpus:
    """What is known of a word-level corpus, with one ``<eos>`` a line.

    Args:
        name: what people call it.
        files: its file names, with ``{split}`` in the place of train, valid and test.
        tokens: number of tokens in train, valid and test.
        types: number of different tokens in train.
    """

    name: str
    files: str
    tokens: tuple[int, int, int]
    types: int


PUBLISHED = (
    PublishedCorpus(
        name="Penn Treebank",
        files="ptb.{split}.txt",
        tokens=(929_589, 73_760, 82_430),
        types=10_000,
    ),
    PublishedCorpus(
        name="WikiText-2",
        files="wiki.{split}.tokens",
        tokens=(2_088_628, 217_646, 245_569),
        types=33_278,
    ),
    PublishedCorpus(
        name="WikiText-103",
        files="wiki.{split}.tokens",
        tokens=(103_227_021, 217_646, 245_569),
        types=267_735,
    ),
)


def recognise(
    files: str | None, tokens: tuple[int, int, int], types: int
) -> PublishedCorpus | None:
    """Return the published corpus that a word-level text is, or None.

    The counts decide, whatever the files are called. A name that only a published corpus has
    promises its counts; the plain ``train.txt`` promises nothing.

    Args:
        files: the name that all three files share, as in `PublishedCorpus`; None for a mixture.
        tokens: number of tokens in train, valid and test.
        types: number of different tokens in train.

    Raises:
        ValueError: if the files are named as those of a published corpus and the counts differ.
    """
    for corpus in PUBLISHED:
        if (corpus.tokens, corpus.types) == (tokens, types):
            return corpus
    promised = [corpus for corpus in PUBLISHED if corpus.files == files]
    if not promised:
        return None
    nearest = min(promised, key=lambda corpus: abs(math.log(corpus.tokens[0] / tokens[0])))
    raise ValueError(
        f"files named {nearest.files.format(split='*')} must hold {nearest.name}, "
        f"{_counts(nearest.tokens, nearest.types)}, got {_counts(tokens, types)}: "
        "usually the raw text lies in the place of the tokenised one, or the text was cut; "
        "name files of your own train.txt, valid.txt and test.txt"
    )


def _counts(tokens: tuple[int, int, int], types: int) -> str:
    train, valid, test = tokens
    return f"{train:,} / {valid:,} / {test:,} tokens of {types:,} types"
