"""What can be searched: typed, canonical, hashed candidates and the space of their choices."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

# Which fields a method reads. The others are inactive: they are None and take no part in the
# identity of a candidate, so a field added here later leaves the identity of old candidates alone.
ACTIVE: Mapping[str, tuple[str, ...]] = {
    "dynamic": ("initial", "drop", "grow", "redistribute", "drop_fraction"),
    "static": ("initial",),
    "rigl": ("initial",),
    "gradual_magnitude": (),
}

# The names that a field may take, as the pruning catalogue spells them.
NAMES: Mapping[str, tuple[str, ...]] = {
    "method": tuple(ACTIVE),
    "initial": ("uniform", "erdos_renyi", "erdos_renyi_kernel"),
    "drop": ("magnitude", "set", "threshold", "global_magnitude"),
    "grow": ("random", "gradient"),
    "redistribute": ("none", "magnitude", "nonzeros"),
}

# Fractions that differ by less are one candidate: 0.1 * 7 is 0.7.
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

    Raises:
        ValueError: If a name is unknown, an active field is missing, or the fraction is outside
            [0, 1).

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

    def __post_init__(self) -> None:
        _check_name("method", self.method)
        for name in FIELDS:
            value = getattr(self, name)
            if name not in ACTIVE[self.method]:
                object.__setattr__(self, name, None)
            elif value is None:
                raise ValueError(f"a {self.method} candidate must have {name}, got None")
            elif name in NAMES:
                _check_name(name, value)
            else:
                object.__setattr__(self, name, _fraction(name, value))

    @property
    def identity(self) -> str:
        """Sixteen hexadecimal digits that name this candidate in every study."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, str | float]:
        """Return the active fields as plain values for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Candidate:
        """Rebuild a candidate from `to_dict`.

        Raises:
            ValueError: If a key is not a field.
        """
        _check_keys(values, "candidate", ("method", *FIELDS))
        return cls(**values)

    def __str__(self) -> str:
        values = self.to_dict()
        if self.method == "dynamic":
            del values["method"]
        return " ".join(str(value) for value in values.values())


FIELDS = tuple(field.name for field in fields(Candidate) if field.name != "method")


@dataclass(frozen=True, kw_only=True)
class Interval:
    """All numbers from `low` to `high`, spaced evenly or, with `log`, by ratio."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"an interval must have finite low < high, got {self.low} and {self.high}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"a log interval must have low > 0, got {self.low}")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def to_unit(self, value: float) -> float:
        """Map a value of the interval to [0, 1]."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> float:
        """Map [0, 1] back to the interval."""
        if self.log:
            return min(self.low * math.pow(self.high / self.low, unit), self.high)
        return min(self.low + unit * (self.high - self.low), self.high)


@dataclass(frozen=True, kw_only=True)
class Space:
    """The product of choices; without arguments, the 144 candidates of the published search.

    Args:
        method: Methods to search over.
        initial: Choices for a candidate's `initial`, and so on for each field.
        drop: See `initial`.
        grow: See `initial`.
        redistribute: See `initial`.
        drop_fraction: Fractions to choose from, or an `Interval`.

    Raises:
        ValueError: If a field has no choice, a choice twice, or an unknown name.

    Example:
        >>> len(Space()), len(Space(method=("static", "rigl")))
        (144, 4)

    Source: Zheng & Shlizerman, "Hyperpruning", arXiv 2506.07975, for the default choices.
    """

    method: tuple[str, ...] = ("dynamic",)
    initial: tuple[str, ...] = ("uniform", "erdos_renyi")
    drop: tuple[str, ...] = ("magnitude", "set", "threshold", "global_magnitude")
    grow: tuple[str, ...] = ("random",)
    redistribute: tuple[str, ...] = ("none", "magnitude", "nonzeros")
    drop_fraction: tuple[float, ...] | Interval = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

    def __post_init__(self) -> None:
        for name in ("method", *FIELDS):
            choices = getattr(self, name)
            if isinstance(choices, Interval):
                if name in NAMES:
                    raise TypeError(f"{name} must be a list of names, got {choices}")
                _fraction(f"{name}.low", choices.low)
                _fraction(f"{name}.high", choices.high)
                continue
            if isinstance(choices, str) or not hasattr(choices, "__iter__"):
                raise TypeError(f"{name} must be a list of choices, got {choices!r}")
            choices = tuple(choices)
            if name in NAMES:
                for choice in choices:
                    _check_name(name, choice)
            else:
                choices = tuple(sorted(_fraction(name, choice) for choice in choices))
            if not choices or len(set(choices)) < len(choices):
                raise ValueError(f"{name} must list distinct choices, at least one, got {choices}")
            object.__setattr__(self, name, choices)

    @property
    def finite(self) -> bool:
        """Whether the candidates can be counted."""
        return not any(
            isinstance(getattr(self, name), Interval)
            for method in self.method
            for name in ACTIVE[method]
        )

    def __len__(self) -> int:
        self._require_finite()
        return sum(
            math.prod(len(getattr(self, name)) for name in ACTIVE[method]) for method in self.method
        )

    def __iter__(self) -> Iterator[Candidate]:
        self._require_finite()
        for method in self.method:
            active = ACTIVE[method]
            for values in itertools.product(*(getattr(self, name) for name in active)):
                yield Candidate(method=method, **dict(zip(active, values, strict=True)))

    def __contains__(self, candidate: Candidate) -> bool:
        return candidate.method in self.method and all(
            getattr(candidate, name) in getattr(self, name) for name in ACTIVE[candidate.method]
        )

    def draw(self, generator: np.random.Generator) -> Candidate:
        """Draw the method, then each of its fields, uniformly."""
        method = self.method[generator.integers(len(self.method))]
        values: dict[str, Any] = {}
        for name in ACTIVE[method]:
            choices = getattr(self, name)
            if isinstance(choices, Interval):
                values[name] = choices.from_unit(generator.random())
            else:
                values[name] = choices[generator.integers(len(choices))]
        return Candidate(method=method, **values)

    def cube(self) -> dict[str, tuple[float, float] | tuple[str, ...]]:
        """Return the dimensions of the encoding: (0.0, 1.0) for a number, else the categories.

        A field with a single choice has no dimension.
        """
        dimensions: dict[str, tuple[float, float] | tuple[str, ...]] = {}
        for name in ("method", *FIELDS):
            choices = getattr(self, name)
            if isinstance(choices, Interval) or len(choices) > 1:
                dimensions[name] = choices if name in NAMES else (0.0, 1.0)
        return dimensions

    def encode(self, candidate: Candidate) -> dict[str, float | str]:
        """Return the point of the `cube` for a candidate; distinct candidates differ.

        Inactive fields are fixed, numbers at 0.5 and categories at the first, so that one
        candidate is one point.

        Raises:
            ValueError: If the candidate is not in the space.
        """
        if candidate not in self:
            raise ValueError(f"a candidate must lie in the space, got {candidate}")
        point: dict[str, float | str] = {}
        for name, dimension in self.cube().items():
            value = getattr(candidate, name)
            if name in NAMES:
                point[name] = dimension[0] if value is None else value
            else:
                point[name] = 0.5 if value is None else self._range(name).to_unit(value)
        return point

    def decode(self, point: Mapping[str, Any]) -> Candidate:
        """Return the candidate nearest to a point of the `cube`."""
        values: dict[str, Any] = {}
        for name in ("method", *FIELDS):
            choices = getattr(self, name)
            if name not in point:
                values[name] = choices[0]
            elif name in NAMES:
                values[name] = str(point[name])
            else:
                values[name] = self._nearest(name, float(point[name]))
        return Candidate(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as plain values for JSON or TOML."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """Rebuild a space from `to_dict`; absent fields take their defaults.

        Raises:
            ValueError: If a key is not a field.
        """
        _check_keys(values, "space", ("method", *FIELDS))
        choices = dict(values)
        if isinstance(interval := choices.get("drop_fraction"), Mapping):
            _check_keys(interval, "interval", ("low", "high", "log"))
            choices["drop_fraction"] = Interval(**interval)
        return cls(**choices)

    def _range(self, name: str) -> Interval:
        choices: tuple[float, ...] | Interval = getattr(self, name)
        if isinstance(choices, Interval):
            return choices
        return Interval(low=choices[0], high=choices[-1])

    def _nearest(self, name: str, unit: float) -> float:
        choices: tuple[float, ...] | Interval = getattr(self, name)
        value = self._range(name).from_unit(unit)
        if isinstance(choices, Interval):
            return value
        return min(choices, key=lambda choice: abs(choice - value))

    def _require_finite(self) -> None:
        if not self.finite:
            raise ValueError(
                "a space must list all choices to be counted or enumerated, got drop_fraction = "
                f"{self.drop_fraction}"
            )


def _check_name(field: str, value: object) -> None:
    if value not in NAMES[field]:
        raise ValueError(f"{field} must be one of {', '.join(NAMES[field])}, got {value!r}")


def _check_keys(values: Mapping[str, Any], what: str, known: tuple[str, ...]) -> None:
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ValueError(
            f"a {what} must have only the fields {', '.join(known)}, got {', '.join(unknown)}"
        )


def _fraction(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{field} must be a number, got {value!r}")
    if not 0 <= value < 1:
        raise ValueError(f"{field} must be in [0, 1), got {value}")
    return round(float(value), _DECIMALS)
