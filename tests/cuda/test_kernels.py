"""Every CUDA kernel, run on the host in three orders of threads and blocks, against its definition.

The kernels go through their operators, with the checks and allocations that a device gets. A result
that changes with the order is a race; memory that was not written is NaN.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from host_kernels import HostKernels
from random_layer import RandomLayer, assert_near, defined_gradients, directions, gradients
from torch import Tensor

from lsh_native.cells import (
    ELMAN,
    FREE_RHN,
    GRU,
    LSTM,
    PROJECTED_LSTM,
    RHN,
    Cell,
    run,
    tangent,
    tangent_definition,
)
from lsh_native.lyapunov import qr_growth_definition
from lsh_native.sparsity.linear import sparse_linear
from lsh_native.sparsity.pattern import empty_pattern, pack_pattern, pattern_parts, refuse_overfull
from lsh_native.sparsity.selection import toggle_definition_

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

Tolerance = Callable[[torch.dtype], dict[str, float]]
ORDERS = (0, 1, 2)
BENDS = ("batch_sizes", "hold", "state_scale")

CELLS = [ELMAN, GRU, LSTM, RHN, FREE_RHN]

cells = pytest.mark.parametrize("cell", [*CELLS, PROJECTED_LSTM], ids=lambda cell: cell.name)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@pytest.fixture(autouse=True)
def unwritten_memory_is_nan() -> Iterator[None]:
    # torch.use_deterministic_algorithms would load the compiler, too
    torch._C._set_deterministic_algorithms(True)
    yield
    torch._C._set_deterministic_algorithms(False)


def in_every_order(kernels: HostKernels, compute: Callable[[], Any]) -> Any:
    """What `compute` gives on the CUDA kernels, the same bits in every order of threads."""
    results = []
    with kernels.in_place_of_cpu():
        for order in ORDERS:
            kernels.order(order)
            before = kernels.counts()[0]
            results.append(compute())
            assert kernels.counts()[0] > before, "no kernel was launched"
    kernels.order(0)
    for other in results[1:]:
        for a, b in zip(_tensors(results[0]), _tensors(other), strict=True):
            assert torch.equal(_bits(a), _bits(b)), "a result must not depend on the order"
    return results[0]


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if torch.is_tensor(leaf)]


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.uint8) if tensor.dim() else tensor


# ------------------------------------------------------------------------------- recurrent layers

SHAPES = [  # T, B, I, H; more units and items than a block has threads at the end
    ((1, 1, 1, 1), 1, False, ()),
    ((4, 3, 5, 7), 2, True, BENDS),
    ((3, 6, 3, 90), 1, False, ()),
]
layers = pytest.mark.parametrize(
    ("shape", "depth", "packed", "bent"), SHAPES, ids=["one", "bent", "blocks"]
)


def layer_of(
    cell: Cell, shape: tuple[int, ...], depth: int, packed: bool, bent: Any, dtype: torch.dtype
) -> RandomLayer:
    T, B, I, H = shape  # noqa: E741
    return RandomLayer(
        **{"T": T, "B": B, "I": I, "H": H, "D": depth},
        cell=cell,
        packed=packed,
        bent=bent,
        dtype=dtype,
    )


@cells
@dtypes
@layers
def test_values_and_gradients(
    cell: Cell,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    depth: int,
    packed: bool,
    bent: tuple[str, ...],
    kernels: HostKernels,
    tolerance: Tolerance,
) -> None:
    layer = layer_of(cell, shape, depth, packed, bent, dtype)
    found = in_every_order(kernels, lambda: (layer.run().output, gradients(layer)))
    output, _ = layer.definition()
    assert_near(found[0], output, tolerance(dtype), "output")
    expected = defined_gradients(layer)
    for which in layer.matrices:
        expected[f"weight_{which}"] = layer.as_stored(expected[f"weight_{which}"], which)
    assert found[1].keys() == expected.keys()
    for name in expected:
        assert_near(found[1][name], expected[name], tolerance(dtype), name)


@cells
@layers
def test_tangents(
    cell: Cell,
    shape: tuple[int, ...],
    depth: int,
    packed: bool,
    bent: tuple[str, ...],
    kernels: HostKernels,
    tolerance: Tolerance,
) -> None:
    dtype = torch.float64
    layer = layer_of(cell, shape, depth, packed, bent, dtype)
    state, input = directions(layer, 3)

    def compute() -> tuple[Tensor, Tensor]:
        trajectory = layer.run().trajectory
        weights = layer.weights()
        return tangent(cell, state, trajectory, weights, input_tangent=input, outputs=True)

    found = in_every_order(kernels, compute)
    arguments = layer.definition_arguments()
    weight_hh = [arguments.pop(f"weight_{which}") for which in layer.matrices[1:]]
    expected = tangent_definition(
        cell, state, weight_hh=weight_hh, input_tangent=input, **arguments
    )
    for i, name in enumerate(("outputs", "final")):
        assert_near(found[i], expected[i], tolerance(dtype), name)


def test_dense_gradients(kernels: HostKernels, tolerance: Tolerance) -> None:
    layer = layer_of(RHN, (3, 2, 4, 6), 2, False, (), torch.float64)
    found = in_every_order(kernels, lambda: gradients(layer, dense_gradient=True))
    expected = defined_gradients(layer)
    for name in expected:
        assert_near(found[name], expected[name], tolerance(torch.float64), name)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize(
    ("multiprocessors", "shared_bytes"),
    [(4, 227 << 10), (3, 2600), (20, 300), (50, 3000)],
    ids=["staged", "some rows in memory", "states in memory", "a unit a block"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_one_kernel_for_all_steps_gives_the_bits_of_many(
    cell: Cell,
    multiprocessors: int,
    shared_bytes: int,
    packed: bool,
    kernels: HostKernels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = (3, 5, 4, 17)
    layer = layer_of(cell, shape, 2, packed, ("hold", "state_scale"), torch.float32)
    weights = layer.weights()

    def compute() -> list[Tensor]:
        done = run(cell, layer["input"], layer["state"], weights, **layer.bends)
        trajectory = done.trajectory
        B = layer.B  # lanes beyond the batch hold no information
        rest = trajectory.activations[..., :B], trajectory.states[..., :B]
        return [done.output, done.final_state, *rest]

    expected = in_every_order(kernels, compute)
    monkeypatch.setenv("LSH_CUDA_KERNELS", "fast")
    with kernels.device(multiprocessors, shared_bytes):
        before = kernels.counts()[0]
        found = in_every_order(kernels, compute)
        launches = (kernels.counts()[0] - before) // len(ORDERS)
    assert launches == 5, "states in, inputs, a counter, the steps, states out"
    assert all(map(torch.equal, found, expected))


def test_steps_of_different_batches_take_many_kernels(
    kernels: HostKernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = layer_of(LSTM, (3, 5, 4, 17), 1, False, ("batch_sizes",), torch.float32)
    expected = in_every_order(kernels, lambda: layer.run().output)
    monkeypatch.setenv("LSH_CUDA_KERNELS", "fast")
    assert torch.equal(in_every_order(kernels, lambda: layer.run().output), expected)
    monkeypatch.setenv("LSH_CUDA_KERNELS", "fastest")
    with kernels.in_place_of_cpu(), pytest.raises(RuntimeError, match="plain or fast, got fastest"):
        layer.run()


def test_an_index_outside_a_pattern_gives_nan_and_no_access(kernels: HostKernels) -> None:
    layer = layer_of(LSTM, (2, 2, 3, 5), 1, False, (), torch.float64)
    weights = layer.weights()
    parts = pattern_parts(weights.pattern_hh[0])
    parts.column_of[3] = 2**30
    with kernels.in_place_of_cpu():
        arguments = (layer["input"], layer["state"], weights.weight_ih, list(weights.weight_hh))
        patterns = (weights.pattern_ih, list(weights.pattern_hh))
        output = torch.ops.lsh.lstm_forward(
            *arguments, *patterns, None, None, None, None, None, False, True
        )[0]
    assert output.isnan().any()


# ---------------------------------------------------------------------------------- sparse linear


@dtypes
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 33, 70), (5, 9, 3)])
def test_sparse_linear(
    dtype: torch.dtype,
    packed: bool,
    shape: tuple[int, int, int],
    kernels: HostKernels,
    tolerance: Tolerance,
) -> None:
    N, C, R = shape
    generator = torch.Generator().manual_seed(N)
    mask = torch.rand(R, C, generator=generator) < 0.4
    x, weight, bias, grad = (
        torch.randn(size, generator=generator, dtype=torch.float64)
        for size in ((N, C), (R, C), (R,), (N, R))
    )
    pattern = pack_pattern(mask)
    stored = weight[mask] if packed else weight.masked_fill(~mask, torch.nan)
    leaves = [t.to(dtype).clone().requires_grad_() for t in (x, stored, bias)]

    def compute() -> Any:
        y = sparse_linear(leaves[0], leaves[1], pattern, leaves[2], R)
        return y.detach(), torch.autograd.grad(y, leaves, grad.to(dtype))

    y, (d_x, d_weight, d_bias) = in_every_order(kernels, compute)
    dense = weight * mask
    d_dense = (grad.mT @ x) * mask
    within = tolerance(dtype)
    assert_near(y, x @ dense.mT + bias, within, "y")
    assert_near(d_x, grad @ dense, within, "d_x")
    assert_near(d_weight, d_dense[mask] if packed else d_dense, within, "d_weight")
    assert_near(d_bias, grad.sum(0), within, "d_bias")


# ----------------------------------------------------------------------------- masks and patterns


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (5, 33), (130, 70), (300, 31)])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_packing_gives_the_bits_of_the_cpu(
    shape: tuple[int, int], density: float, kernels: HostKernels
) -> None:
    generator = torch.Generator().manual_seed(shape[0])
    mask = torch.rand(shape, generator=generator) < density
    room = min(mask.numel(), int(mask.sum()) + 3)
    expected = pattern_parts(pack_pattern(mask, room))
    found = pattern_parts(in_every_order(kernels, lambda: pack_pattern(mask, room)))
    for name in ("row_offsets", "column_of", "column_offsets", "row_of", "source"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.capacity == room


def test_a_pattern_packed_on_the_cpu_is_refused(kernels: HostKernels) -> None:
    pattern = pack_pattern(torch.eye(3, dtype=torch.bool), by_columns=False)
    with kernels.in_place_of_cpu():
        with pytest.raises(RuntimeError, match="must be packed on the device that it is read on"):
            torch.ops.lsh.sparse_linear(torch.ones(1, 3), torch.ones(3, 3), pattern, None, 3, False)
        with pytest.raises(RuntimeError, match="must have room for the part by columns"):
            torch.ops.lsh.pack_pattern_(pattern, torch.eye(3, dtype=torch.bool))


def test_too_many_connections_spoil_a_pattern(kernels: HostKernels) -> None:
    pattern, mask = empty_pattern(6, 5, 14, by_columns=True), torch.ones(6, 5, dtype=torch.bool)
    with kernels.in_place_of_cpu():
        torch.ops.lsh.pack_pattern_(pattern, mask)
        with pytest.raises(RuntimeError, match=r"at most 14 connections.*got 30"):
            refuse_overfull(pattern, 6, 5)
        y = torch.ops.lsh.sparse_linear(torch.ones(1, 5), torch.ones(6, 5), pattern, None, 6, False)
    assert y.isnan().any()


SCORES = {
    "ties": lambda n, g: torch.randint(-3, 4, (n,), generator=g).double(),
    "spread": lambda n, g: torch.randn(n, generator=g).double() * 1e20,
    "close": lambda n, g: 1 + torch.rand(n, generator=g).double() * 1e-5,
    "same": lambda n, g: torch.full((n,), -0.25, dtype=torch.float64),
    "infinite": lambda n, g: (torch.randint(-1, 2, (n,), generator=g).double() / 0).nan_to_num(0),
    "random": None,
}


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("live", "most", "magnitude"), [(True, False, True), (False, True, False)])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 1.0])
def test_selection(
    kind: str,
    dtype: torch.dtype,
    live: bool,
    most: bool,
    magnitude: bool,
    share: float,
    kernels: HostKernels,
) -> None:
    generator = torch.Generator().manual_seed(7)
    sizes = [700, 0, 4500, 1]  # less than a chunk, none, more than one
    draw = SCORES[kind]
    scores = [draw(size, generator).to(dtype) for size in sizes] if draw else []
    masks = [torch.rand(size, generator=generator) < 0.5 for size in sizes]
    there = sum(int((mask == live).sum()) for mask in masks)
    arguments = (scores, 2**60 + 5, int(share * there), live, most, magnitude)
    expected = [mask.clone() for mask in masks]
    facts = toggle_definition_(expected, *arguments)

    def compute() -> tuple[list[Tensor], Tensor]:
        found = [mask.clone() for mask in masks]
        return found, torch.ops.lsh.toggle_(found, *arguments)

    found, counted = in_every_order(kernels, compute)
    assert torch.equal(counted, facts)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("spoil", ["nan", "too many"])
def test_nothing_is_toggled_where_nothing_can_be_chosen(spoil: str, kernels: HostKernels) -> None:
    scores, mask = torch.arange(10.0), torch.ones(10, dtype=torch.bool)
    if spoil == "nan":
        scores[3] = torch.nan
    count = 11 if spoil == "too many" else 2
    with kernels.in_place_of_cpu():
        facts = torch.ops.lsh.toggle_([mask], [scores], 0, count, True, False, False)
    assert facts.tolist() == [10, int(spoil == "nan")]
    assert mask.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_zero_dead(dtype: torch.dtype, kernels: HostKernels) -> None:
    mask = torch.arange(700) % 3 == 0
    values = torch.where(torch.arange(700) % 2 == 0, torch.nan, 2.5).to(dtype)

    def compute() -> Tensor:
        changed = values.clone()
        torch.ops.lsh.zero_dead_([changed], mask)
        return changed

    found = in_every_order(kernels, compute)
    expected = values.masked_fill(~mask, 0)
    assert torch.equal(_bits(found), _bits(expected))


# ----------------------------------------------------------------------------- orthonormalisation


def drawn(batch: int, rows: int, columns: int, condition: float, dtype: torch.dtype) -> Tensor:
    """Matrices whose singular values fall evenly from 1 to 1 / condition."""
    generator = torch.Generator().manual_seed(rows)

    def frame(n: int, k: int) -> Tensor:
        normal = torch.randn(batch, n, k, generator=generator, dtype=torch.float64)
        return torch.linalg.qr(normal)[0]

    values = torch.logspace(0, -torch.tensor(condition).log10(), columns, dtype=torch.float64)
    return ((frame(rows, columns) * values) @ frame(columns, columns).mT).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "shape", "condition", "method"),
    [
        (torch.float32, (3, 90, 40), 3.0, 1),
        (torch.float32, (2, 90, 40), 100.0, 2),
        (torch.float32, (2, 34, 17), 1e5, 4),
        (torch.float64, (2, 70, 33), 30.0, 1),
        (torch.float64, (1, 70, 33), 1e5, 2),
        (torch.float64, (1, 40, 20), 1e14, 4),
        (torch.float64, (2, 20, 17), 10.0, 3),
        (torch.float32, (1, 5, 5), 10.0, 3),
        (torch.float64, (1, 1, 1), 1.0, 3),
        (torch.float64, (1, 600, 3), 2.0, 1),
    ],
    ids=str,
)
def test_orthonormalisation(
    dtype: torch.dtype,
    shape: tuple[int, int, int],
    condition: float,
    method: int,
    kernels: HostKernels,
) -> None:
    A = drawn(*shape, condition, dtype)
    results = in_every_order(kernels, lambda: torch.ops.lsh.qr_growth(A))
    basis, growth, lost, found, way = results
    assert way.tolist() == [method] * shape[0]
    expected = torch.ops.lsh.qr_growth(A)  # the CPU's
    assert torch.equal(way, expected[4])
    assert torch.equal(lost, expected[2])
    epsilon = torch.finfo(dtype).eps
    torch.testing.assert_close(found, expected[3], rtol=1e-2, atol=0)
    torch.testing.assert_close(growth, expected[1], rtol=0, atol=40 * epsilon * condition)
    K = shape[2]
    defect = K * epsilon if method != 1 else 4e-6 if dtype == torch.float32 else 1e-12
    identity = torch.eye(K, dtype=torch.float64).expand(shape[0], K, K)
    torch.testing.assert_close(
        basis.double().mT @ basis.double(), identity, rtol=0, atol=4 * defect
    )
    torch.testing.assert_close(
        basis, qr_growth_definition(A).basis, rtol=0, atol=60 * epsilon * condition
    )


def test_orthonormalisation_of_hard_matrices(kernels: HostKernels) -> None:
    """Zero, repeated, tiny and huge columns; a matrix that is not finite beside one that is."""
    A = torch.zeros(5, 8, 3, dtype=torch.float64)
    A[0] = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A[1] = A[0] * torch.tensor([1e-200, 1.0, 1e200], dtype=torch.float64)
    A[2] = A[0]
    A[2, :, 2] = A[0, :, 0]
    A[3] = A[0]
    A[3, 4, 1] = torch.inf
    basis, growth, lost, _, way = in_every_order(kernels, lambda: torch.ops.lsh.qr_growth(A))
    expected = torch.ops.lsh.qr_growth(A)
    assert torch.equal(way, expected[4])
    assert way.tolist() == [1, 4, 4, -1, 4]
    finite = [0, 1, 2, 4]
    assert torch.equal(lost[finite], expected[2][finite])
    kept = ~lost[finite]  # a lost column's growth is that of its noise
    assert kept.tolist() == [[True] * 3, [True] * 3, [True, True, False], [False] * 3]
    within = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(growth[finite][kept], expected[1][finite][kept], **within)
    found, exact = basis[finite].mT[kept], expected[0][finite].mT[kept]
    torch.testing.assert_close(found, exact, **within)
