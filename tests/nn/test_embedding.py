"""SparseEmbedding beside torch.nn.Embedding: what test_sparse_module.py does not cover."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsh_native.nn import SparseEmbedding

densities = pytest.mark.parametrize("density", [0.0, 0.4, 1.0])


def pair(density: float) -> tuple[SparseEmbedding, nn.Embedding]:
    torch.manual_seed(1)
    layer = SparseEmbedding(7, 5, density=density, dtype=torch.float64)
    return layer, layer.to_dense()


@densities
@pytest.mark.parametrize("shape", [(), (1,), (9,), (0,), (3, 2), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_indices_of_every_shape(density: float, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    layer, dense = pair(density)
    indices = torch.randint(7, shape, dtype=dtype)
    assert torch.equal(layer(indices), dense(indices))
    assert layer(indices).shape == (*shape, 5)


@densities
def test_a_row_looked_up_twice_gets_both_gradients(density: float) -> None:
    layer, dense = pair(density)
    indices = torch.tensor([3, 3, 1])
    for module in (layer, dense):
        module(indices).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, dense.weight.grad * layer.masks()["weight"])


@densities
@pytest.mark.parametrize("wrong", [torch.tensor([7]), torch.tensor([-1])], ids=["7", "-1"])
def test_an_index_outside(density: float, wrong: Tensor) -> None:
    with pytest.raises(IndexError):
        pair(density)[0](wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"padding_idx": 2},
        {"max_norm": 1.0},
        {"scale_grad_by_freq": True},
        {"sparse": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_dense_table_are_kept_or_refused(options: dict[str, Any]) -> None:
    """None of them may be lost in silence: each changes values or gradients."""
    torch.manual_seed(0)
    dense = nn.Embedding(7, 5, **options)
    try:
        layer = SparseEmbedding.from_dense(dense)
    except ValueError:
        return
    indices = torch.tensor([2, 2, 3, 2])
    for module in (layer, dense):
        module(indices).square().sum().backward()
    torch.testing.assert_close(layer(indices), dense(indices))
    expected = dense.weight.grad
    torch.testing.assert_close(layer.weight.grad, expected)
    assert layer.weight.grad.is_sparse == expected.is_sparse


def test_repr() -> None:
    assert repr(pair(0.4)[0]) == "SparseEmbedding(7, 5, density=0.4)"
