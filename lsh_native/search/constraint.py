"""What a candidate must keep to, and by how much it does not: a share, so that units never mix."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_WORDS = {"non_zeros": "non-zeros", "token_milliseconds": "milliseconds a token"}


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A target; a candidate that misses it is ranked behind all that keep to it.

    Args:
        name: Of a number in the details of an epoch, such as "non_zeros" or "token_milliseconds".
        at_most: The largest that will do.

    Raises:
        ValueError: If `at_most` is below 0 or not finite.
    """

    name: str
    at_most: float

    def __post_init__(self) -> None:
        if not 0 <= self.at_most < math.inf:
            raise ValueError(f"at_most must be finite and at least 0, got {self.at_most}")

    def excess(self, details: Mapping[str, Any]) -> float:
        """Return by which share an epoch is above; 0 if it keeps to it, infinite if unknown."""
        value = details.get(self.name)
        if value is None:
            return math.inf
        return max(0.0, float(value) / self.at_most - 1) if self.at_most else float(value > 0)


def excess(constraints: Iterable[Constraint], details: Mapping[str, Any]) -> float:
    """Return by which share the constraint that is missed most is missed; 0 if none is."""
    return max((constraint.excess(details) for constraint in constraints), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Missed:
    """A target that the best candidate does not keep to; `str` says so in a sentence.

    Args:
        constraint: The target.
        value: What came instead; None if it was not measured.
    """

    constraint: Constraint
    value: float | None

    def __str__(self) -> str:
        name = self.constraint.name
        words = _WORDS.get(name, name.replace("_", " "))
        came = "was not measured" if self.value is None else f"has {_number(self.value)}"
        return (
            f"No candidate that finished keeps to every target: at most "
            f"{_number(self.constraint.at_most)} {words} were asked for, the network found {came}."
        )


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
