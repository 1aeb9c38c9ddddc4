"""What a model's record must be, and the checks that records share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch

from lsh_native.nn.language_model import LanguageModel
from lsh_native.nn.sequence_classifier import SequenceClassifier

__all__ = [
    "POSITIVE",
    "PROBABILITY",
    "ZERO_OR_POSITIVE",
    "Model",
    "Rule",
    "check_counts",
    "check_flags",
    "check_numbers",
    "check_tied",
]

Rule = tuple[str, Callable[[float], bool]]

PROBABILITY: Rule = ("in [0, 1)", lambda value: 0 <= value < 1)
POSITIVE: Rule = ("positive and finite", lambda value: 0 < value < math.inf)
ZERO_OR_POSITIVE: Rule = ("zero or positive, and finite", lambda value: 0 <= value < math.inf)


@runtime_checkable
class Model(Protocol):
    """A frozen dataclass of plain values that knows how to build its module.

    Attributes:
        family: what a recipe calls it.
        reads: what it learns from: a text, whose next token it tells, or images, whose class.
    """

    family: ClassVar[str]
    reads: ClassVar[Literal["text", "images"]]

    def __init__(self, **fields: Any) -> None: ...

    def build(self, outcomes: int, dtype: torch.dtype) -> LanguageModel | SequenceClassifier:
        """Makes the untrained module on the CPU, from torch's global random numbers.

        Args:
            outcomes: what it tells apart: words of a vocabulary, or classes.
            dtype: of its weights.
        """


def check_counts(record: object, names: Iterable[str]) -> None:
    """Refuses fields that are no integers of at least 1.

    Raises:
        TypeError: a field is no integer.
        ValueError: a field is below 1.
    """
    for name in names:
        value = getattr(record, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_numbers(record: object, rules: Mapping[str, Rule]) -> None:
    """Refuses fields outside their range, and turns the others into floats.

    Raises:
        TypeError: a field is no number.
        ValueError: a field is out of range.
    """
    for name, (rule, holds) in rules.items():
        value = getattr(record, name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"{name} must be a number, got {value!r}")
        if not holds(float(value)):
            raise ValueError(f"{name} must be {rule}, got {float(value)}")
        object.__setattr__(record, name, float(value))  # 20 and 20.0 are one recipe and one hash


def check_flags(record: object, names: Iterable[str]) -> None:
    """Refuses fields that are neither true nor false.

    Raises:
        TypeError: a field is no bool.
    """
    for name in names:
        value = getattr(record, name)
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be true or false, got {value!r}")


def check_tied(tied: bool, embedding_size: int, name: str, size: int) -> None:
    """Refuses a tied model whose decoder cannot have the embedding's shape.

    Raises:
        ValueError: the sizes differ.
    """
    if tied and embedding_size != size:
        raise ValueError(
            f"a tied decoder needs embedding_size equal to {name}, got {embedding_size} and {size}"
        )
