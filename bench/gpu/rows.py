"""The rows of the table: what is ours, what it is compared with, and what it has to do at least."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import lsh_native.lyapunov  # noqa: F401 - registers what an operator does without content
from bench.gpu.place import Function, Place
from bench.harness import Goal
from lsh_native.cells import LSTM, RHN, Cell, LayerWeights, run, run_definition, tangent
from lsh_native.nn import SparseLSTM

Factory = Callable[[Place], Function]

BF16, F32 = torch.bfloat16, torch.float32


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a row has to do at least."""

    operations: float = 0.0
    dtype: str = "float32"
    """Of the product whose ceiling bounds the operations."""
    bytes_moved: float = 0.0
    steps: int = 0
    """Barriers, one after another."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        name: what is done, with its sizes.
        ours: ways of this library by name. `plain` and `fast` are recurrent kernels
            (LSH_CUDA_KERNELS), any other name says what it is.
        peers: what people use, by name.
        goals: ratios peer / the best of ours, by peer.
        most: the most seconds that ours may take, where that is the goal.
        work: for the floor.
        fake: whether ours can be called without content, to check shapes.
        gradients: whether ours takes them, for which torch asks the device for a stream.
    """

    name: str
    ours: Mapping[str, Factory]
    peers: Mapping[str, Factory] = field(default_factory=dict)
    goals: Mapping[str, Goal] = field(default_factory=dict)
    most: float | None = None
    work: Work = Work()
    fake: bool = True
    gradients: bool = False


@dataclass(frozen=True, kw_only=True)
class Unbuilt:
    """A row of the goals for which there is no kernel yet."""

    name: str
    goal: str
    why: str


# ------------------------------------------------------------------------------------- our layers


def layer(
    place: Place,
    cell: Cell,
    inputs: int,
    H: int,
    density: float,
    depth: int = 1,
) -> LayerWeights:
    """Random weights of a layer, its input weight as dense as its recurrent ones."""
    R = len(cell.gates) * H
    fan_in = max(1.0, density * (inputs + H)) ** -0.5
    return LayerWeights(
        weight_ih=place.normal(R, inputs, scale=fan_in),
        weight_hh=tuple(place.normal(R, H, scale=fan_in) for _ in range(depth)),
        pattern_ih=place.pattern(R, inputs, density),
        pattern_hh=tuple(place.pattern(R, H, density) for _ in range(depth)),
        bias_ih=place.normal(R, scale=0.1),
        bias_hh=place.normal(depth, R, scale=0.1),
    )


def lstm_forward(
    T: int,
    B: int,
    inputs: int,
    H: int,
    density: float,
    cell: Cell = LSTM,
    depth: int = 1,
) -> Factory:
    """A forward pass without gradients."""

    def build(place: Place) -> Function:
        weights = layer(place, cell, inputs, H, density, depth)
        x, state = place.normal(T, B, inputs), place.normal(len(cell.states), B, H)

        def forward() -> Tensor:
            with torch.no_grad():
                return run(cell, x, state, weights).output

        return forward

    return build


def lstm_training(T: int, B: int, inputs: int, H: int, density: float) -> Factory:
    """Forward and backward."""

    def build(place: Place) -> Function:
        weights = layer(place, LSTM, inputs, H, density)
        x, state = place.normal(T, B, inputs), place.normal(2, B, H)
        leaves = [weights.weight_ih, *weights.weight_hh]
        for leaf in leaves:
            leaf.requires_grad_()
        grad = place.normal(T, B, H)

        def step() -> object:
            output = run(LSTM, x, state, weights).output
            return torch.autograd.grad(output, leaves, grad)

        return step

    return build


# ------------------------------------------------------------------------------------------ peers


