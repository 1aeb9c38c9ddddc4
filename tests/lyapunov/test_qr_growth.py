"""Orthonormalisation with log growth: known factors, reflections one by one, lost directions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lstm_oracle import householder

from lsh_native.lyapunov import NonFiniteTangentError, qr_growth

DTYPES = (torch.float32, torch.float64)


def test_diagonal_matrix_grows_by_its_entries():
    basis, growth = qr_growth(torch.diag(torch.tensor([2.0, -0.5, 3.0])).unsqueeze(0))
    assert growth.dtype == torch.float64
    torch.testing.assert_close(growth.exp(), torch.tensor([[2.0, 0.5, 3.0]], dtype=torch.float64))
    torch.testing.assert_close(basis[0], torch.diag(torch.tensor([1.0, -1.0, 1.0])))


@given(
    size=st.integers(1, 12), count=st.integers(1, 12), batch=st.integers(1, 3), seed=st.integers(0)
)
def test_agrees_with_single_reflections(size, count, batch, seed):
    generator = torch.Generator().manual_seed(seed % 2**63)
    count = min(size, count)
    tangent = torch.randn(batch, size, count, generator=generator, dtype=torch.float64)
    basis, growth = qr_growth(tangent)
    for b in range(batch):
        expected, triangle = householder(tangent[b])
        torch.testing.assert_close(basis[b], expected, rtol=0, atol=1e-8)
        torch.testing.assert_close(growth[b].exp(), triangle.diagonal(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_basis_is_orthonormal_and_spans_the_columns(dtype, device):
    generator = torch.Generator().manual_seed(1)
    tangent = torch.randn(3, 50, 20, generator=generator, dtype=dtype).to(device)
    basis, growth = qr_growth(tangent)
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
def test_dependent_columns_collapse_and_leave_a_basis(dtype, size):
    generator = torch.Generator().manual_seed(size)
    rank = size - size // 4
    left = torch.randn(1, size, rank, generator=generator, dtype=torch.float64)
    right = torch.randn(1, rank, size - rank, generator=generator, dtype=torch.float64)
    tangent = torch.cat([left, left @ right / rank], dim=2).to(dtype)
    basis, growth = qr_growth(tangent)
    assert growth[0, :rank].isfinite().all()
    # In float32 the dependent columns were rounded after the fact, so only most of them lie low.
    if dtype == torch.float64:
        assert growth[0, rank:].isneginf().float().mean() > 0.5
    torch.testing.assert_close(
        basis.mT @ basis, torch.eye(size, dtype=dtype).unsqueeze(0), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_and_repeated_columns_are_lost_exactly(dtype):
    one = torch.tensor([3.0, 0.0, 4.0, 0.0], dtype=dtype)
    zero = torch.zeros(4, dtype=dtype)
    last = torch.tensor([0.0, 2.0, 0.0, 0.0], dtype=dtype)
    basis, growth = qr_growth(torch.stack([one, one, zero, last], dim=1).unsqueeze(0))
    expected = [math.log(5), -math.inf, -math.inf]
    assert growth[0, :3].tolist() == pytest.approx(expected)
    torch.testing.assert_close(
        basis.mT @ basis, torch.eye(4, dtype=dtype).unsqueeze(0), rtol=0, atol=1e-6
    )


def test_scale_of_a_column_does_not_make_it_lost():
    tangent = torch.diag(torch.tensor([1.0, 1e-300, 1e-200], dtype=torch.float64)).unsqueeze(0)
    _, growth = qr_growth(tangent)
    assert growth[0].tolist() == pytest.approx([0.0, -300 * math.log(10), -200 * math.log(10)])


def test_tolerance_zero_counts_exact_zeros_only():
    nearly = torch.tensor([[[1.0, 1.0], [0.0, 1e-17]]], dtype=torch.float64)
    assert qr_growth(nearly)[1].isneginf().tolist() == [[False, True]]
    assert qr_growth(nearly, tolerance=0.0)[1].isneginf().tolist() == [[False, False]]
    assert qr_growth(torch.zeros(1, 2, 2), tolerance=0.0)[1].isneginf().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_says_where_a_number_is_not_finite(value):
    tangent = torch.ones(2, 3, 2)
    tangent[1, 2, 0] = value
    with pytest.raises(NonFiniteTangentError, match="sequence 1, coordinate 2, vector 0"):
        qr_growth(tangent)


@pytest.mark.parametrize(
    "tangent",
    [torch.ones(3, 3), torch.ones(1, 2, 3), torch.ones(1, 3, 2).int(), torch.ones(1, 2, 2).half()],
)
def test_refuses_other_shapes_and_dtypes(tangent):
    with pytest.raises(ValueError, match=r"\(B, n, K\) with K <= n, got"):
        qr_growth(tangent)
