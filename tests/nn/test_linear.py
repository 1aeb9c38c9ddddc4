"""SparseLinear beside torch.nn.Linear: what test_sparse_module.py does not cover."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from lsh_native.nn import SparseLinear

densities = pytest.mark.parametrize("density", [0.0, 0.4, 1.0])


def pair(density: float, **options: Any) -> tuple[SparseLinear, nn.Linear]:
    torch.manual_seed(1)
    layer = SparseLinear(5, 4, density=density, dtype=torch.float64, **options)
    return layer, layer.to_dense()


@densities
@pytest.mark.parametrize("shape", [(), (1,), (7,), (0,), (3, 2), (3, 0), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_inputs_of_every_shape(density: float, shape: tuple[int, ...], bias: bool) -> None:
    layer, dense = pair(density, bias=bias)
    assert (layer.bias is None) == (not bias)
    x = torch.randn(*shape, 5, dtype=torch.float64)
    found, expected = layer(x), dense(x)
    torch.testing.assert_close(found, expected)
    assert found.shape == (*shape, 4)


@densities
def test_inputs_of_any_strides(density: float) -> None:
    layer, dense = pair(density)
    x = torch.randn(5, 3, 4, dtype=torch.float64).permute(2, 1, 0)
    torch.testing.assert_close(layer(x), dense(x))
    leaf = x.clone().requires_grad_()
    layer(leaf).permute(1, 2, 0).square().sum().backward()
    other = x.clone().requires_grad_()
    dense(other).square().sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad)


def test_second_derivatives() -> None:
    layer, _ = pair(0.5)
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x).tanh(), (x,))


@pytest.mark.parametrize("density", [0.4, 1.0])
def test_wrong_inputs(density: float) -> None:
    layer, _ = pair(density)
    for wrong in (torch.ones(3, 6).double(), torch.ones(3, 5), torch.ones(3, 5).long()):
        with pytest.raises((ValueError, RuntimeError), match=r"must|shape|dtype"):
            layer(wrong)


def test_wrong_inputs_of_a_masked_layer_say_what_must_hold() -> None:
    layer, _ = pair(0.4)
    with pytest.raises(ValueError, match=r"must be in_features 5, got shape \(3, 6\)"):
        layer(torch.ones(3, 6).double())
    with pytest.raises(
        RuntimeError,
        match=r"input must be torch\.float64 on cpu like the weights",
    ):
        layer(torch.ones(3, 5))


def test_a_number_for_an_input() -> None:
    with pytest.raises((ValueError, RuntimeError), match=r"input|dimension"):
        pair(0.4)[0](torch.tensor(1.0, dtype=torch.float64))


def test_no_features() -> None:
    layer = SparseLinear(0, 3)
    assert torch.equal(layer(torch.ones(2, 0)), layer.bias.expand(2, 3))
    assert SparseLinear(3, 0, density=0.5)(torch.ones(2, 3)).shape == (2, 0)


def test_repr() -> None:
    assert repr(pair(0.4)[0]) == "SparseLinear(5, 4, bias=True, density=0.4)"


@pytest.mark.parametrize("density", [0.4, 1.0])
def test_16_bits_and_autocast_give_the_dtypes_of_torch(
    density: float, device: torch.device
) -> None:
    torch.manual_seed(0)
    layer = SparseLinear(5, 6, density=density).to(device)
    x = torch.randn(3, 5, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        covered = layer(x), layer.to_dense()(x)
    half = copy.deepcopy(layer).bfloat16()
    for found, expected in (covered, (half(x.bfloat16()), half.to_dense()(x.bfloat16()))):
        assert found.dtype == expected.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
        torch.testing.assert_close(found.float(), layer(x), rtol=5e-2, atol=5e-2)
