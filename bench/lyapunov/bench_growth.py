"""How the cost of a spectrum grows: one of H, k, T and B at a time, the others held.

No peers: the figures of docs/lyapunov.md are drawn from these by `bench/lyapunov/draw_growth.py`.
"""

from collections.abc import Iterator

import torch

from bench.harness import Case, Work
from lsh_native.lyapunov import TangentFlow, identity_tangent
from lsh_native.nn import SparseLSTM

WARMUP = 5
HELD = {"H": 512, "k": 64, "T": 4, "B": 1}
GROWING = {
    "H": (128, 256, 512, 1024),
    "k": (16, 32, 64, 128, 256, 512, 1024),
    "T": (2, 4, 8, 16, 32),
    "B": (1, 2, 4, 8),
}


def cases(short: bool) -> Iterator[Case]:
    for name, sizes in GROWING.items():
        for size in sizes[:2] if short else sizes:
            yield _spectrum(name, **{**HELD, name: size})


def _spectrum(grows: str, *, H: int, k: int, T: int, B: int) -> Case:
    """T steps of an LSTM at 90 % sparsity in float32, orthonormalised after each."""
    torch.manual_seed(0)
    layer = SparseLSTM(H, H, density=0.1)
    (maps,) = layer.tangent_maps(torch.randn(T + WARMUP, B, H), state_warmup=WARMUP)

    def ours() -> torch.Tensor:
        flow = TangentFlow(maps, identity_tangent(maps, k))
        for time in range(T):
            flow.advance(range(time, time + 1))
        return flow.exponents

    connections = int(layer.masks()["weight_hh_l0"].sum())
    reflections = 4 * (2 * H) * k**2 - 4 * k**3 / 3
    orthonormalise = 2 * (2 * H) * k**2 if k <= H else reflections
    return Case(
        name=f"{grows} of H {H}, k {k}, T {T}, B {B}",
        ours=ours,
        peers={},
        shape={"grows": grows, "H": H, "k": k, "T": T, "B": B, "sparsity": 0.9},
        work=Work(operations=T * B * (2 * connections * k + orthonormalise)),
    )


__all__ = ["GROWING", "HELD", "cases"]
