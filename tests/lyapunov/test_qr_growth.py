"""Orthonormalisation with log growth: known factors, reflections one by one, lost directions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lstm_oracle import householder

from lsh_native.lyapunov import NonFiniteTangentError, qr_growth, qr_growth_definition

DTYPES = (torch.float32, torch.float64)


def test_diagonal_matrix_grows_by_its_entries():
    basis, growth, lost, *_ = qr_growth(torch.diag(torch.tensor([2.0, -0.5, 3.0])).unsqueeze(0))
    assert growth.dtype == torch.float64
    assert not lost.any()
    torch.testing.assert_close(growth.exp(), torch.tensor([[2.0, 0.5, 3.0]], dtype=torch.float64))
    torch.testing.assert_close(basis[0], torch.diag(torch.tensor([1.0, -1.0, 1.0])))


@given(
    size=st.integers(1, 12), count=st.integers(1, 12), batch=st.integers(1, 3), seed=st.integers(0)
)
def test_agrees_with_single_reflections(size, count, batch, seed):
    generator = torch.Generator().manual_seed(seed % 2**63)
    count = min(size, count)
    tangent = torch.randn(batch, size, count, generator=generator, dtype=torch.float64)
    basis, growth, _, *_ = qr_growth(tangent)
    for b in range(batch):
        expected, triangle = householder(tangent[b])
        torch.testing.assert_close(basis[b], expected, rtol=0, atol=1e-8)
        torch.testing.assert_close(growth[b].exp(), triangle.diagonal(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_basis_is_orthonormal_and_spans_the_columns(dtype, device):
    generator = torch.Generator().manual_seed(1)
    tangent = torch.randn(3, 50, 20, generator=generator, dtype=dtype).to(device)
    basis, growth, lost, *_ = qr_growth(tangent)
    assert not lost.any()
    roundoff = 50 * torch.finfo(dtype).eps
    triangle = basis.mT @ tangent
    identity = torch.eye(20, dtype=dtype, device=device).expand(3, -1, -1)
    torch.testing.assert_close(basis.mT @ basis, identity, rtol=0, atol=roundoff)
    torch.testing.assert_close(basis @ triangle, tangent, rtol=0, atol=20 * roundoff)
    torch.testing.assert_close(
        triangle.diagonal(dim1=1, dim2=2).double(), growth.exp(), rtol=20 * roundoff, atol=0
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [8, 64, 200])
def test_dependent_columns_are_lost_and_leave_a_basis(dtype, size, device):
    generator = torch.Generator().manual_seed(size)
    rank = size - size // 4
    turn = torch.linalg.qr(torch.randn(2, size, size, generator=generator, dtype=torch.float64))[0]
    keep = (torch.arange(size) < rank).double()
    projection = (turn * keep) @ turn.mT
    start = torch.linalg.qr(torch.randn(2, size, size, generator=generator, dtype=torch.float64))[0]
    basis, _, lost, *_ = qr_growth((projection @ start).to(dtype).to(device))
    assert lost.sum(dim=1).tolist() == [size - rank] * 2
    assert not lost[:, : rank - 2].any()
    identity = torch.eye(size, dtype=dtype, device=device).expand(2, -1, -1)
    torch.testing.assert_close(
        basis.mT @ basis, identity, rtol=0, atol=size * torch.finfo(dtype).eps
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_and_repeated_columns_are_lost(dtype):
    one = torch.tensor([3.0, 0.0, 4.0, 0.0], dtype=dtype)
    zero = torch.zeros(4, dtype=dtype)
    basis, growth, lost, *_ = qr_growth(torch.stack([one, one, zero], dim=1).unsqueeze(0))
    assert lost.tolist() == [[False, True, True]]
    assert growth[0, 0].item() == pytest.approx(math.log(5))
    epsilon = torch.finfo(dtype).eps
    assert growth[0, 2].item() == pytest.approx(math.log(5 * epsilon))
    torch.testing.assert_close(
        basis.mT @ basis, torch.eye(3, dtype=dtype).unsqueeze(0), rtol=0, atol=1e-6
    )


def test_a_zero_column_does_not_make_others_lost():
    columns = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 1e-9, 0.0], [0.0, 0.0, 1e-9]]]).double()
    assert qr_growth(columns).lost.tolist() == [[True, False, False]]


def test_zero_matrix_is_lost_without_trace():
    basis, growth, lost, *_ = qr_growth(torch.zeros(1, 3, 2))
    assert lost.all()
    assert growth.isneginf().all()
    assert torch.equal(basis, torch.eye(3, 2).unsqueeze(0))


def test_scale_of_a_column_does_not_make_it_lost():
    tangent = torch.diag(torch.tensor([1.0, 1e-140, 1e-100], dtype=torch.float64)).unsqueeze(0)
    _, growth, lost, *_ = qr_growth(tangent)
    assert growth[0].tolist() == pytest.approx([0.0, -140 * math.log(10), -100 * math.log(10)])
    assert not lost.any()


@pytest.mark.parametrize("least", [1e-310, 5e-324])
def test_a_column_below_the_normal_numbers(least):
    tangent = torch.diag(torch.tensor([1.0, least], dtype=torch.float64)).unsqueeze(0)
    basis, growth, lost, *_ = qr_growth(tangent)
    assert torch.equal(basis, torch.eye(2, dtype=torch.float64).unsqueeze(0))
    assert growth[0].tolist() == pytest.approx([0.0, math.log(least)])
    assert not lost.any()


@pytest.mark.parametrize(("angle", "lost"), [(1e-12, False), (1e-17, True)])
def test_nearly_parallel_columns(angle, lost):
    nearly = torch.tensor([[[1.0, 1.0], [0.0, angle]]], dtype=torch.float64)
    _, growth, found, *_ = qr_growth(nearly)
    assert found.tolist() == [[False, lost]]
    assert growth[0, 1].item() == pytest.approx(math.log(angle))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_says_where_a_number_is_not_finite(value):
    tangent = torch.ones(2, 3, 2)
    tangent[1, 2, 0] = value
    with pytest.raises(NonFiniteTangentError, match="sequence 1, coordinate 2, vector 0"):
        qr_growth(tangent)


@pytest.mark.parametrize(
    "tangent",
    [
        torch.ones(3, 3),
        torch.ones(2, 3, 0),
        torch.ones(1, 2, 3),
        torch.ones(1, 3, 2).int(),
        torch.ones(1, 2, 2).half(),
    ],
)
def test_refuses_other_shapes_and_dtypes(tangent):
    with pytest.raises(ValueError, match=r"\(B, n, K\) with 1 <= K <= n, got"):
        qr_growth(tangent)


def spread_columns(size, count, condition, dtype, seed=0):
    """A batch of 2 matrices whose singular values fall evenly from 1 to 1 / condition."""
    generator = torch.Generator().manual_seed(seed)

    def frame(rows, columns):
        drawn = torch.randn(2, rows, columns, generator=generator, dtype=torch.float64)
        return torch.linalg.qr(drawn)[0]

    values = torch.logspace(0, -math.log10(condition), count, dtype=torch.float64)
    return ((frame(size, count) * values) @ frame(count, count).mT).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "condition", "passes"),
    [
        (torch.float32, 3.0, 1),
        (torch.float32, 100.0, 2),
        (torch.float32, 1e5, 4),
        (torch.float64, 30.0, 1),
        (torch.float64, 1e5, 2),
        (torch.float64, 1e14, 4),
    ],
)
def test_the_condition_chooses_the_way(dtype, condition, passes):
    """Each way is as exact as reflections, which a float64 factor of the same numbers shows."""
    tangent = spread_columns(150, 60, condition, dtype)
    assert torch.ops.lsh.qr_growth(tangent)[4].tolist() == [passes] * 2
    basis, growth, lost, found, broken_down = qr_growth(tangent)
    assert broken_down.tolist() == [passes == 4] * 2
    assert not lost.any()
    epsilon = torch.finfo(dtype).eps
    assert (found < 2 * condition).all()
    identity = torch.eye(60, dtype=torch.float64).expand(2, -1, -1)
    defect = 60 * epsilon if passes > 1 else 4e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(basis.double().mT @ basis.double(), identity, rtol=0, atol=defect)
    if passes < 4:
        exact = torch.linalg.qr(tangent.double())[1].diagonal(dim1=1, dim2=2).abs().log()
        torch.testing.assert_close(growth, exact, rtol=0, atol=20 * epsilon * condition)


def test_what_one_pass_leaves_the_next_growth_makes_good():
    """The product of the triangles is what counts: its error does not grow with the steps."""
    generator = torch.Generator().manual_seed(4)
    jacobians = [spread_columns(40, 40, 4.0, torch.float32, seed=seed)[0] for seed in range(200)]
    start = torch.linalg.qr(torch.randn(40, 10, generator=generator))[0]
    fast = slow = start.unsqueeze(0)
    exact = start.unsqueeze(0).double()
    sums = torch.zeros(3, 10, dtype=torch.float64)
    for jacobian in jacobians:
        fast, growth, *_ = qr_growth(jacobian @ fast)
        slow, reflected, *_ = qr_growth_definition(jacobian @ slow)
        exact, truth, *_ = qr_growth_definition(jacobian.double() @ exact)
        sums += torch.cat([growth, reflected, truth])
    errors = (sums[:2] - sums[2]).abs().amax(dim=1) / len(jacobians)
    assert errors[0] < 2 * errors[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "size", "count"), [(1, 300, 100), (1, 160, 160), (5, 90, 33)])
def test_threads_change_nothing(dtype, batch, size, count):
    generator = torch.Generator().manual_seed(2)
    tangent = torch.randn(batch, size, count, generator=generator, dtype=dtype)
    alone = qr_growth(tangent)
    torch.set_num_threads(3)
    together = qr_growth(tangent)
    for a, b in zip(alone, together, strict=True):
        assert torch.equal(a, b)


@given(size=st.integers(1, 40), count=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_native_agrees_with_the_definition(size, count, seed):
    generator = torch.Generator().manual_seed(seed)
    tangent = torch.randn(1, size, min(size, count), generator=generator, dtype=torch.float64)
    for found, expected in zip(qr_growth(tangent)[:3], qr_growth_definition(tangent), strict=False):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)


def test_columns_far_from_one_are_not_squared_away():
    tangent = torch.randn(1, 30, 5, generator=torch.Generator().manual_seed(0))
    scales = torch.tensor([1e-30, 1e30, 1.0, 1e-35, 1e-10])
    _, growth, lost, *_ = qr_growth(tangent * scales)
    expected = qr_growth(tangent).log_growth + scales.double().log()
    torch.testing.assert_close(growth, expected, rtol=0, atol=1e-4)
    assert not lost.any()


def test_a_derivative_goes_through_the_definition():
    tangent = torch.randn(1, 6, 3, dtype=torch.float64).requires_grad_()
    qr_growth(tangent).log_growth.sum().backward()
    assert tangent.grad is not None
    with pytest.raises(NotImplementedError, match="qr_growth_definition"):
        torch.ops.lsh.qr_growth(tangent)[1].sum().backward()
