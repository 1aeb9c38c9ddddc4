"""One step at a time with a state that stays, as live input comes, beside what torch has for it."""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from bench.harness import Case, Goal, Work
from lsh_native.nn import SparseLSTM, Streaming
from lsh_native.sparsity.packed import PackedWeights

# (units, sparsity): the bar is the faster of torch's two, the cell
GOALS = {
    (64, 0.9): Goal(must=1),
    (256, 0.67): Goal(must=1),
    (256, 0.9): Goal(must=1),
    (1024, 0.9): Goal(must=1),
}


def cases(short: bool) -> Iterator[Case]:
    for (hidden, sparsity), goal in {} if short else GOALS.items():
        yield _step(hidden, sparsity, goal)


def _step(hidden: int, sparsity: float, goal: Goal) -> Case:
    torch.manual_seed(0)
    layer = SparseLSTM(hidden, hidden, density=1 - sparsity)
    dense, streaming = layer.to_dense(), Streaming(layer)
    cell = nn.LSTMCell(hidden, hidden)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in dense.named_parameters()})
    x, zeros, packed = torch.randn(1, 1, hidden), torch.zeros(1, 1, hidden), PackedWeights()

    def without_gradient(call: Callable[[], object]) -> Callable[[], object]:
        def without() -> object:
            with torch.no_grad():
                return call()

        return without

    def as_module() -> object:
        with packed:
            return layer(x, (zeros, zeros))

    connections = sum(int(mask.sum()) for mask in layer.masks().values())
    return Case(
        name=f"LSTM step {hidden}, B 1, {sparsity:.0%} sparse, streaming",
        ours=lambda: streaming(x),
        peers={
            "nn.LSTMCell": without_gradient(lambda: cell(x[0], (zeros[0], zeros[0]))),
            "nn.LSTM": without_gradient(lambda: dense(x, (zeros, zeros))),
            "ours as a module": without_gradient(as_module),
        },
        shape={"H": hidden, "B": 1, "T": 1, "sparsity": sparsity},
        threads=1,
        goals={"nn.LSTMCell": goal, "nn.LSTM": goal},
        work=Work(operations=2.0 * connections),
    )
