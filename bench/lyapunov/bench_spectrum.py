"""Lyapunov spectra of recurrent layers beside dense Jacobians and `torch.linalg.qr`.

The peer builds ∂(h', c') / ∂(h, c) from row-scaled gate blocks at every step, as public programs
do, and orthonormalises at the same interval. Errors among the shapes are the largest of all
exponents against float64 reflections over the same steps; ours may be twice those of the peer in
the same dtype.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bench.harness import Case, Goal, Work
from lsh_native.lyapunov import TangentFlow, identity_tangent
from lsh_native.nn import SparseLSTM, SparseRHN

PEER = "dense Jacobian + torch.linalg.qr"
WARMUP = 20


def cases(short: bool) -> Iterator[Case]:
    if short:
        yield _leading(128, 32, 0.9, torch.float32, every=2)
        yield _layers(96, steps=1)
        yield _together(64, 16, sequences=4)
        yield _highway(64, 3, 16)
        return
    for hidden, goals in (
        (1500, (Goal(must=10, aim=15), Goal(must=15, aim=20))),
        (650, (Goal(must=6, aim=9), Goal(must=9, aim=12))),
    ):
        for every, goal in zip((1, 5), goals, strict=True):
            yield _leading(hidden, 256, 0.9, torch.float32, every=every, goal=goal)
    for hidden, goal in ((650, Goal(must=4, aim=5)), (1500, Goal(must=5.5, aim=8))):
        yield _leading(hidden, 256, 0.0, torch.float64, steps=3, goal=goal)
    yield _leading(640, 1280, 0.0, torch.float64, steps=2, goal=Goal(must=2, aim=3.5))
    yield _highway(830, 10, 256, goal=Goal(must=6, aim=10))
    yield _together(650, 64, sequences=8, goal=Goal(must=1.5, aim=1.9))
    yield _layers(1500, steps=1, goal=Goal(must=6, aim=10))


def _leading(
    hidden: int,
    k: int,
    sparsity: float,
    dtype: torch.dtype,
    *,
    every: int = 1,
    steps: int = 10,
    goal: Goal | None = None,
) -> Case:
    torch.manual_seed(0)
    layer = SparseLSTM(hidden, hidden, density=1 - sparsity, dtype=dtype)
    x = torch.randn(steps + WARMUP, 1, hidden, dtype=dtype)
    (maps,) = layer.tangent_maps(x, state_warmup=WARMUP)
    scales = _scales(layer, x)[0][WARMUP:]
    weight = layer.masked_weight("weight_hh_l0").detach().reshape(4, hidden, hidden)

    def ours() -> Tensor:
        flow = TangentFlow(maps, identity_tangent(maps, k))
        for time in range(0, steps, every):
            flow.advance(range(time, min(time + every, steps)))
        return flow.exponents[0]

    def dense() -> Tensor:
        return _householder(torch.eye(2 * hidden, k, dtype=dtype), scales, weight, every)

    exact = _householder(
        torch.eye(2 * hidden, k, dtype=torch.float64), scales.double(), weight.double(), 1
    )
    connections = layer.masks()["weight_hh_l0"].sum().item()
    folded = 4 * hidden * hidden if sparsity == 0 else 2 * connections
    qr = 4 * 2 * hidden * k**2 - 4 * k**3 / 3 if k > hidden else 2 * (2 * hidden) * k**2
    precision = str(dtype).removeprefix("torch.")
    return Case(
        name=f"LSTM {hidden}, k {k}, {sparsity:.0%} sparse, {precision}, QR every {every}",
        ours=ours,
        peers={PEER: dense},
        shape={
            "H": hidden,
            "k": k,
            "T": steps,
            "B": 1,
            "sparsity": sparsity,
            "every": every,
            "error": (ours() - exact).abs().max().item(),
            "error of the peer": (dense() - exact).abs().max().item(),
        },
        goals={} if goal is None else {PEER: goal},
        work=Work(operations=steps * (folded * k + qr / every), dtype=dtype),
    )


def _highway(hidden: int, depth: int, k: int, *, goal: Goal | None = None) -> Case:
    """A highway at 53 % sparsity beside the product of its dense Jacobians."""
    torch.manual_seed(0)
    steps = 2
    layer = SparseRHN(hidden, hidden, depth, density=0.47)
    (maps,) = layer.tangent_maps(torch.randn(steps + WARMUP, 1, hidden), state_warmup=WARMUP)
    masks = [name for name in layer.masks() if name.startswith("weight_hh")]
    weights = [layer.masked_weight(name).detach().chunk(2) for name in masks]
    activations, states = maps._trajectory.activations[..., 0], maps._trajectory.states[..., 0]

    def ours() -> Tensor:
        flow = TangentFlow(maps, identity_tangent(maps, k))
        for time in range(steps):
            flow.advance(range(time, time + 1))
        return flow.exponents[0]

    def dense() -> Tensor:
        q = torch.eye(hidden, k)
        growth = torch.zeros(k, dtype=torch.float64)
        for time in range(steps):
            jacobian = torch.eye(hidden)
            for d, (by_h, by_t) in enumerate(weights):
                h, t = activations[time * depth + d].unsqueeze(-1)
                s = states[time * depth + d, 0].unsqueeze(-1)
                step = t * (1 - h * h) * by_h + (h - s) * t * (1 - t) * by_t
                step.diagonal().add_(1 - t.squeeze(-1))
                jacobian = step @ jacobian
            q, r = torch.linalg.qr(jacobian @ q)
            q = q * r.diagonal().sign()
            growth += r.diagonal().abs().double().log()
        return growth / steps

    torch.testing.assert_close(ours(), dense(), rtol=1e-2, atol=1e-3)
    return Case(
        name=f"RHN {hidden}, depth {depth}, k {k}, 53% sparse, float32, QR every step",
        ours=ours,
        peers={PEER: dense},
        shape={"H": hidden, "D": depth, "k": k, "T": steps, "B": 1, "sparsity": 0.53},
        goals={} if goal is None else {PEER: goal},
        work=Work(operations=steps * (2 * depth * hidden**2 * k + 2 * hidden * k**2)),
    )


def _together(hidden: int, k: int, *, sequences: int, goal: Goal | None = None) -> Case:
    """Several sequences in one flow beside as many flows of one."""
    torch.manual_seed(0)
    steps = 5
    layer = SparseLSTM(hidden, hidden)
    x = torch.randn(steps + WARMUP, sequences, hidden)
    (together,) = layer.tangent_maps(x, state_warmup=WARMUP)
    alone = [layer.tangent_maps(x[:, b : b + 1], state_warmup=WARMUP)[0] for b in range(sequences)]

    def run(maps: object) -> Tensor:
        flow = TangentFlow(maps, identity_tangent(maps, k))  # type: ignore[arg-type]
        for time in range(steps):
            flow.advance(range(time, time + 1))
        return flow.exponents

    peer = "one at a time"
    return Case(
        name=f"LSTM {hidden}, k {k}, dense, {sequences} sequences at once",
        ours=lambda: run(together),
        peers={peer: lambda: [run(maps) for maps in alone]},
        shape={"H": hidden, "k": k, "T": steps, "B": sequences},
        goals={} if goal is None else {peer: goal},
        work=Work(operations=sequences * steps * (4 * hidden**2 * k + 4 * hidden * k**2)),
    )


def _layers(hidden: int, *, steps: int, goal: Goal | None = None) -> Case:
    """The full spectrum of two layers, layer by layer, beside the joint one of both."""
    torch.manual_seed(0)
    layers = SparseLSTM(hidden, hidden, num_layers=2)
    x = torch.randn(steps + WARMUP, 1, hidden)
    maps = layers.tangent_maps(x, state_warmup=WARMUP)
    joint = _joint_jacobian(layers, x)

    def ours() -> list[Tensor]:
        flows = [TangentFlow(each, identity_tangent(each, each.size)) for each in maps]
        for flow in flows:
            for time in range(steps):
                flow.advance(range(time, time + 1))
        return [flow.exponents for flow in flows]

    def dense() -> Tensor:
        q = torch.eye(4 * hidden)
        for _ in range(steps):
            q, r = torch.linalg.qr(joint() @ q)
            q = q * r.diagonal().sign()
        return q

    peer = "joint " + PEER
    n = 2 * hidden
    return Case(
        name=f"LSTM 2 x {hidden}, full spectrum layer by layer, float32",
        ours=ours,
        peers={peer: dense},
        shape={"H": hidden, "k": 4 * hidden, "T": steps, "B": 1},
        goals={} if goal is None else {peer: goal},
        work=Work(operations=steps * 2 * (4 * hidden**2 * n + 8 * n**3 / 3)),
    )


def _householder(q: Tensor, scales: Tensor, weight: Tensor, every: int) -> Tensor:
    """Exponents by dense Jacobians and reflections."""
    growth = torch.zeros(q.shape[1], dtype=torch.float64)
    for time, scale in enumerate(scales, 1):
        q = _jacobian(weight, scale) @ q
        if time % every == 0 or time == len(scales):
            q, r = torch.linalg.qr(q)
            diagonal = r.diagonal()
            q = q * diagonal.sign()
            growth += diagonal.abs().double().log()
    return growth / len(scales)


@torch.no_grad()
def _scales(layer: SparseLSTM, x: Tensor, index: int = 0) -> tuple[Tensor, Tensor]:
    """What the rows of the Jacobian's blocks are scaled by, (T, 6, H), and the outputs."""
    w_ih, w_hh, b_ih, b_hh = layer.lstm_layers()[index]
    assert b_ih is not None
    assert b_hh is not None
    h = c = x.new_zeros(1, layer.hidden_size)
    rows, outputs = [], []
    for x_t in x:
        i, f, g, o = (x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        before, c = c, f * c + i * g
        squashed = c.tanh()
        h = o * squashed
        outputs.append(h)
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
    return torch.stack(rows), torch.stack(outputs)


def _jacobian(weight: Tensor, scale: Tensor) -> Tensor:
    """∂(h', c') / ∂(h, c), (2H, 2H), from row-scaled gate blocks."""
    i, f, g, o, through, forget = scale.unsqueeze(-1)
    c_by_h = i * weight[0] + f * weight[1] + g * weight[2]
    c_by_c = forget.squeeze(-1).diag()
    top = torch.cat([o * weight[3] + through * c_by_h, through * c_by_c], dim=1)
    return torch.cat([top, torch.cat([c_by_h, c_by_c], dim=1)])


def _joint_jacobian(layers: SparseLSTM, x: Tensor) -> Callable[[], Tensor]:
    """A function that builds the Jacobian of both layers at the last step."""
    weights = [
        [w.detach().reshape(4, layers.hidden_size, -1) for w in layer[:2]]
        for layer in layers.lstm_layers()
    ]
    lower, outputs = _scales(layers, x)
    upper, _ = _scales(layers, outputs, 1)

    def build() -> Tensor:
        below = _jacobian(weights[0][1], lower[-1])
        driven = _jacobian(weights[1][0], upper[-1])[:, : layers.hidden_size]
        between = driven @ below[: layers.hidden_size]
        above = _jacobian(weights[1][1], upper[-1])
        top = torch.cat([below, torch.zeros_like(below)], dim=1)
        return torch.cat([top, torch.cat([between, above], dim=1)])

    return build


__all__ = ["cases"]
