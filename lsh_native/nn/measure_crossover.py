"""Measures the crossovers of this machine, in a few seconds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lsh_native.nn.crossover import Crossover, first_density, least_seconds, use_crossover
from lsh_native.nn.lstm import SparseLSTM
from lsh_native.sparsity.packed import PackedWeights

__all__ = ["measure_crossover"]

DENSITIES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SPARSE, DENSE = (Crossover(training=at, forward=at) for at in (1.0, 0.0))


def measure_crossover(
    hidden: int = 512, steps: int = 10, batch: int = 20, repeats: int = 3
) -> tuple[dict[str, float], dict[str, dict[float, float]]]:
    """Times a masked LSTM layer by either kernel, on one thread.

    Training steps, and passes without gradients that keep their weights packed, as evaluation does.

    Args:
        hidden: units.
        steps: time steps.
        batch: sequences, eight or more.
        repeats: of which the fastest counts.

    Returns:
        The densities `training` and `forward` of a `Crossover`; and seconds of the sparse kernels
        by density, those of the dense one as density 1.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found, seconds = {}, {}
        x = torch.zeros(steps, batch, hidden)
        for name, call in (("training", _train), ("forward", _read)):
            times = {}
            for density in DENSITIES:
                layer = SparseLSTM(hidden, hidden, density=density)
                with use_crossover(SPARSE):
                    times[density] = least_seconds(call(layer, x), repeats)
            with use_crossover(DENSE):
                times[1.0] = least_seconds(call(layer, x), repeats)
            found[name] = first_density({d: times[d] for d in DENSITIES}, times[1.0])
            seconds[name] = times
    finally:
        torch.set_num_threads(threads)
    return found, seconds


def _read(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    packed = PackedWeights()

    def call() -> object:
        with torch.no_grad(), packed:
            return layer(x)

    return call


def _train(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    def call() -> None:
        layer.zero_grad()
        torch.autograd.backward(layer(x)[0].sum())

    return call
