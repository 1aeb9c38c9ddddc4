"""A sparse linear layer beside `torch.nn.Linear`: a decoder over words, uniform random mask."""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from bench.harness import Case, Goal, Work
from lsh_native.nn import SparseLinear

# sparsity -> must over torch.nn.Linear; there is no layer to hide behind, so never slower
GOALS = {0.67: Goal(must=1), 0.9: Goal(must=1), 0.95: Goal(must=1)}


def cases(short: bool) -> Iterator[Case]:
    size = (64, 50, 500) if short else (700, 200, 10_000)  # inputs, columns, rows
    for sparsity, goal in {0.9: Goal(must=1)}.items() if short else GOALS.items():
        for training in (False, True):
            yield _case(size, sparsity, goal, training)


def _case(size: tuple[int, int, int], sparsity: float, goal: Goal, training: bool) -> Case:
    inputs, columns, rows = size
    torch.manual_seed(0)
    layer = SparseLinear(columns, rows, density=1 - sparsity)
    x = torch.randn(inputs, columns, requires_grad=training)

    def call(module: nn.Module) -> Callable[[], object]:
        def forward() -> None:
            with torch.no_grad():
                module(x)

        def step() -> None:
            module.zero_grad()
            x.grad = None
            module(x).sum().backward()

        return step if training else forward

    connections = int(layer.masks()["weight"].sum())
    kind = "training step" if training else "forward"
    return Case(
        name=f"linear {kind} {columns} to {rows}, {sparsity:.0%} sparse",
        ours=call(layer),
        peers={"nn.Linear": call(layer.to_dense())},
        shape={"N": inputs, "C": columns, "R": rows, "sparsity": sparsity},
        goals={"nn.Linear": goal},
        work=Work(operations=2.0 * connections * inputs * (3 if training else 1)),
    )
