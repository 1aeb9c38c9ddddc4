"""Measures the crossovers of this machine, in about twenty seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lsh_native.nn.crossover import Crossover, first_density, least_seconds, use_crossover
from lsh_native.nn.linear import SparseLinear
from lsh_native.nn.lstm import SparseLSTM
from lsh_native.sparsity.packed import PackedWeights

__all__ = ["measure_crossover"]

_Call: TypeAlias = Callable[[nn.Module, Tensor], Callable[[], object]]
_Layer: TypeAlias = Callable[..., nn.Module]

DENSITIES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SPARSE, DENSE = (Crossover(training=at, forward=at, linear=at) for at in (1.0, 0.0))


def measure_crossover(
    hidden: int = 512, steps: int = 35, batch: int = 20, repeats: int = 2
) -> tuple[dict[str, Any], dict[str, Mapping[float, float]]]:
    """Times a masked LSTM layer and a linear one by either kernel, on one thread.

    Training steps, and of the LSTM passes without gradients that keep their weights packed, as
    evaluation does.

    Args:
        hidden: units.
        steps: time steps; what is done once, masking and packing, weighs the less the more.
        batch: sequences, eight or more.
        repeats: of which the fastest counts.

    Returns:
        `training`, `forward`, `linear` and `training_mode` of a `Crossover`; and seconds: of the
        sparse kernels by density, those of the dense one as density 1; and of torch's LSTM by
        units.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    try:
        seconds: dict[str, Mapping[float, float]] = {}
        x = torch.zeros(steps, batch, hidden)
        kinds: tuple[tuple[str, _Call, _Layer], ...] = (
            ("training", _train, SparseLSTM),
            ("forward", _read, SparseLSTM),
            ("linear", _train, SparseLinear),
        )
        for name, call, kind in kinds:
            times = {}
            for density in DENSITIES:
                layer = kind(hidden, hidden, density=density)
                with use_crossover(SPARSE):
                    times[density] = least_seconds(call(layer, x), repeats)
            with use_crossover(DENSE):
                times[1.0] = least_seconds(call(layer, x), repeats)
            found[name] = first_density({d: times[d] for d in DENSITIES}, times[1.0])
            seconds[name] = times
        as_training: dict[float, float] = {}
        as_reading: dict[float, float] = {}
        for units in (3 * hidden, 2 * hidden, hidden):
            dense, x = nn.LSTM(units, units).requires_grad_(False), torch.zeros(steps, batch, units)
            as_training[units] = least_seconds(partial(dense, x), repeats)
            as_reading[units] = least_seconds(_without_gradients(dense, x), repeats)
        found["training_mode"] = first_units(as_training, as_reading)
        seconds |= {"LSTM, training mode": as_training, "LSTM, no gradients": as_reading}
    finally:
        torch.set_num_threads(threads)
    return found, seconds


def _read(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    packed = PackedWeights()

    def call() -> object:
        with torch.no_grad(), packed:
            return layer(x)

    return call


def _without_gradients(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return layer(x)

    return call


def first_units(training: Mapping[float, float], reading: Mapping[float, float]) -> int | None:
    """The units from which on the first is faster, by a twentieth at least.

    Between the widest at which it is not and the next one measured, the middle.
    """
    found = None
    for units in sorted(training, reverse=True):
        if training[units] > 0.95 * reading[units]:
            return found and int(found + units) // 2
        found = int(units)
    return found


def _train(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    def call() -> None:
        layer.zero_grad()
        result = layer(x)
        torch.autograd.backward((result if isinstance(result, Tensor) else result[0]).sum())

    return call
