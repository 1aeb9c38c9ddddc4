"""The operators as torch sees them: which there are, schemas, fakes, gradients, compilation."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves, tree_map

from lsh_native import lyapunov as lyapunov  # registers an operator
from lsh_native import native as native  # registers the operators
from lsh_native.cells import ELMAN, FREE_RHN, GRU, LSTM, PROJECTED_LSTM, RHN, Cell
from lsh_native.nn import SparseEmbedding, SparseLinear, SparseLSTM
from lsh_native.sparsity.pattern import pack_pattern

ARCHITECTURE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
REGISTERED = sorted(
    name.removeprefix("lsh::")
    for name in torch._C._dispatch_get_all_op_names()
    if name.startswith("lsh::")
)
CELLS = {cell.name: cell for cell in (ELMAN, FREE_RHN, GRU, LSTM, PROJECTED_LSTM, RHN)}
DIFFERENTIABLE = (
    *(f"{name}_forward" for name in CELLS),
    "sparse_linear",
    "sparse_linear_backward",
    "sparse_rows",
    "sparse_rows_backward",
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def operator(name: str) -> Any:
    return getattr(torch.ops.lsh, name).default


# ---------------------------------------------------------------------------- samples of arguments

T, B, I, H, N = 3, 5, 4, 2, 6  # noqa: E741


def samples(name: str, *, gradients: bool) -> list[tuple[Any, ...]]:
    """Argument lists of one operator: every optional argument given and absent, both forms."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).requires_grad_(gradients)

    def mask(rows: int, columns: int) -> Tensor:
        return torch.rand(rows, columns, generator=generator) < 0.5

    mask_ih = mask(4 * H, I)
    ih, packed_ih = pack_pattern(mask_ih), draw(int(mask_ih.sum()))
    if name == "pack_pattern_":
        return [
            (ih.clone(), ~mask_ih & mask(4 * H, I)),
            (pack_pattern(mask_ih, 4 * H * I), ~mask_ih),
        ]
    if name == "toggle_":
        mask_hh = mask(4 * H, H)
        masks, scores = [mask_ih, mask_hh], [packed_ih.new_ones(4 * H, I), draw(4 * H, H)]
        return [
            ([m.clone() for m in masks], scores, 0, 3, True, False, True),
            ([m.clone() for m in masks], [], 2**61 + 5, 4, False, False, False),
            ([mask_hh.clone()], [draw(4 * H, H).double()], 0, 2, True, True, False),
        ]
    if name == "zero_dead_":
        return [([draw(4 * H, I).detach(), draw(4 * H, I).detach().double()], mask_ih)]
    if name == "zero_dead":
        return [(draw(4 * H, I).detach(), mask_ih), (draw(4 * H, I).detach().double(), mask_ih)]
    cell_name, _, kind = name.rpartition("_")
    if cell_name in CELLS:
        return layer_samples(CELLS[cell_name], kind, draw, mask, generator)
    if name == "lstm_folded_tangent":
        trajectory = torch.rand(T, 4, H, 8, generator=generator), draw(T + 1, 2, H, 8).detach()
        return [(draw(B, 2, H, 7), *trajectory, [draw(4 * H, H)])]
    if name.endswith("_folded_tangent"):
        cell = CELLS[name.removesuffix("_folded_tangent")]
        G, S, A = len(cell.gates), len(cell.states), cell.activations
        activations, states = draw(2 * T, A, H, 8).detach(), draw(2 * T + 1, S, H, 8).detach()
        weights = [draw(G * H, H), draw(G * H, H)]
        return [(draw(B, S, H, 7), activations, states, weights)]
    if name.endswith("_paneled_tangent"):
        cell = CELLS[name.removesuffix("_paneled_tangent")]
        G, S, A = len(cell.gates), len(cell.states), cell.activations
        activations, states = draw(2 * T, A, H, 8).detach(), draw(2 * T + 1, S, H, 8).detach()
        pattern = pack_pattern(mask(G * H, H))
        packed = torch.ops.lsh.pack_weight(draw(G * H, H).detach(), pattern, G * H, H, G, 8)
        return [(draw(B, S, H, 7), activations, states, [packed, packed])]
    if name == "qr_growth":
        return [(draw(B, 8, 3),), (draw(1, 4, 4),), (draw(0, 3, 2),)]
    x, weight = draw(N, I), draw(4 * H, I)
    if name == "read_live":
        return [(weight.detach(), ih)]
    if name == "write_live_":
        return [(weight.detach(), packed_ih.detach(), ih)]
    if name == "average_live_":
        return [(weight.detach().abs().ceil(), x.new_zeros(4 * H, I), packed_ih.detach(), ih)]
    if name == "adam_live_":
        means = weight.detach(), weight.detach().square()
        values = packed_ih.detach()
        return [(*means, values, values.clone(), ih, 0.9, 0.99, 0.1, 0.5, 1e-8)]
    ids = torch.tensor([3, 0, 3, 7])
    if name == "sparse_rows":
        return [(ids, packed_ih, ih, 4 * H, I), (ids[:0], packed_ih, ih, 4 * H, I)]
    if name == "sparse_rows_backward":
        return [(draw(4, I), ids, packed_ih, ih, 4 * H)]
    if name == "pack_weight":
        return [
            (weight.detach(), ih, 4 * H, I, 4, 1),
            (packed_ih.detach(), ih, 4 * H, I, 1, 20),
        ]
    if name == "sparse_linear":
        return [
            (x, weight, ih, draw(4 * H), 4 * H, False),
            (x, weight, ih, None, 4 * H, True),
            (x, packed_ih, ih, draw(4 * H), 4 * H, False),
            (draw(0, I), weight, ih, draw(4 * H), 4 * H, False),
        ]
    if name == "sparse_linear_backward":
        return [
            (draw(N, 4 * H), x, weight, ih, True, True, False),
            (draw(N, 4 * H), x, weight, ih, False, True, True),
            (draw(N, 4 * H), x, packed_ih, ih, True, False, False),
        ]
    raise NotImplementedError(f"lsh::{name} must have samples here")