def torch_lstm(
    T: int,
    B: int,
    inputs: int,
    H: int,
    dtype: torch.dtype,
    *,
    train: bool = False,
    density: float | None = None,
    form: str = "",
) -> Factory:
    """torch.nn.LSTM; with TF32 off in float32. Its recurrent weight may be masked, or sparse."""

    def build(place: Place) -> Function:
        torch.backends.cudnn.allow_tf32 = False
        module = nn.LSTM(inputs, H).to(device=place.device, dtype=dtype)
        if density is not None:
            mask = place.mask(4 * H, H, density)
            if form == "masked":
                nn.utils.parametrize.register_parametrization(module, "weight_hh_l0", _Masked(mask))
            else:
                sparse = (module.weight_hh_l0.detach() * mask).to_sparse_csr()
                module.weight_hh_l0 = nn.Parameter(sparse, requires_grad=False)
        x = place.normal(T, B, inputs, dtype=dtype)

        def forward() -> object:
            with torch.no_grad():
                return module(x)[0]

        def step() -> object:
            module.zero_grad()
            module(x)[0].sum().backward()
            return module.weight_ih_l0.grad

        return step if train else forward

    return build


class _Masked(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def torch_loop(T: int, B: int, H: int, depth: int, cell: Cell) -> Factory:
    """A loop of torch operations over dense weights."""

    def build(place: Place) -> Function:
        G = len(cell.gates)
        weight_ih = place.normal(G * H, H, scale=H**-0.5)
        weight_hh = [place.normal(G * H, H, scale=H**-0.5) for _ in range(depth)]
        x, state = place.normal(T, B, H), place.normal(len(cell.states), B, H)

        def forward() -> object:
            with torch.no_grad():
                return run_definition(cell, x, state, weight_ih, weight_hh)[0]

        return forward

    return build


# ---------------------------------------------------------------------------------------- spectra


def our_tangent_step(B: int, H: int, K: int, density: float, *, native: bool) -> Factory:
    """One step of K tangent vectors of two layers, one after the other, and their growth."""

    def build(place: Place) -> Function:
        weights = layer(place, LSTM, 1, H, density)
        done = run(LSTM, place.normal(1, B, 1), place.normal(2, B, H), weights)
        vectors = place.normal(B, 2, H, K)
        orthonormalise = torch.ops.lsh.qr_growth.default if native else torch.linalg.qr

        def step() -> object:
            with torch.no_grad():
                for _ in range(2):
                    _, moved = tangent(LSTM, vectors, done.trajectory, weights)
                    result = orthonormalise(moved.reshape(B, 2 * H, K))
            return result

        return step

    return build


def dense_tangent_step(B: int, H: int, K: int) -> Factory:
    """The same by a dense Jacobian of both layers together, and torch.linalg.qr."""

    def build(place: Place) -> Function:
        n = 4 * H
        jacobian, vectors = place.normal(B, n, n, scale=n**-0.5), place.normal(B, n, K)
        return lambda: torch.linalg.qr(jacobian @ vectors)

    return build


# --------------------------------------------------------------------------------------- topology


def mask_update(sizes: tuple[tuple[int, int], ...], density: float, share: float) -> Factory:
    """Drops a share of the smallest weights, grows as many at random, packs all patterns anew."""

    def build(place: Place) -> Function:
        masks = [place.mask(rows, columns, density) for rows, columns in sizes]
        scores = [place.normal(rows, columns) for rows, columns in sizes]
        count = int(share * density * sum(rows * columns for rows, columns in sizes))
        patterns = [
            place.pattern(rows, columns, min(1.0, 1.5 * density)) for rows, columns in sizes
        ]

        def update() -> object:
            torch.ops.lsh.toggle_(masks, scores, 0, count, True, False, True)
            torch.ops.lsh.toggle_(masks, [], 1, count, False, False, False)
            for pattern, mask in zip(patterns, masks, strict=True):
                torch.ops.lsh.pack_pattern_(pattern, mask)
            return patterns

        return update

    return build


def torch_mask_update(sizes: tuple[tuple[int, int], ...], density: float, share: float) -> Factory:
    """Drop and growth by torch.kthvalue and a random permutation, without patterns."""

    def build(place: Place) -> Function:
        total = sum(rows * columns for rows, columns in sizes)
        mask = torch.rand(total, device=place.device) < density
        scores = place.normal(total).abs()
        count = max(1, int(share * density * total))

        def update() -> object:
            live = torch.where(mask, scores, torch.inf)
            changed = mask & (live > live.kthvalue(count).values)
            dead = torch.where(changed, -1.0, torch.rand_like(scores))
            changed[dead.topk(count, sorted=False).indices] = True
            return changed

        return update

    return build


# --------------------------------------------------------------------------------- language model


def language_model(T: int, B: int, H: int, words: int, density: float | None) -> Factory:
    """A training step of two LSTM layers with a dense decoder; ours where a density is given."""

    def build(place: Place) -> Function:
        embedding, decoder = nn.Embedding(words, H), nn.Linear(H, words)
        recurrent = (
            nn.LSTM(H, H, num_layers=2)
            if density is None
            else SparseLSTM(H, H, num_layers=2, density=density)
        )
        model = nn.ModuleList([embedding, recurrent, decoder]).to(place.device)
        tokens = torch.randint(words, (T, B), device=place.device)

        def step() -> object:
            model.zero_grad()
            with torch.autocast(place.device.type, BF16):
                logits = decoder(recurrent(embedding(tokens))[0])
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
            loss.backward()
            return loss.detach()

        return step

    return build


# ------------------------------------------------------------------------------------------ table


def connections(H: int, inputs: int, density: float, gates: int = 4) -> float:
    """Of a layer."""
    return density * gates * H * (H + inputs)


def rows(*, small: bool = False) -> Iterator[Row]:
    """All rows; `small` ones have the same form and no size to speak of."""

    def least(size: int, tiny: int) -> int:
        return tiny if small else size

    H, B, big, rhn = least(1500, 24), least(20, 3), least(4096, 32), least(830, 16)
    for T in (least(35, 3), least(512, 4)):
        shape = (T, B, H, H)
        terms = 2 * T * B * connections(H, H, 1 / 3)
        yield Row(
            name=f"LSTM {H}, B {B}, T {T}, 67 %, forward",
            ours={name: lstm_forward(*shape, 1 / 3) for name in ("plain", "fast")},
            peers={"nn.LSTM bf16": torch_lstm(*shape, BF16)},
            goals={"nn.LSTM bf16": Goal(must=2, aim=3)},
            work=Work(operations=terms, steps=T),
        )
        yield Row(
            name=f"LSTM {H}, B {B}, T {T}, 67 %, training step",
            ours={name: lstm_training(*shape, 1 / 3) for name in ("plain", "fast")},
            peers={"nn.LSTM bf16": torch_lstm(*shape, BF16, train=True)},
            goals={"nn.LSTM bf16": Goal(must=1.5, aim=2.2)},
            work=Work(operations=3 * terms, steps=2 * T),
            gradients=True,
        )
    T, narrow, few = least(1024, 5), least(768, 20), least(16, 2)
    yield Row(
        name=f"LSTM {narrow}, B {few}, T {T}, dense, forward",
        ours={name: lstm_forward(T, few, narrow, narrow, 1.0) for name in ("plain", "fast")},
        most=4.0e-6 * T,
        work=Work(operations=2 * T * few * connections(narrow, narrow, 1.0), steps=T),
    )
    T = least(35, 3)
    for density, goal in ((0.1, Goal(must=2, aim=3)), (0.05, Goal(must=2.5, aim=4))):
        shape = (T, B, H, H)
        yield Row(
            name=f"LSTM {H}, B {B}, T {T}, {1 - density:.0%}, strict float32, forward",
            ours={name: lstm_forward(*shape, density) for name in ("plain", "fast")},
            peers={
                "nn.LSTM float32": torch_lstm(*shape, F32),
                "parametrize": torch_lstm(*shape, F32, density=density, form="masked"),
                "nn.LSTM with CSR": torch_lstm(*shape, F32, density=density, form="csr"),
            },
            goals={
                "nn.LSTM float32": goal,
                "parametrize": Goal(must=1),
                "nn.LSTM with CSR": Goal(must=1),
            },
            work=Work(operations=2 * T * B * connections(H, H, density), steps=T),
        )
    for density, goal in ((0.1, Goal(must=2, aim=3)), (0.05, Goal(must=3.5, aim=6))):
        shape = (T, B, big, big)
        yield Row(
            name=f"LSTM {big}, B {B}, T {T}, {1 - density:.0%}, forward",
            ours={name: lstm_forward(*shape, density) for name in ("plain", "fast")},
            peers={"nn.LSTM bf16": torch_lstm(*shape, BF16)},
            goals={"nn.LSTM bf16": goal},
            work=Work(operations=2 * T * B * connections(big, big, density), steps=T),
        )
    depth = least(10, 2)
    yield Row(
        name=f"RHN {rhn}, depth {depth}, B {B}, T {T}, 53 %, forward",
        ours={name: lstm_forward(T, B, rhn, rhn, 0.47, RHN, depth) for name in ("plain", "fast")},
        peers={"graph of torch operations": torch_loop(T, B, rhn, depth, RHN)},
        goals={"graph of torch operations": Goal(must=1.8, aim=3)},
        work=Work(operations=2 * T * B * 0.47 * 2 * rhn * rhn * (depth + 1), steps=T * depth),
    )
    one = least(4, 1)
    yield Row(
        name=f"LSTM {H}, B {one}, T {T}, 95 %, forward",
        ours={name: lstm_forward(T, one, H, H, 0.05) for name in ("plain", "fast")},
        peers={"nn.LSTM float32": torch_lstm(T, one, H, H, F32)},
        work=Work(operations=2 * T * one * connections(H, H, 0.05), steps=T),
    )
    for K, batch, goal in (
        (least(100, 4), B, Goal(must=20, aim=50)),
        (least(512, 10), 1, Goal(must=5, aim=10)),
    ):
        products = 2 * batch * (2 * 4 * H * H * K / 3 + 4 * 2 * H * K * K)
        yield Row(
            name=f"spectrum of 2 x {H}, K {K}, B {batch}, 67 %, one step",
            ours={
                "Cholesky on the device": our_tangent_step(batch, H, K, 1 / 3, native=True),
                "torch.linalg.qr": our_tangent_step(batch, H, K, 1 / 3, native=False),
            },
            peers={"dense Jacobian and torch.linalg.qr": dense_tangent_step(batch, H, K)},
            goals={"dense Jacobian and torch.linalg.qr": goal},
            work=Work(operations=products, steps=2),
        )
    full = 2 * H
    yield Row(
        name=f"full spectrum of 2 x {H}, B 1, one step",
        ours={"layer by layer": our_tangent_step(1, H, full, 1 / 3, native=False)},
        peers={"both layers together": dense_tangent_step(1, H, 2 * full)},
        goals={"both layers together": Goal(must=4, aim=8)},
        work=Work(operations=2 * (8 * H * H * full / 3 + 8 * full**3 / 3)),
    )
    sizes = ((4 * H, H),) * 4 + ((least(10000, 30), H),) * 2
    yield Row(
        name=f"mask update of {sum(r * c for r, c in sizes) / 1e6:.0f} million weights, 67 %",
        ours={"drop, grow and pack": mask_update(sizes, 1 / 3, 0.3)},
        peers={"kthvalue and topk": torch_mask_update(sizes, 1 / 3, 0.3)},
        most=2e-3,
        work=Work(bytes_moved=2 * 5 * 5 * sum(r * c for r, c in sizes)),
    )
    words = least(10000, 30)
    yield Row(
        name=f"language model 2 x {H}, {words} words, B {B}, T {T}, 67 %, training step",
        ours={name: language_model(T, B, H, words, 1 / 3) for name in ("plain", "fast")},
        peers={"nn.LSTM under autocast": language_model(T, B, H, words, None)},
        goals={"nn.LSTM under autocast": Goal(must=1.3, aim=2)},
        fake=False,
    )


UNBUILT = (
    Unbuilt(
        name="LSTM 1024, B 64, float16, against nn.LSTM's persistent kernel",
        goal="0.95, aim 1.1",
        why="there is no kernel for 16-bit weights; layers compute in float32",
    ),
    Unbuilt(
        name="LSTM 1500, 95 %, batch ≤ 4: one cluster against the whole grid",
        goal="1.0, aim 1.5",
        why="there is no kernel that keeps a layer inside one cluster",
    ),
)
