"""A recurrent highway layer of depth 10 beside the same in a loop of dense torch operators."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import linear

from bench.harness import Case, Goal, Work
from lsh_native.nn import SparseRHN
from lsh_native.sparsity.packed import PackedWeights

STEPS = 35

GOALS = {
    0.53: Goal(must=3, aim=4),
    0.67: Goal(must=4.5, aim=6),
    0.9: Goal(must=12, aim=18),
    0.95: Goal(must=22, aim=35),
}


def cases(short: bool) -> Iterator[Case]:
    hidden, depth, batch = (64, 3, 20) if short else (830, 10, 20)
    for threads in (1,) if short else (1, 2):
        for sparsity, goal in {0.9: Goal(must=1)}.items() if short else GOALS.items():
            yield _case(hidden, depth, batch, sparsity, goal, threads)


def _loop(layer: SparseRHN) -> Callable[[Tensor], Tensor]:
    """The layer as people write it: one product of a weight with both gates a micro-step."""
    [[names]] = layer._layers
    weight_ih = layer.masked_weight(names.weight_ih)
    weights = [layer.masked_weight(name) for name in names.weight_hh]
    biases = [layer._weight(name) for name in names.bias_hh]
    bias_ih = layer._weight(names.bias_ih) if names.bias_ih else None

    def run(x: Tensor) -> Tensor:
        s, outputs = x.new_zeros(x.shape[1], layer.hidden_size), []
        for step in linear(x, weight_ih, bias_ih):
            for depth, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                gates = linear(s, weight, bias)
                h, t = (gates + step if depth == 0 else gates).chunk(2, dim=1)
                t = torch.sigmoid(t)
                s = torch.tanh(h) * t + s * (1 - t)
            outputs.append(s)
        return torch.stack(outputs)

    return run


def _case(hidden: int, depth: int, batch: int, sparsity: float, goal: Goal, threads: int) -> Case:
    torch.manual_seed(0)
    layer = SparseRHN(hidden, hidden, depth, density=1 - sparsity)
    x = torch.randn(STEPS, batch, hidden)
    loop = _loop(layer)
    torch.testing.assert_close(loop(x), layer(x)[0])

    def ours() -> object:
        with torch.no_grad():
            return layer(x)

    def dense() -> object:
        with torch.no_grad():
            return loop(x)

    packed = PackedWeights()

    def kept() -> object:
        with packed:
            return ours()

    connections = sum(int(mask.sum()) for mask in layer.masks().values())
    return Case(
        name=f"RHN forward {hidden}, depth {depth}, B {batch}, {sparsity:.0%} sparse, kept packed",
        ours=kept,
        peers={"torch loop": dense, "ours, packed in each call": ours},
        shape={"H": hidden, "D": depth, "B": batch, "T": STEPS, "sparsity": sparsity},
        threads=threads,
        goals={"torch loop": goal},
        work=Work(operations=2.0 * connections * batch * STEPS),
    )
