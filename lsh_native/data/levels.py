"""What counts as one token: a word, a character or a byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Level:
    r"""A way to cut a line of text into tokens.

    Args:
        name: what one token is, in the singular.
        encoding: how bytes become the text that ``split`` is given.
        split: maps a line, with the ``"\n"`` that ends it, to its tokens.
        alphabet: every token that can occur, where that is known beforehand; otherwise None, and
            the training text says which there are.
    """

    name: str
    encoding: str
    split: Callable[[str], list[str]]
    alphabet: tuple[str, ...] | None = None


def words(line: str) -> list[str]:
    """Return the words between white space, and ``<eos>`` for the end of the line."""
    return [*line.split(), "<eos>"]


WORDS = Level(name="word", encoding="utf-8", split=words)
CHARACTERS = Level(name="character", encoding="utf-8", split=list)
# Latin-1 maps byte b to the character with code b, so any file can be read and nothing is unknown.
BYTES = Level(
    name="byte", encoding="latin-1", split=list, alphabet=tuple(chr(byte) for byte in range(256))
)


def level_of(tokens: Sequence[str]) -> Level:
    """Return the level whose texts have these tokens for their vocabulary."""
    if tuple(tokens) == BYTES.alphabet:
        return BYTES
    # the one long token that a vocabulary of characters may hold stands for unknown ones
    long = [token for token in tokens if len(token) > 1]
    return WORDS if "<eos>" in long or len(long) > 1 else CHARACTERS


LEVELS: Mapping[str, Level] = {level.name: level for level in (WORDS, CHARACTERS, BYTES)}
