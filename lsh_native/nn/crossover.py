"""From which density on torch's dense kernel, given zeros where masked, beats the sparse ones.

What a machine was found to be good at is a table of four numbers: shipped with the package,
measured by `lsh-native doctor --measure` and kept in the user's cache, or set by whoever wants it
so. All kernels compute the same sums, each in another order, so results differ in the last bits:
where a run is to be repeated bit for bit on another machine, set the table by `LSH_DENSE_FROM`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lsh_native.native import libraries
from lsh_native.sparsity.packed import FEW

__all__ = ["Crossover", "crossover", "keep_crossover", "use_crossover"]

VARIABLE = "LSH_DENSE_FROM"

MANY = FEW + 1
"""The number of sequences from which the dense kernel is considered."""


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """Which kernel runs a masked stack, or a masked linear layer.

    Args:
        training: density in [0, 1] from which the dense kernel runs where gradients are taken.
        forward: the same where none are.
        linear: the same for a linear layer, with gradients and without.
        training_mode: units from which torch's LSTM is faster by the kernel that it takes where
            gradients are recorded, though none are. None where it never is.
        source: where they come from, for `explain`.

    Raises:
        ValueError: a density is outside [0, 1], or the units are not above 0.
    """

    training: float = 0.45
    forward: float = 0.6
    linear: float = 0.6
    training_mode: int | None = None
    source: str = "as shipped"

    def __post_init__(self) -> None:
        for name in ("training", "forward", "linear"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value <= 1):
                raise ValueError(f"{name} must be a density in [0, 1], got {value!r}")
        units = self.training_mode
        if units is not None and not (isinstance(units, int) and units > 0):
            raise ValueError(f"training_mode must be a number of units or None, got {units!r}")

    def dense_is_faster(self, density: float, batch: int, gradients: bool) -> bool:
        """Whether torch's kernel, on weights with zeros, beats the sparse ones.

        Args:
            density: share of the weights' entries that is connected.
            batch: sequences at a time; fewer than eight leave it to wait for dense weights.
            gradients: whether a backward pass follows.
        """
        return batch >= MANY and density >= (self.training if gradients else self.forward)

    def dense_linear_is_faster(self, density: float, rows: int) -> bool:
        """Whether `torch.nn.Linear`'s kernel beats the sparse one, on so many rows at a time."""
        return rows >= MANY and density >= self.linear

    def takes_training_mode(self, units: int, batch: int) -> bool:
        """Whether a dense LSTM without gradients should run as if they were recorded."""
        return batch >= MANY and self.training_mode is not None and units >= self.training_mode

    def __str__(self) -> str:
        """The table in words."""
        mode = (
            ""
            if self.training_mode is None
            else f", by the kernel of its training mode from {self.training_mode} units"
        )
        return (
            f"dense kernel for {MANY} sequences and more from density {self.training:.3g} in "
            f"training, {self.forward:.3g} without gradients{mode}, {self.linear:.3g} of a linear "
            f"layer, {self.source}"
        )


_chosen: ContextVar[Crossover | None] = ContextVar("crossover", default=None)


def crossover() -> Crossover:
    """The table in force: `use_crossover`'s, else the variable's, else the cached, else shipped."""
    return _chosen.get() or _standing()


@contextmanager
def use_crossover(table: Crossover) -> Iterator[None]:
    """Puts a table in force within a block."""
    token = _chosen.set(table)
    try:
        yield
    finally:
        _chosen.reset(token)


def cache_file() -> Path:
    """Where the measured table is kept: `$XDG_CACHE_HOME/lsh_native/crossover.json`."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "lsh_native" / "crossover.json"


@cache
def _standing() -> Crossover:
    """The table outside of `use_crossover`, read once by a process."""
    wish = os.environ.get(VARIABLE, "")
    if wish:
        try:
            at = float(wish)
            return Crossover(training=at, forward=at, linear=at, source=f"set by {VARIABLE}")
        except ValueError as error:
            raise ValueError(f"{VARIABLE} must be a density in [0, 1], got {wish!r}") from error
    path = cache_file()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["machine"] != _machine():
            return Crossover(source="as shipped, what was measured is of another machine or torch")
        return Crossover(**kept["table"])
    except FileNotFoundError:
        return Crossover()
    except (OSError, ValueError, TypeError, KeyError) as error:
        warnings.warn(
            f"{path} is not a table of crossovers ({error}): the shipped one is used; measure "
            "again by `lsh-native doctor --measure`",
            stacklevel=2,
        )
        return Crossover()


def _machine() -> dict[str, str]:
    """What a measured table holds for."""
    names = [platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names += [line.split(":", 1)[1].strip() for line in lines if "model name" in line][:1]
    except OSError:
        pass  # elsewhere than on Linux
    return {
        "processor": ", ".join(names),
        "simd_level": libraries.simd_level,
        "torch": torch.__version__,
    }


def keep_crossover(measured: Mapping[str, Any], seconds: Mapping[str, Any]) -> Path:
    """Writes a measured table to the cache, whole or not at all.

    Args:
        measured: `training`, `forward`, `linear` and `training_mode`.
        seconds: what they were found from, to be read by people.
    """
    table = Crossover(**measured, source=f"measured on {time.strftime('%Y-%m-%d')}")
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"machine": _machine(), "table": asdict(table), "seconds": seconds}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _standing.cache_clear()
    return path


def first_density(sparse: Mapping[float, float], dense: float) -> float:
    """The least density from which on the dense kernel is never slower; 1 where it always is."""
    found = 1.0
    for density in sorted(sparse, reverse=True):
        if sparse[density] < dense:
            break
        found = density
    return found


def least_seconds(call: Callable[[], object], repeats: int) -> float:
    """The least thread CPU time of a call in a few."""
    least = math.inf
    for _ in range(repeats + 1):
        begin = time.thread_time()
        call()
        least = min(least, time.thread_time() - begin)
    return least
