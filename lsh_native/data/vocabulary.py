"""Which tokens there are, and the number of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


class UnknownTokenError(ValueError):
    """A token that the vocabulary does not hold.

    Args:
        token: the token.
        position: how many tokens came before it.
        place: where that is for a reader, e.g. ``"line 7 of valid.txt"``.
    """

    def __init__(self, token: str, position: int, place: str = "") -> None:
        super().__init__(token, position, place)
        self.token = token
        self.position = position
        self.place = place or f"position {position}"

    def __str__(self) -> str:
        return (
            f"every token must be in the vocabulary, got {_shown(self.token)} at {self.place}: "
            "build the vocabulary from a text that holds it, or name a token that stands for "
            "unknown ones, e.g. unknown='<unk>'"
        )


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tokens in the order of their ids.

    Args:
        tokens: different, non-empty strings; ``tokens[i]`` has the id ``i``.

    Raises:
        TypeError: if a token is not a string.
        ValueError: if there is no token, or one is empty, repeated or not valid Unicode.

    Example:
        >>> vocabulary = Vocabulary(tokens=("the", "cat", "<eos>"))
        >>> vocabulary.encode(["the", "cat", "<eos>", "the"])
        tensor([0, 1, 2, 0])
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, tuple):
            raise TypeError(f"tokens must be a tuple, got {type(self.tokens).__name__}")
        if not self.tokens:
            raise ValueError("tokens must not be empty")
        seen: set[str] = set()
        for position, token in enumerate(self.tokens):
            if not isinstance(token, str):
                raise TypeError(
                    f"tokens must be strings, got {type(token).__name__} at position {position}"
                )
            if not token or token in seen or not _is_unicode(token):
                raise ValueError(
                    "tokens must be different, not empty and valid Unicode, "
                    f"got {_shown(token)} at position {position}"
                )
            seen.add(token)

    @classmethod
    def first_seen(cls, tokens: Iterable[str]) -> Vocabulary:
        """Return the vocabulary of a text: its different tokens in order of first appearance."""
        return cls(tokens=tuple(dict.fromkeys(tokens)))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def encode(self, tokens: Iterable[str], *, unknown: str | None = None) -> Tensor:
        """Return the ids of ``tokens``.

        Args:
            tokens: the text.
            unknown: the token of this vocabulary that stands for every token outside it, usually
                ``"<unk>"``; None to refuse such tokens.

        Returns:
            int64 tensor (T,).

        Raises:
            UnknownTokenError: if a token is not in the vocabulary and nothing stands for it.
            ValueError: if ``unknown`` itself is not in the vocabulary.
        """
        ids = self._ids
        if unknown is not None and unknown not in ids:
            raise ValueError(
                f"unknown must be a token of the vocabulary, got {_shown(unknown)}, "
                f"which is not among its {len(self):,} tokens"
            )
        stand_in = -1 if unknown is None else ids[unknown]

        def numbers() -> Iterator[int]:
            for position, token in enumerate(tokens):
                number = ids.get(token, stand_in)
                if number < 0:
                    raise UnknownTokenError(token, position)
                yield number

        return torch.from_numpy(np.fromiter(numbers(), dtype=np.int64))

    def decode(self, ids: Tensor | Iterable[int]) -> list[str]:
        """Return the tokens with the given ids, a 1-D tensor or any iterable of integers."""
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        for position, number in enumerate(numbers):
            if not isinstance(number, (int, np.integer)) or not 0 <= number < len(self):
                raise ValueError(
                    f"ids must be integers in [0, {len(self)}), got {number} at position {position}"
                )
        return [self.tokens[number] for number in numbers]

    @cached_property
    def hash(self) -> str:
        """SHA-256 in hexadecimal over the tokens in order, each preceded by its length."""
        digest = hashlib.sha256()
        for token in self.tokens:
            encoded = token.encode()
            digest.update(b"%d:" % len(encoded))
            digest.update(encoded)
        return digest.hexdigest()

    def to_dict(self) -> dict[str, object]:
        """Return what `from_dict` reads: plain values that JSON can hold."""
        return {"tokens": list(self.tokens), "hash": self.hash}

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> Vocabulary:
        """Return the vocabulary that `to_dict` wrote.

        Raises:
            ValueError: if a part is missing, or the tokens are not those that were written.
        """
        tokens = stored.get("tokens")
        if not isinstance(tokens, list) or "hash" not in stored:
            raise ValueError(
                "a stored vocabulary must hold a list 'tokens' and their 'hash', "
                f"got {type(tokens).__name__} and {sorted(map(str, stored))}"
            )
        vocabulary = cls(tokens=tuple(tokens))
        if vocabulary.hash != stored["hash"]:
            raise ValueError(
                f"a stored vocabulary must match its hash {stored['hash']}, "
                f"got tokens with the hash {vocabulary.hash}"
            )
        return vocabulary

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}


def _is_unicode(token: str) -> bool:
    # half of a surrogate pair is a str and yet no character: it has no bytes to hash or to store
    return not any("\ud800" <= character <= "\udfff" for character in token)


def _shown(token: str, longest: int = 40) -> str:
    # repr escapes line ends, control and direction characters, so that the message stays one line
    return repr(token if len(token) <= longest else token[:longest] + "…")
