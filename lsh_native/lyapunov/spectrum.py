"""The record of a Lyapunov spectrum: exponents, their errors, and how they came about."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsh_native.lyapunov.convention import NATS, Base, Convention
from lsh_native.lyapunov.interval import Interval
from lsh_native.lyapunov.standard_error import FloatArray

_FORMAT = 2
_SINCE_FORMAT_2: dict[str, Any] = {"intervals": (), "breakdowns": 0, "until": None}
_ARRAYS = ("sequences", "standard_errors", "history")


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
    """Lyapunov exponents of a batch of sequences, layer after layer. Arrays are read-only.

    An exponent of -inf belongs to a direction that the dynamics erase, or contract below what the
    dtype can tell from nothing.

    Args:
        sequences: exponents of each sequence, (B, N), where N is the sum of `layer_sizes`.
        layer_sizes: exponents of each layer; the blocks lie one after another.
        state_sizes: dimensions of the state of each layer, more than its exponents if only leading
            ones were asked for.
        convention: what the numbers mean.
        steps: time steps that were averaged.
        state_warmup: steps before them for the state alone.
        tangent_warmup: steps between the two for the tangent vectors, not counted.
        every: steps from one orthonormalisation to the next, as asked for; `"auto"` for as many as
            rounding allows.
        intervals: what came of it in each layer: steps per orthonormalisation, on average.
        initial: how the tangent vectors started.
        seed: of a random start, else None.
        dtype: in which the tangent vectors were computed.
        standard_errors: of the mean over sequences, (N,); over blocks of time if B = 1; None if the
            run is too short for them. Infinite where only some of the samples are -inf.
        error_samples: how many samples stand behind the standard errors.
        history: running estimate of the exponents, (M, N), if it was kept.
        history_steps: after how many counted steps, M numbers.
        fallbacks: how often an interval was broken up because a tangent vector got lost in it.
        breakdowns: how often reflections had to take over from a Cholesky factor.
        until: the standard error at which the run was to stop, if one was given.
        inputs_digest: fingerprint of the inputs, the same for two spectra of the same tokens.

    Raises:
        ValueError: the fields contradict each other, or a number is NaN or +inf.
    """

    sequences: FloatArray
    layer_sizes: tuple[int, ...]
    state_sizes: tuple[int, ...]
    convention: Convention
    steps: int
    state_warmup: int = 0
    tangent_warmup: int = 0
    every: Interval = 1
    intervals: tuple[float, ...] = ()
    initial: str = "identity"
    seed: int | None = None
    dtype: str = "float64"
    standard_errors: FloatArray | None = None
    error_samples: int = 0
    history: FloatArray | None = None
    history_steps: tuple[int, ...] = ()
    fallbacks: int = 0
    breakdowns: int = 0
    until: float | None = None
    inputs_digest: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            value = getattr(self, name)
            if value is not None:
                array = np.array(value, dtype=np.float64)
                array.setflags(write=False)
                object.__setattr__(self, name, array)
        for name in ("layer_sizes", "state_sizes", "intervals", "history_steps"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check(self)

    @cached_property
    def exponents(self) -> FloatArray:
        """Mean over the sequences, (N,)."""
        mean: FloatArray = self.sequences.mean(axis=0)
        mean.setflags(write=False)
        return mean

    @property
    def layers(self) -> tuple[FloatArray, ...]:
        """The exponents of each layer."""
        return self.split(self.exponents)

    def split(self, values: FloatArray) -> tuple[FloatArray, ...]:
        """Cuts `values`, (N,) in the order of the exponents, into the parts of the layers."""
        return tuple(np.split(values, np.cumsum(self.layer_sizes)[:-1]))

    @property
    def collapsed(self) -> int:
        """How many exponents are -inf."""
        return int(np.isneginf(self.exponents).sum())

    @property
    def largest(self) -> float:
        """The largest exponent; a positive one means chaos."""
        return float(self.exponents.max())

    @property
    def kaplan_yorke_dimension(self) -> float:
        """D = j + (λ_1 + … + λ_j) / |λ_{j+1}|, j the last index up to which the sum is >= 0.

        It is 0 if all exponents are negative, and the dimension of the state if their sum is not.

        Raises:
            ValueError: the leading exponents at hand do not reach as far as j + 1.
        """
        exponents = self._surely_leading()
        sums = np.cumsum(exponents)
        negative = np.flatnonzero(sums < 0)
        if len(negative):
            j = int(negative[0])
            return float(j + (sums[j - 1] if j else 0.0) / abs(exponents[j]))
        self._require_all(exponents, "the sum of those at hand is not negative")
        return float(len(exponents))

    @property
    def metric_entropy(self) -> float:
        """Sum of the positive exponents: an upper bound of the entropy rate (Ruelle, Pesin).

        Raises:
            ValueError: there may be positive exponents beyond the leading ones at hand.
        """
        exponents = self._surely_leading()
        if (exponents > 0).all():
            self._require_all(exponents, "all at hand are positive")
        return float(exponents[exponents > 0].sum())

    @property
    def finite_time(self) -> FloatArray:
        """Finite-time exponents: growth per step between one entry of the history and the next.

        Returns:
            Shape (M, N), mean over the sequences; those of each sequence over all steps are
            `sequences`.

        Raises:
            ValueError: the history was not kept.
        """
        if self.history is None:
            raise ValueError("finite-time exponents must come from a history, got none")
        elapsed = np.array(self.history_steps)[:, None]
        growth = np.diff(self.history * elapsed, axis=0, prepend=0.0)
        steps = np.diff(elapsed, axis=0, prepend=0)
        gone = np.isneginf(self.history)
        return np.where(gone, -np.inf, np.where(gone, 0.0, growth) / steps)

    def in_base(self, base: Base) -> "Spectrum":
        """The same spectrum with logarithms to another base."""
        convention = replace(self.convention, base=base)
        factor = NATS[self.convention.base] / NATS[base]
        until = None if self.until is None else self.until * factor
        return replace(self._with(lambda array: array * factor, convention), until=until)

    def descending(self) -> "Spectrum":
        """The same spectrum with the exponents of each layer in descending order."""
        starts = np.cumsum((0, *self.layer_sizes[:-1]))
        order = np.concatenate(
            [
                start + np.argsort(-block, kind="stable")
                for start, block in zip(starts, self.layers, strict=True)
            ]
        )
        return self._with(lambda array: array[..., order], replace(self.convention, sorted=True))

    def interpolated(self, counts: Sequence[int]) -> "Spectrum":
        """The same spectrum with other numbers of exponents, linear in the relative index.

        Exponent i of n stands at (i - 1/2) / n. What lies between -inf and a number is -inf.

        Args:
            counts: exponents of each layer.

        Raises:
            ValueError: the spectrum is not sorted, holds only leading exponents, or the counts do
                not fit its layers.
        """
        if not self.convention.sorted or self.layer_sizes != self.state_sizes:
            raise ValueError(
                "a spectrum to interpolate must be sorted and complete, got "
                f"{self.layer_sizes} exponents of states of {self.state_sizes}"
                f"{'' if self.convention.sorted else ', not sorted'}"
            )
        if len(counts) != len(self.layer_sizes) or min(counts) < 1:
            raise ValueError(f"counts must be one >= 1 for each layer, got {tuple(counts)}")
        changed: dict[str, Any] = {
            name: None
            if (array := getattr(self, name)) is None
            else _interpolate(array, self.layer_sizes, counts)
            for name in _ARRAYS
        }
        sizes = tuple(counts)
        return replace(self, layer_sizes=sizes, state_sizes=sizes, **changed)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON, which knows no infinities: they become "inf" and "-inf"."""
        numbers = {name: _to_json(getattr(self, name)) for name in _ARRAYS}
        record = {item.name: getattr(self, item.name) for item in fields(self)}
        derived = {"exponents": _to_json(self.exponents), "convention": asdict(self.convention)}
        return {"format": _FORMAT, **record, **numbers, **derived}

    @classmethod
    def from_dict(cls, record: object) -> "Spectrum":
        """The spectrum that `to_dict` wrote.

        Raises:
            ValueError: the record is of another format, incomplete, or contradicts itself.
        """
        if not isinstance(record, Mapping) or record.get("format") not in (1, _FORMAT):
            raise ValueError(f"a spectrum must be a record of format {_FORMAT}, got another")
        values = {name: value for name, value in record.items() if name != "format"}
        if record["format"] == 1:
            values = {**_SINCE_FORMAT_2, **values}
        names = {item.name for item in fields(cls)} | {"exponents"}
        if values.keys() != names:
            raise ValueError(
                f"the record of a spectrum must hold its fields and no others, got {sorted(values)}"
            )
        try:
            exponents = np.array(values.pop("exponents"), dtype=np.float64)
            values["convention"] = Convention(**values["convention"])
            values |= {name: _from_json(values[name]) for name in _ARRAYS}
            spectrum = cls(**values)
        except TypeError as error:
            raise ValueError(
                f"the record of a spectrum must hold numbers and lists: {error}"
            ) from None
        if not np.array_equal(spectrum.exponents, exponents):
            raise ValueError("exponents must be the mean of sequences, got other numbers")
        return spectrum

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for `numpy.savez`: the numbers, and all else as JSON in the array "record"."""
        record = self.to_dict()
        arrays = {name: getattr(self, name) for name in ("exponents", *_ARRAYS)}
        for name in arrays:
            del record[name]
        present = {name: array for name, array in arrays.items() if array is not None}
        return {**present, "record": np.array(json.dumps(record))}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Spectrum":
        """The spectrum that `to_arrays` gave; an open `.npz` file will do.

        Raises:
            ValueError: an array is missing or holds something else.
        """
        if "record" not in arrays:
            raise ValueError(f"arrays of a spectrum must hold 'record', got {sorted(arrays)}")
        record = json.loads(str(arrays["record"]))
        numbers = {name: arrays.get(name) for name in ("exponents", *_ARRAYS)}
        return cls.from_dict({**record, **numbers})

    def _with(
        self, change: Callable[[FloatArray], FloatArray], convention: Convention
    ) -> "Spectrum":
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        changed: dict[str, Any] = {
            name: change(array) for name, array in arrays.items() if array is not None
        }
        return replace(self, convention=convention, **changed)

    def _surely_leading(self) -> FloatArray:
        """All exponents in descending order, down to where a layer's leading ones break off."""
        layers = zip(self.layers, self.state_sizes, strict=True)
        ends = [block.min() for block, size in layers if len(block) < size]
        exponents = np.sort(self.exponents)[::-1]
        return exponents[exponents >= max(ends, default=-np.inf)]

    def _require_all(self, exponents: FloatArray, why: str) -> None:
        if len(exponents) < sum(self.state_sizes):
            raise ValueError(
                f"more exponents are needed: {why}, got the {len(exponents)} leading ones "
                f"of {sum(self.state_sizes)}"
            )


