"""What can be searched: the choices that each method leaves, and their points in a cube."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lsh_native.search.candidate import (
    ACTIVE,
    FIELDS,
    NAMES,
    RANGES,
    SHARED,
    Candidate,
    Value,
    check_controls,
    check_name,
    checked_number,
    rounded,
)
from lsh_native.search.interval import Interval

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
            choices = _check_choices(name, getattr(self, name), optional=name in SHARED)
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
                if name in SHARED or name in ACTIVE[method]:
                    raise ValueError(f"controls must leave {name} to the field of that name")
                ends = (choices.low, choices.high) if isinstance(choices, Interval) else choices
                for value in ends:
                    check_controls(method, {name: value})
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
        names = (*ACTIVE[method], *(name for name in SHARED if getattr(self, name) != ()))
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

    def extremes(self) -> Iterator[Candidate]:
        """Yield a candidate of each method, then others of it that differ in one field.

        Numbers stand at their lowest or their highest: what a model or a text cannot take, it
        cannot take there.
        """
        for method in self.method:
            ends = {name: _ends(choices) for name, choices in self.dimensions(method).items()}
            first = {name: values[0] for name, values in ends.items()}
            yield _candidate(method, first)
            for name, values in ends.items():
                for value in values[1:]:
                    yield _candidate(method, {**first, name: value})

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


def _ends(choices: Choices) -> tuple[Value, ...]:
    """The lowest and the highest of numbers; all of others."""
    if isinstance(choices, Interval):
        return choices.from_unit(0.0), choices.from_unit(1.0)
    if _numeric(choices):
        return tuple(dict.fromkeys((min(choices, key=float), max(choices, key=float))))
    return choices


def _draw(choices: Choices, generator: np.random.Generator) -> Value:
    if isinstance(choices, Interval):
        return choices.from_unit(generator.random())
    return choices[generator.integers(len(choices))]


def _check_choices(name: str, choices: Any, *, optional: bool = False) -> Choices:
    """Return the choices of a field or control in canonical form."""
    if isinstance(choices, Interval):
        if name in NAMES:
            raise TypeError(f"{name} must be a list of names, got {choices}")
        if name in RANGES:
            checked_number(f"{name}.low", choices.low, name)
            checked_number(f"{name}.high", choices.high, name)
            if RANGES[name].integer and not choices.integer:
                raise ValueError(f"{name} must be searched over whole numbers: integer = true")
        return choices
    if isinstance(choices, str) or not hasattr(choices, "__iter__"):
        raise TypeError(f"{name} must be a list of choices, got {choices!r}")
    choices = tuple(choices)
    if optional and not choices:
        return ()
    if name in NAMES:
        for choice in choices:
            check_name(name, choice)
    elif name in RANGES:
        choices = tuple(sorted(checked_number(name, choice) for choice in choices))
    elif _numeric(choices):
        choices = tuple(sorted(rounded(choice) for choice in choices))
    if not choices or len(set(choices)) < len(choices):
        raise ValueError(f"{name} must list distinct choices, at least one, got {choices}")
    return tuple(choices)


def _check_keys(values: Mapping[str, Any], what: str, known: tuple[str, ...]) -> None:
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ValueError(
            f"a {what} must have only the fields {', '.join(known)}, got {', '.join(unknown)}"
        )


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
