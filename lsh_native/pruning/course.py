"""Numbers that change over a training: a hyper-parameter is a number or a course of its progress.

A course is any function from progress in [0, 1] to a number; those here are records, so that they
can be compared and described.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Course: TypeAlias = Callable[[float], float]
Value: TypeAlias = float | Course


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` in a straight line.

    Example:
        >>> Linear(1, 3)(0.25)
        1.5
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """The number at this progress."""
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class Cosine:
    """From `start` to `end` along half a cosine: end + (start − end) · (1 + cos(π p)) / 2."""

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """The number at this progress."""
        return self.end + (self.start - self.end) * ((1 + math.cos(math.pi * progress)) / 2)


@dataclass(frozen=True)
class Cubic:
    """From `start` to `end` along a cubic that levels out: end + (start − end) · (1 − p)³."""

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """The number at this progress."""
        return self.end + (self.start - self.end) * (1 - progress) ** 3


@dataclass(frozen=True)
class Pieces:
    """A number that holds until its share of the training is over, then the next one.

    Args:
        pieces: Pairs (until, number) with ascending `until`, the last one 1.

    Raises:
        ValueError: The shares do not ascend to 1.

    Example:
        >>> Pieces((0.4, 0.02), (1.0, 0.01))(0.5)
        0.01
    """

    pieces: tuple[tuple[float, float], ...]

    def __init__(self, *pieces: tuple[float, float]) -> None:
        ends = [until for until, _ in pieces]
        if ends != sorted(set(ends)) or not ends or ends[0] <= 0 or ends[-1] != 1:
            raise ValueError(f"shares must ascend from above 0 to 1, got {ends}")
        object.__setattr__(self, "pieces", pieces)

    def __call__(self, progress: float) -> float:
        """The number at this progress."""
        return next(number for until, number in self.pieces if progress <= until)


def at(value: Value, progress: float) -> float:
    """What a hyper-parameter is at this progress.

    Raises:
        ValueError: It is not a finite number there.
    """
    number = float(value(progress)) if callable(value) else float(value)
    if not math.isfinite(number):
        raise ValueError(f"a hyper-parameter must be finite, got {number} at progress {progress}")
    return number
