"""The sparse linear operator against y = x Wᵀ + b with a W that is zero where masked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lsh_native.sparsity.linear import sparse_linear
from lsh_native.sparsity.pattern import pack_pattern

# torch scripts the rules of its forward mode when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

Tolerance = Callable[[torch.dtype], dict[str, float]]

# (N, C, R): one lane, tiles full and not, more than one tile, more rows than a chunk, more columns
# than a panel, more of both than a gradient lists at once.
SIZES = [(1, 1, 1), (2, 5, 3), (3, 16, 17), (16, 7, 40), (17, 33, 15), (96, 4, 4), (97, 9, 6)]
SIZES += [(200, 31, 50), (5, 300, 2), (67, 2, 300), (290, 700, 140), (5, 700, 600)]
DENSITIES = [0.0, 0.15, 0.6, 1.0]

sizes = pytest.mark.parametrize("size", SIZES, ids="N{0[0]}-C{0[1]}-R{0[2]}".format)
densities = pytest.mark.parametrize("density", DENSITIES)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
forms = pytest.mark.parametrize("packed", [False, True], ids=["dense-form", "packed-form"])


@dataclass(frozen=True, kw_only=True)
class Operands:
    """x (N, C), a weight (R, C) with a mask, b (R), and a gradient of the result (N, R)."""

    x: Tensor
    weight: Tensor
    mask: Tensor
    bias: Tensor
    grad: Tensor
    packed: bool

    @property
    def stored(self) -> Tensor:
        """The weight as it is handed over: packed, or dense with rubbish where masked."""
        return self.as_stored(self.weight.masked_fill(~self.mask, torch.nan))

    def as_stored(self, dense: Tensor) -> Tensor:
        return dense[self.mask] if self.packed else dense

    @property
    def rows(self) -> int:
        return len(self.mask)

    def pattern(self, room: int = 0) -> Tensor:
        return pack_pattern(self.mask, min(int(self.mask.sum()) + room, self.mask.numel()))


def draw(
    size: tuple[int, int, int],
    density: float,
    dtype: torch.dtype = torch.float64,
    packed: bool = False,
    device: torch.device | str = "cpu",
) -> Operands:
    """Operands drawn on the CPU and moved to a device."""
    N, C, R = size
    generator = torch.Generator().manual_seed(N + C + R)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    mask = (torch.rand(R, C, generator=generator) < density).to(device)
    weight, bias = normal(R, C), normal(R)
    return Operands(
        x=normal(N, C), weight=weight, mask=mask, bias=bias, grad=normal(N, R), packed=packed
    )


def assert_near(found: Tensor, exact: Tensor, terms: Tensor, within: dict[str, float]) -> None:
    """Compares sums with their values in float64; `terms` is the same sum of magnitudes.

    Rounding is in proportion to the terms, however small their sum came out.
    """
    assert found.shape == exact.shape
    allowed = within["atol"] + within["rtol"] * terms
    excess = ((found.double() - exact).abs() - allowed).clamp(min=0)
    assert not excess.any(), f"off by up to {float(excess.max()):.3g} more than allowed"


# ---------------------------------------------------------------------------------------- products


def test_a_product_by_hand() -> None:
    mask = torch.tensor([[1, 0, 1], [0, 0, 0]], dtype=torch.bool)
    weight = torch.tensor([[2.0, torch.nan, 3.0], [torch.nan] * 3])
    x, bias = torch.tensor([[1.0, 10.0, 100.0], [0.5, 0.0, -1.0]]), torch.tensor([0.25, -7.0])
    y = sparse_linear(x, weight, pack_pattern(mask), bias, 2)
    assert y.tolist() == [[302.25, -7.0], [-1.75, -7.0]]


@sizes
@densities
@dtypes
@forms
def test_values_and_gradients(
    size: tuple[int, int, int],
    density: float,
    dtype: torch.dtype,
    packed: bool,
    device: torch.device,
    tolerance: Tolerance,
) -> None:
    at = draw(size, density, dtype, packed, device)
    within = tolerance(dtype)
    x, weight, bias = (t.clone().requires_grad_() for t in (at.x, at.stored, at.bias))
    y = sparse_linear(x, weight, at.pattern(), bias, at.rows)
    d_x, d_weight, d_bias = torch.autograd.grad(y, (x, weight, bias), at.grad)

    X, W, g = at.x.double(), (at.weight * at.mask).double(), at.grad.double()
    sizes_of_y = X.abs() @ W.abs().mT + at.bias.abs()
    assert_near(y.detach(), X @ W.mT + at.bias.double(), sizes_of_y, within)
    assert_near(d_x, g @ W, g.abs() @ W.abs(), within)
    exact, terms = (at.as_stored(t * at.mask) for t in (g.mT @ X, g.abs().mT @ X.abs()))
    assert_near(d_weight, exact, terms, within)
    assert_near(d_bias, g.sum(0), g.abs().sum(0), within)


@dtypes
def test_numbers_that_are_not_finite_stay_with_the_rows_that_read_them(dtype: torch.dtype) -> None:
    """Rows of one group differ in length; what completes the shorter ones must not read more."""
    mask = torch.zeros(9, 40, dtype=torch.bool)
    for row in range(9):
        mask[row, 4 : 4 + 3 * row] = True  # the first row is empty, no row reads columns 0 to 3
    x = torch.ones(3, 40, dtype=dtype)
    x[:, :4], x[:, 25] = torch.nan, torch.nan
    y = sparse_linear(x, torch.ones(9, 40, dtype=dtype), pack_pattern(mask), None, 9)
    assert y.isnan().all(0).tolist() == mask[:, 25].tolist()
    expected = torch.tensor([float(3 * row) for row in range(9)], dtype=dtype)
    assert torch.equal(y[:, ~mask[:, 25]], expected[~mask[:, 25]].expand(3, -1))


@sizes
@dtypes
def test_dense_gradient_reaches_every_entry(
    size: tuple[int, int, int], dtype: torch.dtype, device: torch.device, tolerance: Tolerance
) -> None:
    at = draw(size, 0.3, dtype, device=device)
    weight = at.stored.requires_grad_()
    y = sparse_linear(at.x, weight, at.pattern(), None, at.rows, dense_gradient=True)
    [found] = torch.autograd.grad(y, weight, at.grad)
    X, g = at.x.double(), at.grad.double()
    assert_near(found, g.mT @ X, g.abs().mT @ X.abs(), tolerance(dtype))


def test_dense_gradient_of_packed_values_by_the_operator() -> None:
    at = draw((7, 5, 6), 0.4, packed=True)
    _, found, _ = torch.ops.lsh.sparse_linear_backward(
        at.grad, at.x, at.stored, at.pattern(), False, False, True
    )
    torch.testing.assert_close(found, at.grad.mT @ at.x)


def test_dense_gradient_of_packed_values_is_refused_where_it_has_no_place_to_go() -> None:
    at = draw((7, 5, 6), 0.4, packed=True)
    weight = at.stored.requires_grad_()

    def gradient() -> None:
        y = sparse_linear(at.x, weight, at.pattern(), None, at.rows, dense_gradient=True)
        y.sum().backward()

    with pytest.raises((RuntimeError, ValueError), match="dense_gradient"):
        gradient()


def test_room_left_in_pattern_and_values_changes_nothing() -> None:
    at = draw((7, 5, 6), 0.4, packed=True)
    long = torch.cat([at.stored, torch.full((4,), torch.nan, dtype=torch.float64)])
    long.requires_grad_()
    y = sparse_linear(at.x, long, at.pattern(room=9), at.bias, at.rows)
    assert torch.equal(y, sparse_linear(at.x, at.stored, at.pattern(), at.bias, at.rows))
    y.sum().backward()
    assert torch.equal(long.grad[-4:], torch.zeros(4, dtype=torch.float64))


def test_operands_of_any_strides() -> None:
    at = draw((7, 5, 6), 0.4)
    x, weight = at.x.t().contiguous().t(), at.weight.repeat_interleave(2, dim=1)[:, ::2]
    assert not any(operand.is_contiguous() for operand in (x, weight))
    expected = sparse_linear(at.x, at.weight, at.pattern(), None, at.rows)
    assert torch.equal(sparse_linear(x, weight, at.pattern(), None, at.rows), expected)
    leaf = at.x.clone().requires_grad_()
    y = sparse_linear(leaf, weight, at.pattern(), None, at.rows)
    [d_x] = torch.autograd.grad(y.sum(), leaf)  # the gradient of a sum has no strides
    torch.testing.assert_close(d_x, (at.weight * at.mask).sum(0).expand(7, 5))


def test_a_bias_of_any_strides() -> None:
    at = draw((7, 5, 6), 0.4)
    loose = at.bias.repeat_interleave(2)[::2]
    y = sparse_linear(at.x, at.weight, at.pattern(), loose, at.rows)
    assert torch.equal(y, sparse_linear(at.x, at.weight, at.pattern(), at.bias, at.rows))


@pytest.mark.parametrize("size", [(0, 5, 3), (4, 0, 3), (4, 5, 0), (0, 0, 0)], ids=str)
def test_empty_operands(size: tuple[int, int, int]) -> None:
    at = draw(size, 0.5)
    x, weight, bias = (t.clone().requires_grad_() for t in (at.x, at.weight, at.bias))
    y = sparse_linear(x, weight, at.pattern(), bias, at.rows)
    torch.testing.assert_close(y, at.x @ (at.weight * at.mask).mT + at.bias)
    for dense in (False, True):
        y = sparse_linear(x, weight, at.pattern(), bias, at.rows, dense_gradient=dense)
        d_x, d_weight, d_bias = torch.autograd.grad(y, (x, weight, bias), at.grad)
        torch.testing.assert_close(d_x, at.grad @ (at.weight * at.mask))
        torch.testing.assert_close(d_weight, at.grad.mT @ at.x * (at.mask | dense))
        torch.testing.assert_close(d_bias, at.grad.sum(0))


def test_gradients_of_some_operands_only() -> None:
    at = draw((7, 5, 6), 0.4)
    for wanted in range(3):
        leaves = [t.clone().nan_to_num() for t in (at.x, at.stored, at.bias)]
        leaves[wanted].requires_grad_()
        y = sparse_linear(leaves[0], leaves[1], at.pattern(), leaves[2], at.rows)
        y.sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == [i == wanted for i in range(3)]


# ------------------------------------------------------------------------------- higher derivatives


@forms
@pytest.mark.parametrize("density", [0.0, 0.4, 1.0])
def test_gradcheck_to_second_order(packed: bool, density: float) -> None:
    at = draw((4, 3, 5), density, packed=packed)
    leaves = (at.x, at.as_stored(at.weight), at.bias)
    x, weight, bias = (t.clone().requires_grad_() for t in leaves)

    def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return sparse_linear(x, weight, at.pattern(), bias, at.rows)

    assert torch.autograd.gradcheck(product, (x, weight, bias))
    assert torch.autograd.gradgradcheck(product, (x, weight, bias))
    assert torch.autograd.gradgradcheck(lambda w: product(at.x, w, at.bias).tanh(), (weight,))


def test_third_derivatives() -> None:
    """Of f = Σ (x Wᵀ)³ along a direction of W, where the third one is 6 Σ (x Dᵀ)³."""
    at = draw((4, 3, 5), 0.5)
    weight = at.weight.clone().requires_grad_()
    direction = at.mask * torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)
    value = sparse_linear(at.x, weight, at.pattern(), None, at.rows).pow(3).sum()
    for _ in range(3):
        [gradient] = torch.autograd.grad(value, weight, create_graph=True)
        value = (gradient * direction).sum()
    torch.testing.assert_close(value, 6 * (at.x @ direction.mT).pow(3).sum())


def test_second_derivative_of_a_dense_gradient_is_dense() -> None:
    """d/dx and d/dg of <V, gᵀ x>, with V at every entry."""
    at = draw((4, 3, 5), 0.4)
    x, g = at.x.clone().requires_grad_(), at.grad.clone().requires_grad_()
    weight = at.weight.clone().requires_grad_()
    y = sparse_linear(x, weight, at.pattern(), None, at.rows, dense_gradient=True)
    [d_weight] = torch.autograd.grad(y, weight, g, create_graph=True)
    V = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)
    dd_x, dd_g = torch.autograd.grad(d_weight, (x, g), V)
    torch.testing.assert_close(dd_x, g @ V)
    torch.testing.assert_close(dd_g, x @ V.mT)


# ------------------------------------------------------------------------------------- determinism


@dtypes
@forms
def test_every_number_of_threads_gives_the_same_bits(
    dtype: torch.dtype, packed: bool, set_threads: Callable[[int], None]
) -> None:
    at = draw((150, 70, 90), 0.5, dtype, packed)

    def everything() -> list[Tensor]:
        x, weight, bias = (t.clone().requires_grad_() for t in (at.x, at.stored, at.bias))
        y = sparse_linear(x, weight, at.pattern(), bias, at.rows)
        dense = torch.ops.lsh.sparse_linear_backward(
            at.grad, at.x, at.stored, at.pattern(), True, True, True
        )
        return [y.detach(), *torch.autograd.grad(y, (x, weight, bias), at.grad), *dense]

    expected = everything()
    for threads in (2, 3, 3, 3):
        set_threads(threads)
        for i, (a, b) in enumerate(zip(expected, everything(), strict=True)):
            assert torch.equal(a, b), f"result {i} differs with {threads} threads"


@pytest.fixture
def rubbish_in_new_memory() -> Iterator[None]:
    """torch's own way to find reads of memory that was never written: NaN in every new tensor."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@sizes
