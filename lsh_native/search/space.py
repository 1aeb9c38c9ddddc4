"""What can be searched: typed, canonical, hashed candidates and the space of their choices."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

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


class _Range(NamedTuple):
    """Numbers that a field may take."""

    says: str
    holds: Callable[[float], bool]
    integer: bool = False


# Fields that every method reads if they are searched; without a value the study decides.
_SHARED: Mapping[str, _Range] = {
    "density": _Range("in (0, 1]", lambda value: 0 < value <= 1),
    "learning_rate": _Range("positive", lambda value: value > 0),
    "dropout": _Range("in [0, 1)", lambda value: 0 <= value < 1),
    "weight_decay": _Range("at least 0", lambda value: value >= 0),
    "clip": _Range("positive", lambda value: value > 0),
    "batch_size": _Range("a whole number of at least 1", lambda value: value >= 1, integer=True),
}
_RANGES: Mapping[str, _Range] = {
    "drop_fraction": _Range("in [0, 1)", lambda value: 0 <= value < 1),
    **_SHARED,
}
RECIPE = tuple(name for name in _SHARED if name != "density")
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
        _check_name("method", self.method)
        for name in FIELDS:
            value = getattr(self, name)
            if name not in _SHARED and name not in ACTIVE[self.method]:
                object.__setattr__(self, name, None)
            elif value is None:
                if name not in _SHARED:
                    raise ValueError(f"a {self.method} candidate must have {name}, got None")
            elif name in NAMES:
                _check_name(name, value)
            else:
                object.__setattr__(self, name, _number(name, value))
        controls = dict(self.controls)
        if clash := [
            name
            for name in controls
            if name in ("method", *FIELDS)
            and (name in _SHARED or name in ACTIVE[self.method] or name == "method")
        ]:
            raise ValueError(f"controls must leave {clash[0]} to the field of that name")
        _check_controls(self.method, controls)
        canonical = tuple(sorted((name, _plain(value)) for name, value in controls.items()))
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
        _check_name("method", method)
        active = ("method", *_SHARED, *ACTIVE[method])
        own = {name: value for name, value in values.items() if name in active}
        rest = {name: value for name, value in values.items() if name not in active}
        return cls(**own, controls=tuple(rest.items()))

    def __str__(self) -> str:
        values = self.to_dict()
        named = {name for name in values if name in _SHARED or name in dict(self.controls)}
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


@dataclass(frozen=True, kw_only=True)
class Interval:
    """All numbers from `low` to `high`, spaced evenly or, with `log`, by ratio.

    With `integer` only the whole numbers among them.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"an interval must have finite low < high, got {self.low} and {self.high}"
            )
        if self.integer and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError(
                f"an integer interval must have whole ends, got {self.low} and {self.high}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"a log interval must have low > 0, got {self.low}")

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or (self.integer and value != int(value)):
            return False
        return self.low <= value <= self.high

    def to_unit(self, value: float) -> float:
        """Map a value of the interval to [0, 1]."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> float:
        """Map [0, 1] back to the interval."""
        if self.log:
            value = self.low * math.pow(self.high / self.low, unit)
        else:
            value = self.low + unit * (self.high - self.low)
        value = min(max(value, self.low), self.high)
        return round(value) if self.integer else value


Choices = tuple[Value, ...] | Interval


@dataclass(frozen=True, kw_only=True)
class Space:
    """The product of choices; without arguments, the 144 candidates of the published search.

    A field without choices is not searched: the study, or the method, decides.

    Args:
        method: Methods to search over.
        initial: Choices for a candidate's `initial`, and so on for each field.
        drop: See `initial`.
        grow: See `initial`.
        redistribute: See `initial`.
        drop_fraction: Fractions to choose from, or an `Interval`.
        density: Densities to choose from, or an `Interval`.
        learning_rate: Numbers to choose from, or an `Interval`, and so on for the next four.
        dropout: See `learning_rate`.
        weight_decay: See `learning_rate`.
        clip: See `learning_rate`.
        batch_size: See `learning_rate`.
        controls: By method, choices for what else it can be told in the pruning catalogue. They
            are active where that method is.

    Raises:
        ValueError: If a field has no choice, a choice twice, or an unknown name.

    Example:
        >>> len(Space()), len(Space(method=("static", "rigl")))
        (144, 4)
        >>> len(Space(method=("rigl",), controls={"rigl": {"drop_fraction": (0.2, 0.3)}}))
        4

    Source: Zheng & Shlizerman, "Hyperpruning", arXiv 2506.07975, for the default choices.
    """

    method: tuple[str, ...] = ("dynamic",)
    initial: tuple[str, ...] = ("uniform", "erdos_renyi")
    drop: tuple[str, ...] = ("magnitude", "set", "threshold", "global_magnitude")
    grow: tuple[str, ...] = ("random",)
    redistribute: tuple[str, ...] = ("none", "magnitude", "nonzeros")
    drop_fraction: tuple[float, ...] | Interval = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    density: tuple[float, ...] | Interval = ()
    learning_rate: tuple[float, ...] | Interval = ()
    dropout: tuple[float, ...] | Interval = ()
    weight_decay: tuple[float, ...] | Interval = ()
    clip: tuple[float, ...] | Interval = ()
    batch_size: tuple[int, ...] | Interval = ()
    controls: Mapping[str, Mapping[str, tuple[str | int | float | bool, ...] | Interval]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        for name in ("method", *FIELDS):
            choices = _check_choices(name, getattr(self, name), optional=name in _SHARED)
            object.__setattr__(self, name, choices)
        controls = {}
        for method, named in self.controls.items():
            if method not in self.method:
                raise ValueError(
                    f"controls must be of a method of the space, {', '.join(self.method)}, "
                    f"got {method!r}"
                )
            controls[method] = {name: _check_choices(name, c) for name, c in named.items()}
            for name, choices in controls[method].items():
                if name in _SHARED or name in ACTIVE[method]:
                    raise ValueError(f"controls must leave {name} to the field of that name")
                ends = (choices.low, choices.high) if isinstance(choices, Interval) else choices
                for value in ends:
                    _check_controls(method, {name: value})
        object.__setattr__(self, "controls", controls)

    @property
    def finite(self) -> bool:
        """Whether the candidates can be counted."""
        return not any(
            isinstance(choices, Interval)
            for method in self.method
            for choices in self.dimensions(method).values()
        )

    def __len__(self) -> int:
        self._require_finite()
        return sum(
            math.prod(len(choices) for choices in self._listed(method).values())
            for method in self.method
        )

    def __iter__(self) -> Iterator[Candidate]:
        self._require_finite()
        for method in self.method:
            listed = self._listed(method)
            for values in itertools.product(*listed.values()):
                yield _candidate(method, dict(zip(listed, values, strict=True)))

    def __contains__(self, candidate: Candidate) -> bool:
        if candidate.method not in self.method:
            return False
        dimensions, values = self.dimensions(candidate.method), candidate.to_dict()
        del values["method"]
        return values.keys() == dimensions.keys() and all(
            values[name] in choices for name, choices in dimensions.items()
        )

    def dimensions(self, method: str) -> dict[str, Choices]:
        """Return what can be chosen once the method is."""
        names = (*ACTIVE[method], *(name for name in _SHARED if getattr(self, name) != ()))
        own: dict[str, Choices] = {name: getattr(self, name) for name in names}
        return own | dict(self.controls.get(method, {}))

    def draw(self, generator: np.random.Generator) -> Candidate:
        """Draw the method, then each of its fields, uniformly."""
        method = self.method[generator.integers(len(self.method))]
        return _candidate(
            method,
            {name: _draw(choices, generator) for name, choices in self.dimensions(method).items()},
        )

    def neighbour(self, candidate: Candidate, generator: np.random.Generator) -> Candidate:
        """Draw a candidate that differs in one field, or in its method where that is all there is.

        Raises:
            ValueError: If the candidate is not in the space.
        """
        self._require_member(candidate)
        dimensions, values = self.dimensions(candidate.method), candidate.to_dict()
        method = str(values.pop("method"))
        free = [n for n, c in dimensions.items() if isinstance(c, Interval) or len(c) > 1]
        if not free:
            return self.draw(generator)
        name = free[generator.integers(len(free))]
        choices = dimensions[name]
        if not isinstance(choices, Interval):
            choices = tuple(choice for choice in choices if choice != values[name])
        return _candidate(method, {**values, name: _draw(choices, generator)})

    def cube(self) -> dict[str, tuple[float, float] | tuple[str, ...]]:
        """Return the dimensions of the encoding: (0.0, 1.0) for a number, else the categories.

        A field with a single choice has no dimension; a control's is `method.control`.
        """
        dimensions: dict[str, tuple[float, float] | tuple[str, ...]] = {}
        for name, choices in self._all().items():
            if isinstance(choices, Interval) or len(choices) > 1:
                if isinstance(choices, Interval) or _numeric(choices):
                    dimensions[name] = (0.0, 1.0)
                else:
                    dimensions[name] = tuple(map(str, choices))
        return dimensions

    def encode(self, candidate: Candidate) -> dict[str, float | str]:
        """Return the point of the `cube` for a candidate; distinct candidates differ.

        Inactive fields are fixed, numbers at 0.5 and categories at the first, so that one
        candidate is one point.

        Raises:
            ValueError: If the candidate is not in the space.
        """
        self._require_member(candidate)
        point: dict[str, float | str] = {}
        choices = self._all()
        values = candidate.to_dict()
        own = f"{candidate.method}."
        for name, dimension in self.cube().items():
            value = values.get(name.removeprefix(own)) if "." in name else values.get(name)
            if "." in name and not name.startswith(own):
                value = None
            if dimension == (0.0, 1.0):
                unit = 0.5 if value is None else _range(choices[name]).to_unit(float(value))
                point[name] = unit
            else:
                point[name] = dimension[0] if value is None else str(value)
        return point

    def decode(self, point: Mapping[str, Any]) -> Candidate:
        """Return the candidate nearest to a point of the `cube`."""
        choices = self._all()

        def value(name: str) -> Value:
            listed = choices[name]
            if name not in point:
                assert not isinstance(listed, Interval)
                return listed[0]
            if isinstance(listed, Interval) or _numeric(listed):
                return _nearest(listed, float(point[name]))
            return next(choice for choice in listed if str(choice) == str(point[name]))

        method = str(value("method"))
        own = {
            name: value(f"{method}.{name}" if f"{method}.{name}" in choices else name)
            for name in self.dimensions(method)
        }
        return _candidate(method, own)

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as plain values for JSON or TOML; fields without choices left out."""
        plain = {name: _listable(getattr(self, name)) for name in ("method", *FIELDS)}
        searched = {name: value for name, value in plain.items() if value != []}
        if self.controls:
            searched["controls"] = {
                method: {name: _listable(choices) for name, choices in named.items()}
                for method, named in self.controls.items()
            }
        return searched

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """Rebuild a space from `to_dict`; absent fields take their defaults.

        Raises:
            ValueError: If a key is not a field.
        """
        _check_keys(values, "space", ("method", *FIELDS, "controls"))
        choices = {name: _choices(value) for name, value in values.items() if name != "controls"}
        controls = {
            method: {name: _choices(value) for name, value in named.items()}
            for method, named in values.get("controls", {}).items()
        }
        return cls(**choices, controls=controls)

    def _listed(self, method: str) -> dict[str, tuple[Value, ...]]:
        return {n: c for n, c in self.dimensions(method).items() if not isinstance(c, Interval)}

    def _all(self) -> dict[str, Choices]:
        """Return the choices of every field, and of every control under `method.control`."""
        names = [n for n in ("method", *FIELDS) if getattr(self, n) != ()]
        controls = {
            f"{method}.{name}": choices
            for method, named in self.controls.items()
            for name, choices in named.items()
        }
        return {name: getattr(self, name) for name in names} | controls

    def _require_finite(self) -> None:
        if not self.finite:
            name, interval = next((n, c) for n, c in self._all().items() if isinstance(c, Interval))
            raise ValueError(
                "a space must list all choices to be counted or enumerated, got "
                f"{name} = {interval}"
            )

    def _require_member(self, candidate: Candidate) -> None:
        if candidate not in self:
            raise ValueError(f"a candidate must lie in the space, got {candidate}")


def _candidate(method: str, values: Mapping[str, Value]) -> Candidate:
    return Candidate.from_dict({"method": method, **values})


def _draw(choices: Choices, generator: np.random.Generator) -> Value:
    if isinstance(choices, Interval):
        return choices.from_unit(generator.random())
    return choices[generator.integers(len(choices))]


def _check_choices(name: str, choices: Any, *, optional: bool = False) -> Choices:
    """Return the choices of a field or control in canonical form."""
    if isinstance(choices, Interval):
        if name in NAMES:
            raise TypeError(f"{name} must be a list of names, got {choices}")
        if name in _RANGES:
            _number(f"{name}.low", choices.low, name)
            _number(f"{name}.high", choices.high, name)
            if _RANGES[name].integer and not choices.integer:
                raise ValueError(f"{name} must be searched over whole numbers: integer = true")
        return choices
    if isinstance(choices, str) or not hasattr(choices, "__iter__"):
        raise TypeError(f"{name} must be a list of choices, got {choices!r}")
    choices = tuple(choices)
    if optional and not choices:
        return ()
    if name in NAMES:
        for choice in choices:
            _check_name(name, choice)
    elif name in _RANGES:
        choices = tuple(sorted(_number(name, choice) for choice in choices))
    elif _numeric(choices):
        choices = tuple(sorted(_plain(choice) for choice in choices))
    if not choices or len(set(choices)) < len(choices):
        raise ValueError(f"{name} must list distinct choices, at least one, got {choices}")
    return tuple(choices)


def _check_controls(method: str, controls: Mapping[str, Any]) -> None:
    """Let the pruning catalogue say what is wrong with a control."""
    if controls:
        needs = {"every": 1} if "every" in inspect.signature(METHODS[method]).parameters else {}
        make_method(method, **(needs | dict(controls)))


def _check_name(field: str, value: object) -> None:
    if value not in NAMES[field]:
        raise ValueError(f"{field} must be one of {', '.join(NAMES[field])}, got {value!r}")


def _check_keys(values: Mapping[str, Any], what: str, known: tuple[str, ...]) -> None:
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ValueError(
            f"a {what} must have only the fields {', '.join(known)}, got {', '.join(unknown)}"
        )


def _number(label: str, value: object, field: str = "") -> float:
    """Return a number of a field, rounded; an integer where the field is one."""
    allowed = _RANGES[field or label]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{label} must be a number, got {value!r}")
    if not (math.isfinite(value) and allowed.holds(value)):
        raise ValueError(f"{label} must be {allowed.says}, got {value}")
    if allowed.integer:
        if value != int(value):
            raise ValueError(f"{label} must be {allowed.says}, got {value}")
        return int(value)
    return float(_plain(float(value)))


def _plain(value: Any) -> Any:
    """Round a number: to decimals, and a small one to as many digits."""
    if not isinstance(value, float) or value == 0:
        return value
    return round(value, max(_DECIMALS, _DECIMALS - 1 - math.floor(math.log10(abs(value)))))


def _numeric(choices: Iterable[Any]) -> bool:
    return all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices)


def _range(choices: Choices) -> Interval:
    if isinstance(choices, Interval):
        return choices
    numbers = [float(choice) for choice in choices]
    return Interval(low=min(numbers), high=max(numbers))


def _nearest(choices: Choices, unit: float) -> Value:
    value = _range(choices).from_unit(unit)
    if isinstance(choices, Interval):
        return value
    return min(choices, key=lambda choice: abs(float(choice) - value))


def _listable(choices: Choices) -> Any:
    if isinstance(choices, Interval):
        return {name: value for name, value in asdict(choices).items() if value is not False}
    return list(choices)


def _choices(value: Any) -> Any:
    if isinstance(value, Mapping):
        _check_keys(value, "interval", ("low", "high", "log", "integer"))
        return Interval(**value)
    return value


def _show(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