def layer_samples(
    cell: Cell,
    kind: str,
    draw: Callable[..., Tensor],
    mask: Callable[[int, int], Tensor],
    generator: torch.Generator,
) -> list[tuple[Any, ...]]:
    """Argument lists of one operator of a cell, with two recurrent matrices."""
    R, S, D = len(cell.gates) * H, len(cell.states), cell.depth(2)
    O = 1 if cell.projects else H  # noqa: E741
    shapes = [(R, O), (O, H)] if cell.projects else [(R, H)] * 2
    mask_ih, masks = mask(R, I), [mask(*shape) for shape in shapes[:D]]
    masks += [torch.ones(shape, dtype=torch.bool) for shape in shapes[D:]]
    ih, hh = pack_pattern(mask_ih), [pack_pattern(m, m.numel()) for m in masks]
    w_ih, packed_ih = draw(R, I), draw(int(mask_ih.sum()))
    w_hh = [draw(*shape) for shape in shapes]
    packed_hh = [draw(int(m.sum())) for m in masks[:D]] + w_hh[D:]  # a projection is dense
    dense, packed = (w_ih, w_hh, ih, hh), (packed_ih, packed_hh, ih, hh)
    x, biases = (draw(T, B, I), draw(S, B, H)), (draw(R), draw(D, R))
    trajectory = (
        torch.rand(T * D, cell.activations, H, 8, generator=generator),
        draw(T * D + 1, S, H, 8).detach(),
    )
    plain = (None, None, None)
    uniform = torch.rand(T, S, B, H, generator=generator), torch.rand(B, H, generator=generator)
    bent = (torch.tensor([B, 3, 0]), *uniform)

    if kind == "forward":
        return [
            (*x, *dense, *biases, *plain, False, True),
            (*x, *dense, None, None, *bent, True, True),
            (*x, *packed, None, biases[1], *bent, False, True),
            (draw(T, 0, I), draw(S, 0, H), *dense, biases[0], None, *plain, False, True),
            *([] if gradients else [(*x, *dense, None, None, *bent, False, False)]),
        ]
    if kind == "backward":
        g, last = draw(T, B, O), draw(S, B, H)
        return [
            (g, last, *x, *trajectory, *dense, *biases, *plain, True, False),
            (None, last, *x, *trajectory, *dense, None, None, *bent, False, True),
            (g, None, *x, *trajectory, *packed, None, biases[1], *bent, False, False),
            (g, None, *x, *trajectory, *packed, *biases, *plain, True, True),
        ]
    state, input = draw(B, S, H, 7), draw(T, B, I, 7)
    return [
        (state, None, *trajectory, None, w_hh, None, hh, *plain, False),
        (state, input, *trajectory, *dense, *bent, True),
        (state, input, *trajectory, *packed, *bent, False),
    ]


