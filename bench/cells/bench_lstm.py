"""One sparse LSTM layer beside `torch.nn.LSTM`, forward and training step, uniform random masks."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.harness import Case, Goal, Work
from lsh_native.nn import LiveWeights, SparseLSTM
from lsh_native.sparsity.packed import PackedWeights

STEPS = 35

FASTER = Goal(must=0.97, aim=1.0)
"""No shape and no sparsity may be slower than the dense layer."""

LITTLE = {0.0: FASTER, 0.2: FASTER, 0.35: FASTER}
SCALING = Goal(must=1.9, aim=1.95)

# (hidden, batch): sparsity -> must and aim over torch.nn.LSTM, the faster of its two modes
FORWARD = {
    (1500, 20): {
        **LITTLE,
        0.67: Goal(must=2.7, aim=3.1),
        0.9: Goal(must=7.5, aim=9),
        0.95: Goal(must=11, aim=15),
    },
    (650, 20): {
        **LITTLE,
        0.67: Goal(must=1.8, aim=2.0),
        0.9: Goal(must=4.5, aim=5.5),
        0.95: Goal(must=6.5, aim=8.5),
    },
    (1024, 64): {
        **LITTLE,
        0.67: Goal(must=2.5, aim=3),
        0.9: Goal(must=6, aim=8),
        0.95: Goal(must=9, aim=13),
    },
    (1024, 1): {
        0.5: Goal(must=2.5, aim=3),
        0.67: Goal(must=3.5, aim=4.5),
        0.9: Goal(must=8, aim=11),
        0.95: Goal(must=12, aim=18),
    },
    (256, 1): {
        0.5: Goal(must=2.3, aim=3),
        0.67: Goal(must=3.3, aim=4.5),
        0.9: Goal(must=7, aim=10),
        0.95: Goal(must=10, aim=14),
    },
    (96, 20): {0.67: FASTER, 0.9: FASTER},
}
TRAINING = LITTLE | {
    0.67: Goal(must=2.5, aim=3),
    0.9: Goal(must=7, aim=9),
    0.95: Goal(must=10, aim=15),
}
MASKED = {0.67: Goal(must=3, aim=4), 0.9: Goal(must=8, aim=11)}
COMPRESSED = {0.9: Goal(must=25, aim=40)}
SHORT = {(256, 1): FORWARD[256, 1], (256, 20): {0.9: Goal(must=1)}}


class Masked(nn.Module):
    """Multiplies a weight by its mask, as people do it with `parametrize`."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, zero where it is masked."""
        return weight * self.mask


def cases(short: bool) -> Iterator[Case]:
    for threads in (1,) if short else (1, 2):
        for (hidden, batch), goals in (SHORT if short else FORWARD).items():
            for sparsity, goal in goals.items():
                yield _forward(hidden, batch, sparsity, goal, threads)
        for sparsity, goal in {0.9: Goal(must=1)}.items() if short else TRAINING.items():
            yield _training(256 if short else 1500, 20, sparsity, goal, threads)
    for hidden, batch in () if short else ((650, 20), (1500, 20)):
        yield _two_threads(hidden, batch)


def _layers(hidden: int, batch: int, sparsity: float) -> tuple[SparseLSTM, nn.LSTM, Tensor]:
    torch.manual_seed(0)
    layer = SparseLSTM(hidden, hidden, density=1 - sparsity)
    return layer, layer.to_dense(), torch.randn(STEPS, batch, hidden)


def _work(layer: SparseLSTM, batch: int, products: int) -> Work:
    connections = sum(int(mask.sum()) for mask in layer.masks().values())
    return Work(operations=2.0 * connections * batch * STEPS * products)


def _forward(hidden: int, batch: int, sparsity: float, goal: Goal, threads: int) -> Case:
    layer, dense, x = _layers(hidden, batch, sparsity)

    def without_gradient(module: nn.Module) -> Callable[[], object]:
        def call() -> object:
            with torch.no_grad():
                return module(x)

        return call

    # packed once for all calls, as where a trained model is put to use
    packed = PackedWeights()
    anew = without_gradient(layer)

    def kept() -> object:
        with packed:
            return anew()

    return Case(
        name=f"LSTM forward {hidden}, B {batch}, {sparsity:.0%} sparse, kept packed",
        ours=kept,
        peers={
            "nn.LSTM no_grad": without_gradient(dense),
            "nn.LSTM training": lambda: dense(x),
            "ours, packed in each call": anew,
        },
        shape={"H": hidden, "B": batch, "T": STEPS, "sparsity": sparsity},
        threads=threads,
        goals={"nn.LSTM no_grad": goal, "nn.LSTM training": goal},
        work=_work(layer, batch, 1),
    )


def _two_threads(hidden: int, batch: int) -> Case:
    """A layer on two threads beside the same on one."""
    layer, _, x = _layers(hidden, batch, 0.9)
    packed = PackedWeights()

    def ours() -> None:
        with packed, torch.no_grad():
            layer(x)

    def alone() -> None:
        torch.set_num_threads(1)
        try:
            ours()
        finally:
            torch.set_num_threads(2)

    return Case(
        name=f"LSTM forward {hidden}, B {batch}, 90% sparse, kept packed, two threads",
        ours=ours,
        peers={"ours on one thread": alone},
        shape={"H": hidden, "B": batch, "T": STEPS, "sparsity": 0.9},
        threads=2,
        goals={"ours on one thread": SCALING},
        work=_work(layer, batch, 1),
    )


def _training(hidden: int, batch: int, sparsity: float, goal: Goal, threads: int) -> Case:
    layer, dense, x = _layers(hidden, batch, sparsity)
    masked = layer.to_dense()
    for name, mask in layer.masks().items():
        parametrize.register_parametrization(masked, name, Masked(mask))

    def step(module: nn.Module, live: LiveWeights | None = None) -> Callable[[], object]:
        leaf = x.clone().requires_grad_()
        trained = list(module.parameters()) if live is None else live.parameters(module)

        def call() -> None:
            for parameter in (leaf, *trained):
                parameter.grad = None
            with live or nullcontext():
                module(leaf)[0].sum().backward()

        return call

    # as the trainer does it: gradients of the values of connections, packed anew in every step
    ours = step(layer, LiveWeights())
    peers = {
        "nn.LSTM": step(dense),
        "nn.LSTM with parametrize masks": step(masked),
        "ours, gradients of dense shape": step(layer),
    }
    goals = {"nn.LSTM": goal}
    if sparsity in MASKED:
        goals["nn.LSTM with parametrize masks"] = MASKED[sparsity]
    if sparsity in COMPRESSED and hidden > 256:
        compressed = layer.to_dense()
        weight = compressed.weight_hh_l0.detach()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that its compressed rows are in beta
            compressed.weight_hh_l0 = nn.Parameter(weight.to_sparse_csr())
        peers["nn.LSTM with compressed rows"] = step(compressed)
        goals["nn.LSTM with compressed rows"] = COMPRESSED[sparsity]
    return Case(
        name=f"LSTM training step {hidden}, B {batch}, {sparsity:.0%} sparse",
        ours=ours,
        peers=peers,
        shape={"H": hidden, "B": batch, "T": STEPS, "sparsity": sparsity},
        threads=threads,
        goals=goals,
        work=_work(layer, batch, 3),
    )
