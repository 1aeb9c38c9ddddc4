"""An LSTM layer whose mask has a form beside one of as many connections without any."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bench.harness import Case, Goal, Work
from lsh_native.nn import SparseLSTM
from lsh_native.sparsity.packed import PackedWeights
from lsh_native.sparsity.pattern import pack_pattern

STEPS = 35
GATES = 4
FORMS = {
    "4 x 1 blocks": Goal(must=1.35, aim=1.4),
    "8 x 1 blocks": Goal(must=1.5, aim=1.6),
    "16 x 1 blocks": Goal(must=1.5, aim=1.6),
    "shared by gates": None,
    "constant fan-in": None,
}


def cases(short: bool) -> Iterator[Case]:
    hidden, batch = (256, 20) if short else (1024, 20)
    for sparsity in (0.9,) if short else (0.67, 0.9, 0.95):
        for form, goal in FORMS.items():
            yield _forward(form, hidden, batch, sparsity, Goal(must=1) if short else goal)
    if not short:
        for form, goal in FORMS.items():
            yield _forward(form, 1024, 64, 0.9, goal)


def draw(form: str, rows: int, columns: int, count: int, generator: torch.Generator) -> Tensor:
    """A mask of a form with `count` connections, or the next number that the form allows."""
    height = {"4 x 1 blocks": 4, "8 x 1 blocks": 8, "16 x 1 blocks": 16}.get(form, 1)
    if form == "constant fan-in":
        ranks = torch.rand(rows, columns, generator=generator).argsort(1).argsort(1)
        return ranks < round(count / rows)
    shared = GATES if form == "shared by gates" else height
    mask = torch.zeros(rows // shared * columns, dtype=torch.bool)
    mask[torch.randperm(mask.numel(), generator=generator)[: round(count / shared)]] = True
    mask = mask.view(rows // shared, columns)
    return mask.repeat(GATES, 1) if form == "shared by gates" else mask.repeat_interleave(height, 0)


def bytes_per_connection(mask: Tensor, lanes: int) -> float:
    """What the kernels' own form of a float32 weight takes in memory."""
    weight, pattern = torch.zeros(mask.shape), pack_pattern(mask)
    packed = torch.ops.lsh.pack_weight(weight, pattern, *mask.shape, GATES, lanes)
    return packed.numel() / int(mask.sum())


def _forward(form: str, hidden: int, batch: int, sparsity: float, goal: Goal | None) -> Case:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    layers = {}
    for kind in ("unstructured", form):
        layers[kind] = layer = SparseLSTM(hidden, hidden)
        masks = {}
        for name, mask in layer.masks().items():
            count = round((1 - sparsity) * mask.numel())
            masks[name] = draw(kind, *mask.shape, count, generator)
        layer.set_masks(masks)
    x = torch.randn(STEPS, batch, hidden)

    def call(layer: SparseLSTM) -> Callable[[], None]:
        packed = PackedWeights()

        def forward() -> None:
            with packed, torch.no_grad():
                layer(x)

        return forward

    mask = layers[form].masks()["weight_hh_l0"]
    connections = sum(int(mask.sum()) for mask in layers[form].masks().values())
    return Case(
        name=f"LSTM forward {hidden}, B {batch}, {sparsity:.0%} sparse, {form}, kept packed",
        ours=call(layers[form]),
        peers={"unstructured": call(layers["unstructured"])},
        shape={
            **{"H": hidden, "B": batch, "T": STEPS, "sparsity": sparsity, "form": form},
            "bytes a connection": round(bytes_per_connection(mask, 32), 2),
        },
        goals={"unstructured": goal} if goal else {},
        work=Work(operations=2.0 * connections * batch * STEPS),
    )