@forms
@pytest.mark.usefixtures("rubbish_in_new_memory")
def test_no_number_is_read_before_it_is_written(size: tuple[int, int, int], packed: bool) -> None:
    assert torch.empty(1).isnan()
    at = draw(size, 0.3, packed=packed)
    y = sparse_linear(at.x, at.stored, at.pattern(room=2), at.bias, at.rows)
    assert y.isfinite().all()
    for dense in (False, True):
        for result in torch.ops.lsh.sparse_linear_backward(
            at.grad, at.x, at.stored, at.pattern(room=2), True, True, dense
        ):
            assert result.isfinite().all()


def test_the_bias_gradient_of_one_row_has_the_same_bits_too(
    set_threads: Callable[[int], None],
) -> None:
    """A sum over many inputs into one number, which torch splits among its threads."""
    at = draw((100_001, 2, 1), 1.0, torch.float32)
    bias = at.bias.clone().requires_grad_()
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        y = sparse_linear(at.x, at.weight, at.pattern(), bias, 1)
        found.append(torch.autograd.grad(y, bias, at.grad)[0])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


# ------------------------------------------------------------------------------------------- errors


def test_errors_say_what_must_hold() -> None:
    at = draw((4, 3, 5), 0.5)
    pattern, packed = at.pattern(), at.weight[at.mask]
    for arguments, message in (
        ((at.x[0], at.weight, pattern, None, 5), r"input must have 2 dimensions, got shape \(3\)"),
        ((at.x.half(), at.weight, pattern, None, 5), "input must be float32 or float64, got flo"),
        ((at.x.float(), at.weight, pattern, None, 5), "weight must have the dtype of input, float"),
        ((at.x, at.weight.t(), pattern, None, 5), r"weight must have shape \(5, 3\), got \(3, 5\)"),
        ((at.x, at.weight, pattern, None, 4), "pattern must (describe|hold)"),
        ((at.x, at.weight, pattern, None, -1), r"must be in \[0, 2\*\*31\), got -1 and 3"),
        ((at.x, at.weight, pattern, None, 2**31), r"must be in \[0, 2\*\*31\), got 2147483648"),
        ((at.x, at.weight, pattern, None, 2**63 - 1), r"must be in \[0, 2\*\*31\), got 9223"),
        ((at.x[:, :2], at.weight, pattern, None, 5), "pattern must (describe|hold)"),
        ((at.x, packed[1:], pattern, None, 5), "weight in packed form must hold the pattern's"),
        ((at.x, at.weight.flatten(), pattern, None, 5), "weight in packed form must hold the patt"),
        ((at.x, at.weight[None], pattern, None, 5), r"weight must have shape \(5, 3\), got \(1, 5"),
        ((at.x, at.weight, pattern.long(), None, 5), "pattern must be int32, got int64"),
        ((at.x, at.weight, pattern[None], None, 5), "pattern must have 1 dimensions"),
        ((at.x, at.weight, pattern[:-1], None, 5), "pattern must hold"),
        ((at.x, at.weight, pattern, at.bias[:4], 5), r"bias must have shape \(5\), got \(4\)"),
        ((at.x, at.weight, pattern, at.bias.float(), 5), "bias must have the dtype of input"),
    ):
        with pytest.raises(RuntimeError, match=message):
            sparse_linear(*arguments)