def _check(spectrum: Spectrum) -> None:
    sizes, states = spectrum.layer_sizes, spectrum.state_sizes
    if (
        not sizes
        or len(sizes) != len(states)
        or not all(1 <= size <= state for size, state in zip(sizes, states, strict=True))
    ):
        raise ValueError(
            "a layer must have from 1 exponent up to as many as its state has dimensions, "
            f"got {sizes} exponents for states of {states}"
        )
    count = sum(sizes)
    shape, errors, history = spectrum.sequences.shape, spectrum.standard_errors, spectrum.history
    if len(shape) != 2 or shape[0] < 1 or shape[1] != count:
        raise ValueError(f"sequences must have shape (B, {count}) with B >= 1, got {shape}")
    if errors is not None and (errors.shape != (count,) or not (errors >= 0).all()):
        raise ValueError(f"standard_errors must be {count} numbers >= 0, got {errors}")
    expected = (len(spectrum.history_steps), count)
    if history is not None and history.shape != expected:
        raise ValueError(f"history must have shape {expected}, got {history.shape}")
    for name, array in (("sequences", spectrum.sequences), ("history", history)):
        if array is not None and not (array < np.inf).all():
            raise ValueError(f"{name} must hold finite numbers or -inf, got NaN or +inf")
    if spectrum.every != "auto" and not (isinstance(spectrum.every, int) and spectrum.every >= 1):
        raise ValueError(f"every must be 'auto' or an integer >= 1, got {spectrum.every!r}")
    for name, least in (("steps", 1), ("state_warmup", 0), ("tangent_warmup", 0)):
        value = getattr(spectrum, name)
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")


def _interpolate(array: FloatArray, sizes: Sequence[int], counts: Sequence[int]) -> FloatArray:
    """Layer blocks along the last axis from `sizes` to `counts` numbers."""
    blocks = []
    for block, count in zip(np.split(array, np.cumsum(sizes)[:-1], axis=-1), counts, strict=True):
        size = block.shape[-1]
        place = np.clip((np.arange(count) + 0.5) * size / count - 0.5, 0, size - 1)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, size - 1)
        share = place - below
        left, right = block[..., below], block[..., above]
        gone = np.isneginf(left) | (np.isneginf(right) & (share > 0))
        with np.errstate(invalid="ignore"):
            between = np.where(share > 0, (1 - share) * left + share * right, left)
        blocks.append(np.where(gone, -np.inf, between))
    result: FloatArray = np.concatenate(blocks, axis=-1)
    return result


def _to_json(array: FloatArray | None) -> Any:
    if array is None:
        return None
    if array.ndim > 1:
        return [_to_json(row) for row in array]
    return [value if np.isfinite(value) else str(value) for value in array.tolist()]


def _from_json(values: Any) -> FloatArray | None:
    return None if values is None else np.array(values, dtype=np.float64)