every_operator = pytest.mark.parametrize("name", REGISTERED)


# ------------------------------------------------------------------------------------ what there is


def test_the_map_lists_every_operator() -> None:
    """Lines that start with `lsh::` in fenced blocks of docs/architecture.md."""
    if not ARCHITECTURE.exists():
        pytest.skip("docs/ is not beside the tests")
    blocks = re.findall(
        r"^```[^\n]*\n(.*?)^```", ARCHITECTURE.read_text(), re.MULTILINE | re.DOTALL
    )
    listed = [
        match[1]
        for block in blocks
        for line in block.splitlines()
        if (match := re.match(r"lsh::(\w+)", line))
    ]
    assert sorted(listed) == REGISTERED


@every_operator
def test_the_name_says_whether_an_argument_is_written(name: str) -> None:
    assert operator(name)._schema.is_mutable == name.endswith("_")


@every_operator
def test_there_is_a_cpu_kernel_and_no_other_overload(name: str) -> None:
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"lsh::{name}", "CPU")
    assert getattr(torch.ops.lsh, name).overloads() == ["default"]


# ------------------------------------------------------------------------------------------ opcheck


@every_operator
def test_opcheck(name: str) -> None:
    for arguments in samples(name, gradients=False):
        torch.library.opcheck(operator(name), arguments)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_opcheck_with_gradients(name: str) -> None:
    for arguments in samples(name, gradients=True):
        dense_gradient_of_packed = arguments[-1] is True and arguments[1].dim() == 1
        if not dense_gradient_of_packed:
            torch.library.opcheck(operator(name), arguments)


@every_operator
def test_operators_do_not_write_what_they_are_given(name: str) -> None:
    for arguments in samples(name, gradients=False):
        aliases = [argument.alias_info for argument in operator(name)._schema.arguments]
        written = sum(alias is not None and alias.is_write for alias in aliases)
        before = [
            leaf.clone() for leaf in tree_leaves(arguments[written:]) if torch.is_tensor(leaf)
        ]
        operator(name)(*arguments)
        after = [leaf for leaf in tree_leaves(arguments[written:]) if torch.is_tensor(leaf)]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


# --------------------------------------------------------------------------------------------- fake


def on_fake_device(arguments: tuple[Any, ...], device: str) -> Any:
    """The same arguments without content on a device that need not exist; call in a fake mode."""

    def convert(value: Any) -> Any:
        if not torch.is_tensor(value):
            return value
        fake = torch.empty(value.shape, dtype=value.dtype, device=device)
        return fake.requires_grad_(value.requires_grad)

    return tree_map(convert, arguments)


@pytest.mark.parametrize(
    "name",
    [n for n in REGISTERED if n not in ("pack_weight", "read_live")],  # as long as numbers make it
)
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_fakes_tell_shapes_dtypes_and_device(name: str, where: str) -> None:
    for arguments in samples(name, gradients=False):
        real = tree_leaves(operator(name)(*arguments))
        with FakeTensorMode(shape_env=ShapeEnv()):
            fake = tree_leaves(operator(name)(*on_fake_device(arguments, where)))
        assert len(fake) == len(real)
        for found, expected in zip(fake, real, strict=True):
            if expected is None:
                continue
            assert isinstance(found, FakeTensor)
            assert found.device.type == where
            assert (found.shape, found.dtype, found.stride()) == (
                expected.shape,
                expected.dtype,
                expected.stride(),
            )


