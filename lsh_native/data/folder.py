"""A folder of text becomes a corpus: finding, reading and checking its three files."""

from __future__ import annotations

import gzip
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, chain
from os import PathLike
from pathlib import Path

from torch import Tensor

from lsh_native.data.corpus import SPLITS, Corpus
from lsh_native.data.levels import WORDS, Level
from lsh_native.data.published import PUBLISHED, recognise
from lsh_native.data.vocabulary import UnknownTokenError, Vocabulary

FILE_NAMES = tuple(dict.fromkeys(["{split}.txt", *(corpus.files for corpus in PUBLISHED)]))


class CorpusError(ValueError):
    """A folder or a file that cannot be read as a corpus."""


def read_corpus(
    folder: str | PathLike[str],
    *,
    level: Level = WORDS,
    vocabulary: Vocabulary | None = None,
    unknown: str | None = None,
    limit: int | None = None,
    vocabulary_size: int | None = None,
) -> Corpus:
    r"""Read the training, validation and test text of a folder.

    The files are called ``train.txt``, ``valid.txt``, ``test.txt``, or ``ptb.*.txt``, or
    ``wiki.*.tokens``, each either plain or compressed as ``.gz``. Lines end at ``"\n"`` and
    nowhere else. A published corpus is recognised by its counts (`recognise`).

    Args:
        folder: where the three files are.
        level: what one token is: `WORDS`, `CHARACTERS`, `BYTES`, or a level of your own.
        vocabulary: the tokens to use, e.g. those of a stored model; None for the tokens of the
            training text in order of first appearance.
        unknown: the token that stands for tokens outside the vocabulary, usually ``"<unk>"``;
            the last of the vocabulary where the training text lacks it. None to refuse such tokens.
        limit: keep the first ``limit`` training tokens, and at most a tenth as many for
            validation and for test. The vocabulary stays that of the whole training text, so a
            limit makes the text shorter and leaves the task as it is.
        vocabulary_size: keep only so many tokens of the training text's vocabulary, ``unknown``
            and the most frequent; ``unknown`` stands for the others.

    Returns:
        The corpus, named after what was recognised or else after the folder.

    Raises:
        CorpusError: if the folder or a file is missing, there are two files for one split, or a
            file is empty, not text, damaged, without two different tokens to learn from, or
            not what its name promises.
        UnknownTokenError: if a token is outside the vocabulary and nothing stands for it.
        ValueError: if ``limit`` is below 20, ``unknown`` is not in the vocabulary that is given or
            that the level fixes, or ``vocabulary_size`` is below 2 or comes with such a vocabulary.
    """
    if limit is not None and (isinstance(limit, bool) or limit < 20):
        raise ValueError(f"limit must be at least 20 tokens, got {limit}")
    fixed = vocabulary is not None or level.alphabet is not None
    if vocabulary_size is not None and (vocabulary_size < 2 or fixed):
        came = f"{vocabulary_size}{' beside a vocabulary' if fixed else ''}"
        raise ValueError(f"vocabulary_size must be at least 2 and stand alone, got {came}")
    folder = Path(folder)
    names = {split: _file_name(folder, split) for split in SPLITS}
    paths = {split: folder / name for split, (_, name) in names.items()}
    own_vocabulary = vocabulary is None
    if vocabulary is None:
        vocabulary = _vocabulary(paths["train"], level)
    types = len(vocabulary)
    if unknown is not None and unknown not in vocabulary and not fixed:
        vocabulary = Vocabulary(tokens=(*vocabulary.tokens, unknown))
    cut = vocabulary_size is not None and vocabulary_size < len(vocabulary)
    if vocabulary_size is not None and cut:
        vocabulary = _most_frequent(paths["train"], level, vocabulary, vocabulary_size, unknown)
    ids = {split: _ids(path, level, vocabulary, unknown) for split, path in paths.items()}
    if bool((ids["train"] == ids["train"][0]).all()):
        raise CorpusError(
            f"{paths['train']} must hold at least two different tokens, "
            f"got the same one {len(ids['train']):,} times"
        )

    name = folder.resolve().name
    if level is WORDS:
        patterns = {pattern for pattern, _ in names.values()}
        # by another's vocabulary a text is told from its counts, but its name promises none of them
        shared = patterns.pop() if len(patterns) == 1 and own_vocabulary else None
        counts = (len(ids["train"]), len(ids["valid"]), len(ids["test"]))
        try:
            published = recognise(shared, counts, types)
        except ValueError as error:
            raise CorpusError(f"in {folder}, {error}") from None
        name = published.name if published else name
    if limit is not None and limit < len(ids["train"]):
        keep = {"train": limit, "valid": limit // 10, "test": limit // 10}
        ids = {split: tokens[: keep[split]].clone() for split, tokens in ids.items()}
        name = f"{name}, first {limit:,} tokens"
    if cut:
        name = f"{name}, {len(vocabulary):,} types"
    return Corpus(
        name=name,
        level=level,
        vocabulary=vocabulary,
        train=ids["train"],
        valid=ids["valid"],
        test=ids["test"],
    )


def _file_name(folder: Path, split: str) -> tuple[str, str]:
    """Return the pattern, one of `FILE_NAMES`, and the name of the one file of a split."""
    if not folder.is_dir():
        came = "a file" if folder.exists() else "nothing there"
        raise CorpusError(f"a corpus must be a folder with {split} text, got {came}: {folder}")
    candidates = [
        (pattern, pattern.format(split=split) + suffix)
        for pattern in FILE_NAMES
        for suffix in ("", ".gz")
    ]
    found = [(pattern, name) for pattern, name in candidates if (folder / name).is_file()]
    if len(found) != 1:
        looked_for = ", ".join(pattern.format(split=split) for pattern in FILE_NAMES)
        came = " and ".join(name for _, name in found) or "none"
        raise CorpusError(
            f"{folder} must hold exactly one file of {split} text, got {came}; "
            f"looked for {looked_for}, each also as .gz"
        )
    return found[0]


def _vocabulary(train: Path, level: Level) -> Vocabulary:
    if level.alphabet is not None:
        return Vocabulary(tokens=level.alphabet)
    tokens = dict.fromkeys(chain.from_iterable(_lines(train, level)))
    if not tokens:
        raise CorpusError(f"{train} must hold text, got an empty file")
    return Vocabulary(tokens=tuple(tokens))


def _most_frequent(
    train: Path, level: Level, vocabulary: Vocabulary, count: int, unknown: str | None
) -> Vocabulary:
    """The stand-in and the most frequent tokens, the earlier of equals, in their own order."""
    counts = Counter(chain.from_iterable(_lines(train, level)))
    if unknown is not None:
        counts[unknown] = counts.total() + 1  # it gets the places of all that are left out
    kept = {token for token, _ in counts.most_common(count)}
    return Vocabulary(tokens=tuple(token for token in vocabulary.tokens if token in kept))


def _ids(path: Path, level: Level, vocabulary: Vocabulary, unknown: str | None) -> Tensor:
    try:
        ids = vocabulary.encode(chain.from_iterable(_lines(path, level)), unknown=unknown)
    except UnknownTokenError as error:
        ends = list(accumulate(len(tokens) for tokens in _lines(path, level)))
        place = f"line {bisect_right(ends, error.position) + 1:,} of {path}"
        raise UnknownTokenError(error.token, error.position, place) from None
    if len(ids) < 2:
        came = "an empty file" if len(ids) == 0 else "one token"
        raise CorpusError(f"{path} must hold at least two tokens, got {came}")
    return ids


def _lines(path: Path, level: Level) -> Iterator[list[str]]:
    """Yield the tokens of a file line by line, so that no whole text is ever in memory."""
    offset = 0
    compressed = path.suffix == ".gz"
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            for line in file:
                yield level.split(_text(line, level.encoding, first=offset == 0))
                offset += len(line)
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} must be {level.encoding} text, got the byte "
            f"0x{error.object[error.start]:02x} at offset {offset + error.start:,}"
            + (" after decompression" if compressed else "")
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        kind = "whole gzip file" if compressed else "file"
        raise CorpusError(f"{path} must be a readable {kind}, got: {error}") from error


def _text(line: bytes, encoding: str, *, first: bool) -> str:
    text = line.decode(encoding)
    if encoding != "utf-8":
        return text
    if (zero := line.find(0)) >= 0:
        raise UnicodeDecodeError(encoding, line, zero, zero + 1, "no text holds a zero byte")
    # some editors open a file with a byte order mark, which is no part of its first word
    return text.removeprefix("\ufeff") if first else text
