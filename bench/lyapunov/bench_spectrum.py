"""The Lyapunov spectrum of an LSTM layer beside dense Jacobians and `torch.linalg.qr`."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.harness import Case, Goal
from lsh_native.lyapunov import TangentFlow, identity_tangent
from lsh_native.nn import SparseLSTM

STEPS = 10


def cases(short: bool) -> Iterator[Case]:
    sizes = [(128, 32, 0.9, None)]
    if not short:
        sizes = [(650, 256, 0.9, Goal(must=6, aim=9)), (1500, 256, 0.9, Goal(must=10, aim=15))]
    for hidden, k, sparsity, goal in sizes:
        yield _case(hidden, k, sparsity, goal)


def _case(hidden: int, k: int, sparsity: float, goal: Goal | None) -> Case:
    torch.manual_seed(0)
    layer = SparseLSTM(hidden, hidden, density=1 - sparsity)
    x = torch.randn(STEPS + 20, 1, hidden)
    (maps,) = layer.tangent_maps(x, state_warmup=20)
    scales = _scales(layer, x)[20:]
    weight = layer.masked_weight("weight_hh_l0").detach().reshape(4, hidden, hidden)

    def ours() -> Tensor:
        flow = TangentFlow(maps, identity_tangent(maps, k))
        for time in range(STEPS):
            flow.step(time)
            flow.orthonormalize()
        return flow.exponents

    def dense() -> Tensor:
        q = torch.eye(2 * hidden, k)
        growth = torch.zeros(k, dtype=torch.float64)
        for scale in scales:
            q, r = torch.linalg.qr(_jacobian(weight, scale) @ q)
            diagonal = r.diagonal()
            q = q * diagonal.sign()
            growth += diagonal.abs().double().log()
        return growth / STEPS

    torch.testing.assert_close(ours()[0], dense(), rtol=1e-2, atol=1e-2)
    return Case(
        name=f"spectrum of LSTM {hidden}, k {k}, {sparsity:.0%} sparse, QR every step",
        ours=ours,
        peers={"dense Jacobian + torch.linalg.qr": dense},
        shape={"H": hidden, "k": k, "T": STEPS, "B": 1, "sparsity": sparsity},
        goals={} if goal is None else {"dense Jacobian + torch.linalg.qr": goal},
    )


@torch.no_grad()
def _scales(layer: SparseLSTM, x: Tensor) -> Tensor:
    """What the rows of the Jacobian's blocks are scaled by, (T, 6, H)."""
    w_ih, w_hh, b_ih, b_hh = layer.lstm_layers()[0]
    assert b_ih is not None
    assert b_hh is not None
    h = c = x.new_zeros(1, layer.hidden_size)
    rows = []
    for x_t in x:
        i, f, g, o = (x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        before, c = c, f * c + i * g
        squashed = c.tanh()
        h = o * squashed
        rows.append(
            torch.cat(
                [
                    g * i * (1 - i),
                    before * f * (1 - f),
                    i * (1 - g * g),
                    squashed * o * (1 - o),
                    o * (1 - squashed * squashed),
                    f,
                ]
            )
        )
    return torch.stack(rows)


def _jacobian(weight: Tensor, scale: Tensor) -> Tensor:
    """∂(h', c') / ∂(h, c), (2H, 2H), from row-scaled gate blocks."""
    i, f, g, o, through, forget = scale.unsqueeze(-1)
    c_by_h = i * weight[0] + f * weight[1] + g * weight[2]
    c_by_c = forget.squeeze(-1).diag()
    top = torch.cat([o * weight[3] + through * c_by_h, through * c_by_c], dim=1)
    return torch.cat([top, torch.cat([c_by_h, c_by_c], dim=1)])
