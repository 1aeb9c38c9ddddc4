"""How the cost of a layer grows: one of its connections, H, B and T at a time, the others held.

No peers: the figure of docs/layers.md is drawn from these by `bench/cells/draw_scaling.py`.
"""

from collections.abc import Iterator

import torch

from bench.harness import Case, Work
from lsh_native.nn import SparseLSTM
from lsh_native.sparsity.packed import PackedWeights

HELD = {"percent": 10, "H": 1024, "B": 32, "T": 16}
GROWING = {
    "percent": (1, 2, 4, 8, 16, 32),
    "H": (256, 512, 1024, 2048),
    "B": (8, 16, 32, 64, 128),
    "T": (4, 8, 16, 32, 64),
}


def cases(short: bool) -> Iterator[Case]:
    for name, sizes in GROWING.items():
        for size in sizes[:2] if short else sizes:
            yield _forward(name, **{**HELD, name: size})


def _forward(grows: str, *, percent: int, H: int, B: int, T: int) -> Case:
    torch.manual_seed(0)
    layer = SparseLSTM(H, H, density=percent / 100)
    x, packed = torch.randn(T, B, H), PackedWeights()

    def ours() -> None:
        with packed, torch.no_grad():
            layer(x)

    connections = sum(int(mask.sum()) for mask in layer.masks().values())
    return Case(
        name=f"{grows} of {percent}% connected, H {H}, B {B}, T {T}",
        ours=ours,
        peers={},
        shape={"grows": grows, "percent": percent, "H": H, "B": B, "T": T},
        work=Work(operations=2.0 * connections * B * T),
    )
