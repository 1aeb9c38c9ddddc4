"""Zero outside a mask, whatever stood there."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.sparsity.zero_dead import zero_dead, zero_dead_, zero_dead_definition_


@given(
    rows=st.integers(0, 40),
    columns=st.integers(0, 40),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    dtype=st.sampled_from(
        [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]
    ),
    seed=st.integers(0, 99),
)
def test_equals_its_definition(rows, columns, share, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, columns, generator=generator) < share
    tensors = [(9 * torch.randn(rows, columns, generator=generator)).to(dtype) for _ in range(2)]
    expected = [tensor.clone() for tensor in tensors]
    copies = [zero_dead(tensor, mask) for tensor in tensors if tensor.dtype.is_floating_point]
    zero_dead_(tensors, mask)
    zero_dead_definition_(expected, mask)
    assert all(map(torch.equal, tensors, expected))
    assert all(map(torch.equal, copies, expected))


def test_nothing_survives_and_nothing_else_is_touched():
    tensor = torch.tensor([math.nan, math.inf, -0.0, 3.0, math.nan])
    zero_dead_([tensor], torch.tensor([False, False, False, True, True]))
    assert tensor[:4].tolist() == [0, 0, 0, 3]
    assert tensor[4].isnan()
    assert not tensor[2].signbit()


def test_large_and_strided_tensors():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(700, 900, generator=generator) < 0.5
    tensor = torch.randn(700, 900, generator=generator)
    for strided in (tensor.clone(), tensor.T.contiguous().T):
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        zero_dead_([strided], mask)
        torch.set_num_threads(threads)
        assert torch.equal(strided, tensor.masked_fill(~mask, 0))


def test_autograd_is_told():
    weight = torch.nn.Parameter(torch.ones(3))
    loss = weight.square().sum()
    zero_dead_([weight], torch.tensor([True, False, True]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_refuses():
    with pytest.raises(ValueError, match=r"mask's shape \(2,\), got \(3,\)"):
        zero_dead_([torch.ones(3)], torch.ones(2) > 0)
    with pytest.raises(TypeError, match=r"mask must be bool, got torch\.float32"):
        zero_dead_([torch.ones(3)], torch.ones(3))
    mask = torch.ones(3) > 0
    with pytest.raises(RuntimeError, match="tensor must be contiguous"):
        zero_dead(torch.ones(6)[::2], mask)
    with pytest.raises(RuntimeError, match="size of the mask, 3, got 2"):
        zero_dead(torch.ones(2), mask)
    for tensors, message in [
        ([torch.ones(2)], "tensors must have the size of the mask, 3, got 2"),
        ([torch.ones(6)[::2]], "tensors must be contiguous and on the mask"),
        ([torch.ones(3).int()], "tensors must be floating point, got int32"),
    ]:
        with pytest.raises(RuntimeError, match=message):
            torch.ops.lsh.zero_dead_(tensors, mask)
