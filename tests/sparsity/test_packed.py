"""Weights packed once: the same results bit for bit, changes noticed, foreign bytes refused."""

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lsh_native.nn import SparseGRU, SparseLinear, SparseLSTM, SparseRHN, SparseRNN
from lsh_native.sparsity.packed import PackedWeights, packed_weight
from lsh_native.sparsity.pattern import pack_pattern

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: SparseLSTM(40, 37, num_layers=2, density=0.2),
    "projected-lstm": lambda: SparseLSTM(40, 37, proj_size=12, density=0.2),
    "gru": lambda: SparseGRU(40, 37, density=0.2),
    "rnn": lambda: SparseRNN(40, 37, density=0.2, bias=False),
    "rhn": lambda: SparseRHN(40, 37, depth=3, density=0.2),
    "linear": lambda: SparseLinear(40, 37, density=0.2),
    "linear-by-fours": lambda: SparseLinear(40, 36, density=0.2),
}
layers = pytest.mark.parametrize("name", LAYERS)


def first(result: object) -> Tensor:
    return result if isinstance(result, Tensor) else result[0]  # type: ignore[index]


@layers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("sizes", [(1, 1), (3, 2), (9, 1), (5, 7), (4, 8), (3, 20)], ids=str)
@torch.no_grad()
def test_results_are_the_same_bit_for_bit(
    name: str, dtype: torch.dtype, sizes: tuple[int, int]
) -> None:
    layer = LAYERS[name]().to(dtype)
    x = torch.randn(*sizes, 40, dtype=dtype)
    expected = first(layer(x))
    with PackedWeights():
        for _ in range(2):
            assert torch.equal(first(layer(x)), expected)


@layers
def test_gradients_are_as_ever(name: str) -> None:
    layer, x = LAYERS[name](), torch.randn(3, 2, 40)
    first(layer(x)).sum().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    with torch.no_grad(), PackedWeights():
        first(layer(x))
        with torch.enable_grad():
            first(layer(x)).sum().backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(layer.parameters(), expected, strict=True))


@torch.no_grad()
def test_changes_are_noticed() -> None:
    layer, x = SparseLinear(40, 37, density=0.2), torch.randn(1, 40)
    with PackedWeights():
        layer(x)
        layer.weight.mul_(2)
        doubled = layer(x)
        layer.set_masks({"weight": ~layer.masks()["weight"]})
        other = layer(x)
    assert torch.equal(other, layer(x))
    layer.set_masks({"weight": ~layer.masks()["weight"]})
    assert torch.equal(doubled, layer(x))


@pytest.mark.parametrize("name", ["lstm", "projected-lstm", "rhn"])
@pytest.mark.parametrize("batch", [1, 20])
@torch.no_grad()
def test_a_change_of_any_parameter_or_mask_of_a_stack_is_noticed(name: str, batch: int) -> None:
    layer, x = LAYERS[name](), torch.randn(3, batch, 40)
    kept = PackedWeights()

    def follows() -> bool:
        with kept:
            found = first(layer(x))
        return torch.equal(found, first(layer(x)))

    assert follows()
    for parameter in layer.parameters():
        parameter.mul_(2)
        assert follows()
    for weight, mask in layer.masks().items():
        layer.set_masks({weight: ~mask})
        assert follows()
        layer.set_masks({weight: mask})


class Scaled(nn.Module):
    """A weight times a number that no version counter of the weight tells of."""

    factor = 1.0

    def forward(self, weight: Tensor) -> Tensor:
        return self.factor * weight


@pytest.mark.parametrize("weight", ["weight_ih_l0", "weight_hh_l0"])
@torch.no_grad()
def test_a_weight_that_is_made_anew_in_each_call_is_packed_anew(weight: str) -> None:
    layer, x, scaled = SparseLSTM(40, 37, density=0.2), torch.randn(3, 1, 40), Scaled()
    parametrize.register_parametrization(layer, weight, scaled)
    factors, expected = (1.0, 2.0, 3.0, 4.0), []
    for scaled.factor in factors:
        expected.append(layer(x)[0])
    with PackedWeights():
        for scaled.factor, output in zip(factors, expected, strict=True):
            assert torch.equal(layer(x)[0], output)


@torch.no_grad()
def test_not_a_number_passes_through_connections_only() -> None:
    layer = SparseLinear(40, 36, bias=False, density=0.2)
    x = torch.randn(1, 40)
    x[0, 7] = torch.nan
    assert torch.equal(layer(x)[0].isnan(), layer.masks()["weight"][:, 7])


@pytest.mark.parametrize("items", [1, 20])
@torch.no_grad()
def test_spoilt_bytes_are_refused_or_read_within_bounds(items: int) -> None:
    """Whatever stands in the bytes, nothing outside of them and of the operand is read."""
    weight, mask = torch.randn(36, 40), torch.rand(36, 40) < 0.2
    pattern, x = pack_pattern(mask), torch.randn(items, 40)

    def multiply(packed: Tensor) -> Tensor:
        return torch.ops.lsh.sparse_linear(x, packed, pattern, None, 36, False)

    with PackedWeights():
        gates = 4 if items == 1 else 1
        packed = packed_weight(weight, pattern, gates=gates, items=items if items == 1 else 32)
    torch.testing.assert_close(multiply(packed), x @ (weight * mask).mT)
    refused = 0
    for at in range(0, len(packed), 3):
        spoilt = packed.clone()
        spoilt[at] = 255 - spoilt[at]
        with suppress(RuntimeError):
            assert multiply(spoilt).shape == (items, 36)
            refused -= 1
        refused += 1
    assert refused > 20
    for other in (packed[:100], packed[64:], torch.zeros_like(packed)):
        with pytest.raises(RuntimeError, match="weight as bytes must be"):
            multiply(other)
    with pytest.raises(RuntimeError, match="packed for this product and pattern, got another's"):
        torch.ops.lsh.sparse_linear(
            torch.randn(20 if items == 1 else 1, 40), packed, pattern, None, 36, False
        )


def test_arguments_are_checked() -> None:
    weight, pattern = torch.randn(36, 40), pack_pattern(torch.rand(36, 40) < 0.2)
    pack = torch.ops.lsh.pack_weight
    with pytest.raises(RuntimeError, match=r"gates must be in \[1, 4\] and divide 36 rows, got 5"):
        pack(weight, pattern, 36, 40, 5, 1)
    with pytest.raises(RuntimeError, match="lanes must be at least 1, got 0"):
        pack(weight, pattern, 36, 40, 4, 0)
    with pytest.raises(RuntimeError, match="float32 or float64"):
        pack(weight.int(), pattern, 36, 40, 4, 1)


@pytest.mark.parametrize("items", [1, 5])
@pytest.mark.parametrize("name", ["gru", "rhn", "rnn"])
@torch.no_grad()
def test_matrices_beyond_the_second_level_cache(name: str, items: int) -> None:
    """Those of more than a mebibyte have windows of four registers where there are such."""
    layer = {
        "gru": lambda: SparseGRU(450, 450, density=0.4),
        "rhn": lambda: SparseRHN(450, 450, depth=2, density=0.6),
        "rnn": lambda: SparseRNN(450, 450, density=0.95),
    }[name]()
    x = torch.randn(2, items, 450)
    output = layer(x)[0]
    torch.testing.assert_close(output, layer.to_dense()(x)[0], rtol=2e-5, atol=2e-5)
    with PackedWeights():
        assert torch.equal(layer(x)[0], output)