@pytest.mark.parametrize("name", ["lstm_forward", "sparse_linear"])
def test_gradients_of_fakes_have_the_shapes_of_their_operands(name: str) -> None:
    where = "cuda" if torch.cuda.is_available() else "cpu"  # torch's own autograd asks for a stream
    for arguments in samples(name, gradients=True):
        with FakeTensorMode():
            given = on_fake_device(arguments, where)
            leaves = [t for t in tree_leaves(given) if torch.is_tensor(t) and t.requires_grad]
            result = tree_leaves(operator(name)(*given))[0]
            found = torch.autograd.grad(result.sum(), leaves, allow_unused=True)
        for leaf, gradient in zip(leaves, found, strict=True):
            assert gradient is not None
            assert (gradient.shape, gradient.device.type) == (leaf.shape, where)


def test_an_operator_without_a_kernel_for_a_device_says_so() -> None:
    arguments = tree_map(
        lambda value: value.to("meta") if torch.is_tensor(value) else value,
        samples("lstm_tangent", gradients=False)[0],
    )
    outputs, final = operator("lstm_tangent")(*arguments)  # shapes are known without content
    assert final.shape == arguments[0].shape
    assert outputs.shape == (0, B, H, 7)


# ------------------------------------------------------------------------------------------ compile


class SparseModel(nn.Module):
    """One of every sparse layer, all masked with room to spare."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = SparseEmbedding(11, 6, density=0.5)
        self.recurrent = SparseLSTM(6, 7, num_layers=2, density=0.4)
        self.decoder = SparseLinear(7, 11, density=0.3)

    def forward(self, tokens: Tensor) -> Tensor:
        output, (h, c) = self.recurrent(self.embedding(tokens))
        logits: Tensor = self.decoder(output)
        return logits.square().mean() + h.sum() + c.square().sum()

    def layers(self) -> tuple[SparseEmbedding, SparseLSTM, SparseLinear]:
        return self.embedding, self.recurrent, self.decoder


def gradients(call: Callable[[Tensor], Tensor], model: nn.Module, tokens: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss = call(tokens)
    loss.backward()
    return [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_whole_and_not_again_when_masks_change() -> None:
    torch.manual_seed(0)
    model, tokens = SparseModel(), torch.randint(11, (4, 3))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for found, expected in zip(
        gradients(compiled, model, tokens), gradients(model, model, tokens), strict=True
    ):
        torch.testing.assert_close(found, expected)
    with torch.compiler.set_stance("fail_on_recompile"):
        for change in (lambda m: m.flip(0), lambda m: m.roll(1, 1), torch.zeros_like):
            for layer in model.layers():
                layer.set_masks({name: change(mask) for name, mask in layer.masks().items()})
            for found, expected in zip(
                gradients(compiled, model, tokens), gradients(model, model, tokens), strict=True
            ):
                torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_for_any_length() -> None:
    torch.manual_seed(0)
    model = SparseModel()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for steps, batch in ((4, 3), (7, 5), (2, 9)):
        tokens = torch.randint(11, (steps, batch))
        for found, expected in zip(
            gradients(compiled, model, tokens), gradients(model, model, tokens), strict=True
        ):
            torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own import
@pytest.mark.skipif(not shutil.which("g++"), reason="torch's default compiler needs g++")
def test_compiled_by_the_default_backend() -> None:
    torch.manual_seed(0)
    layer, x = SparseLSTM(6, 7, density=0.4), torch.randn(4, 3, 6)
    compiled = torch.compile(layer, fullgraph=True)

    def loss(call: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
        return lambda x: call(x)[0].square().sum()

    for found, expected in zip(
        gradients(loss(compiled), layer, x), gradients(loss(layer), layer, x), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("fresh_compiler")
def test_checks_hold_in_compiled_code() -> None:
    torch.manual_seed(0)
    layer, x = SparseLinear(6, 7, density=0.4), torch.randn(4, 6)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    compiled(x)
    layer.weight_pattern[8 + 7 + 1] = 2**30
    with pytest.raises(RuntimeError, match="pattern must have columns that ascend"):
        compiled(x)
