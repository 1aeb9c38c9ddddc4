"""One way to prune, in the one form that every study knows it by."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from lsh_native.pruning.catalogue import DROP, GROW, INITIAL, METHODS, REDISTRIBUTE
from lsh_native.pruning.catalogue import method as make_method

Value = str | int | float | bool

# Which fields a method reads. The others are inactive: they are None and take no part in the
# identity of a candidate, so a field added here later leaves the identity of old candidates alone.
# What else a method of the catalogue can be told are its `controls`.
ACTIVE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(METHODS, ()),
    "dynamic": ("initial", "drop", "grow", "redistribute", "drop_fraction"),
    "static": ("initial",),
    "rigl": ("initial",),
}

# The names that a field may take, as the pruning catalogue spells them.
NAMES: Mapping[str, tuple[str, ...]] = {
    "method": tuple(METHODS),
    "initial": tuple(INITIAL),
    "drop": tuple(DROP),
    "grow": tuple(GROW),
    "redistribute": tuple(REDISTRIBUTE),
}


class Range(NamedTuple):
    """Numbers that a field may take."""

    says: str
    holds: Callable[[float], bool]
    integer: bool = False


# Fields that every method reads if they are searched; without a value the study decides.
SHARED: Mapping[str, Range] = {
    "density": Range("in (0, 1]", lambda value: 0 < value <= 1),
    "learning_rate": Range("positive", lambda value: value > 0),
    "dropout": Range("in [0, 1)", lambda value: 0 <= value < 1),
    "weight_decay": Range("at least 0", lambda value: value >= 0),
    "clip": Range("positive", lambda value: value > 0),
    "batch_size": Range("a whole number of at least 1", lambda value: value >= 1, integer=True),
}
RANGES: Mapping[str, Range] = {
    "drop_fraction": Range("in [0, 1)", lambda value: 0 <= value < 1),
    **SHARED,
}
RECIPE = tuple(name for name in SHARED if name != "density")
"""The fields that change the recipe of training."""

# Numbers that differ by less are one candidate: 0.1 * 7 is 0.7.
_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to prune, in canonical form: fields that its method does not read are None.

    Equal candidates are equal objects with equal `identity`, however they were written.

    Args:
        method: "dynamic" (drop and grow by the slots below) or a whole method by its name.
        initial: How the first masks are drawn.
        drop: Which connections go.
        grow: Which connections come.
        redistribute: How many of the grown connections each matrix gets.
        drop_fraction: Share of the connections dropped at the first update, in [0, 1).
        density: Share of the weights that is kept, in (0, 1]; None for the study's.
        learning_rate: Of the training; None for the recipe's, and so on for the next four.
        dropout: See `learning_rate`.
        weight_decay: See `learning_rate`.
        clip: See `learning_rate`.
        batch_size: See `learning_rate`.
        controls: What else the method is told, by the names of the pruning catalogue; a mapping.

    Raises:
        ValueError: If a name is unknown, an active field is missing, or a number is out of range.

    Example:
        >>> Candidate(method="static", initial="uniform", drop="set").to_dict()
        {'method': 'static', 'initial': 'uniform'}
    """

    method: str = "dynamic"
    initial: str | None = None
    drop: str | None = None
    grow: str | None = None
    redistribute: str | None = None
    drop_fraction: float | None = None
    density: float | None = None
    learning_rate: float | None = None
    dropout: float | None = None
    weight_decay: float | None = None
    clip: float | None = None
    batch_size: int | None = None
    controls: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        check_name("method", self.method)
        for name in FIELDS:
            value = getattr(self, name)
            if name not in SHARED and name not in ACTIVE[self.method]:
                object.__setattr__(self, name, None)
            elif value is None:
                if name not in SHARED:
                    raise ValueError(f"a {self.method} candidate must have {name}, got None")
            elif name in NAMES:
                check_name(name, value)
            else:
                object.__setattr__(self, name, checked_number(name, value))
        controls = dict(self.controls)
        if clash := [
            name
            for name in controls
            if name in ("method", *FIELDS)
            and (name in SHARED or name in ACTIVE[self.method] or name == "method")
        ]:
            raise ValueError(f"controls must leave {clash[0]} to the field of that name")
        check_controls(self.method, controls)
        canonical = tuple(sorted((name, rounded(value)) for name, value in controls.items()))
        object.__setattr__(self, "controls", canonical)

    @property
    def identity(self) -> str:
        """Sixteen hexadecimal digits that name this candidate in every study."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Value]:
        """Return the active fields and the controls as plain values for JSON."""
        values = {name: getattr(self, name) for name in ("method", *FIELDS)}
        return {n: value for n, value in values.items() if value is not None} | dict(self.controls)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Candidate:
        """Rebuild a candidate from `to_dict`.

        Raises:
            ValueError: If a key is neither a field nor a control of the method.
        """
        method = values.get("method", "dynamic")
        check_name("method", method)
        active = ("method", *SHARED, *ACTIVE[method])
        own = {name: value for name, value in values.items() if name in active}
        rest = {name: value for name, value in values.items() if name not in active}
        return cls(**own, controls=tuple(rest.items()))

    def __str__(self) -> str:
        values = self.to_dict()
        named = {name for name in values if name in SHARED or name in dict(self.controls)}
        if self.method == "dynamic":
            del values["method"]
        return " ".join(
            f"{name} {_show(value)}" if name in named else str(value)
            for name, value in values.items()
        )


FIELDS = tuple(
    field.name for field in fields(Candidate) if field.name not in ("method", "controls")
)
"""The fields of a candidate beside its method and controls."""


def check_controls(method: str, controls: Mapping[str, Any]) -> None:
    """Let the pruning catalogue say what is wrong with a control."""
    if controls:
        needs = {"every": 1} if "every" in inspect.signature(METHODS[method]).parameters else {}
        make_method(method, **(needs | dict(controls)))


def check_name(field: str, value: object) -> None:
    """Refuse what a field cannot be called."""
    if value not in NAMES[field]:
        raise ValueError(f"{field} must be one of {', '.join(NAMES[field])}, got {value!r}")


def checked_number(label: str, value: object, field: str = "") -> float:
    """Return a number of a field, rounded; an integer where the field is one."""
    allowed = RANGES[field or label]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{label} must be a number, got {value!r}")
    if not (math.isfinite(value) and allowed.holds(value)):
        raise ValueError(f"{label} must be {allowed.says}, got {value}")
    if allowed.integer:
        if value != int(value):
            raise ValueError(f"{label} must be {allowed.says}, got {value}")
        return int(value)
    return float(rounded(float(value)))


def rounded(value: Any) -> Any:
    """Round a number: to decimals, and a small one to as many digits."""
    if not isinstance(value, float) or value == 0:
        return value
    return round(value, max(_DECIMALS, _DECIMALS - 1 - math.floor(math.log10(abs(value)))))


def _show(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