def test_errors_of_backward() -> None:
    at = draw((4, 3, 5), 0.5)
    for grad, message in (
        (at.grad[:3], r"grad_output must have shape \(4, 5\), got \(3, 5\)"),
        (at.grad.float(), "grad_output must have the dtype of input"),
        (at.grad[0], "grad_output must have 2 dimensions"),
        (at.grad[:, :4].contiguous(), "pattern must (describe|hold)"),
        (at.grad.t().contiguous().t(), "grad_output must be contiguous"),
    ):
        with pytest.raises(RuntimeError, match=message):
            torch.ops.lsh.sparse_linear_backward(
                grad, at.x, at.weight, at.pattern(), True, True, False
            )


@pytest.mark.parametrize("operand", ["x", "weight", "bias"])
def test_forward_mode_is_refused_and_not_silently_zero(operand: str) -> None:
    at = draw((4, 3, 5), 0.5)

    def product(value: Tensor) -> Tensor:
        changed = {"x": at.x, "weight": at.weight, "bias": at.bias} | {operand: value}
        return sparse_linear(changed["x"], changed["weight"], at.pattern(), changed["bias"], 5)

    start = getattr(at, operand)
    with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        torch.func.jvp(product, (start,), (torch.ones_like(start),))
    with (
        torch.autograd.forward_ad.dual_level(),
        pytest.raises(NotImplementedError, match="no forward-mode derivative"),
    ):
        product(torch.autograd.forward_ad.make_dual(start, torch.ones_like(start)))


def test_forward_mode_elsewhere_is_left_alone() -> None:
    """A dual level without a dual operand is no reason to refuse."""
    at = draw((4, 3, 5), 0.5)
    with torch.autograd.forward_ad.dual_level():
        sparse_linear(at.x, at.weight, at.pattern(), at.bias, 5)


def test_a_pattern_changed_before_backward_gives_an_error_or_the_gradient_of_the_old_one() -> None:
    at = draw((4, 3, 5), 0.5)
    pattern = at.pattern(room=15)
    weight = at.weight.clone().requires_grad_()
    y = sparse_linear(at.x, weight, pattern, None, 5)
    torch.ops.lsh.pack_pattern_(pattern, ~at.mask)
    try:
        [found] = torch.autograd.grad(y, weight, at.grad)
    except RuntimeError:
        return
    torch.testing.assert_close(found, at.grad.mT @ at.x * at.mask)
