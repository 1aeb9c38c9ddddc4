"""SparseRHN against the published equations, written out, and its two public layouts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsh_native.nn import SparseRHN, from_highways, from_variables

Tolerance = Callable[[torch.dtype], dict[str, float]]
T, B, I, H = 6, 3, 5, 4  # noqa: E741


def stack(**options: Any) -> SparseRHN:
    torch.manual_seed(0)
    defaults = {"depth": 3, "num_layers": 2, "dtype": torch.float64}
    return SparseRHN(I, H, **(defaults | options))


def published(layer: SparseRHN, x: Tensor, s: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    """Zilly et al., equations 6 to 9, gate by gate."""
    for k in range(layer.num_layers):
        outputs, state = [], s[k]
        for x_t in x:
            for d in range(layer.depth):
                a = (state * scale) @ layer.masked_weight(f"weight_hh_l{k}_d{d}").T
                if layer.bias:
                    a = a + layer.get_parameter(f"bias_l{k}_d{d}")
                if d == 0:
                    a = a + x_t @ layer.masked_weight(f"weight_ih_l{k}").T
                h, t, *c = a.split(H, dim=-1)
                carry = c[0].sigmoid() if c else 1 - t.sigmoid()
                state = h.tanh() * t.sigmoid() + state * carry
            outputs.append(state)
        x = torch.stack(outputs)
    return x


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("density", [0.4, 1.0])
def test_results_are_the_published_ones(
    coupled: bool, bias: bool, density: float, tolerance: Tolerance
) -> None:
    layer = stack(coupled=coupled, bias=bias, density=density)
    x, s = torch.randn(T, B, I).double(), torch.randn(2, B, H).double()
    output, final = layer(x, s)
    torch.testing.assert_close(output, published(layer, x, s), **tolerance(x.dtype))
    assert torch.equal(final[-1], output[-1])


def test_biases_start_where_they_should() -> None:
    for coupled in (True, False):
        layer = stack(coupled=coupled, transform_bias=-4.0)
        for d in range(3):
            h, t, *c = layer.get_parameter(f"bias_l1_d{d}").split(H)
            assert (h == 0).all()
            assert (t == -4).all()
            assert all((part == 4).all() for part in c)


def test_one_state_mask_a_sequence() -> None:
    """Shared over time and depth: the same call with that mask in the published equations."""
    layer = stack(num_layers=1, state_dropout=0.5)
    x, s = torch.randn(T, B, I).double(), torch.randn(1, B, H).double()
    torch.manual_seed(3)
    found, _ = layer(x, s)
    torch.manual_seed(3)
    scale = nn.functional.dropout(torch.ones(B, H, dtype=torch.float64), 0.5)
    torch.testing.assert_close(found, published(layer, x, s, scale))
    torch.testing.assert_close(layer.eval()(x, s)[0], published(layer, x, s))


@pytest.mark.parametrize("coupled", [True, False])
def test_the_public_pytorch_layout(coupled: bool) -> None:
    layer = stack(coupled=coupled)
    G, state = 2, {}
    for k in range(2):
        for d in range(3):
            for matrix, weight in (("W", f"weight_ih_l{k}"), ("R", f"weight_hh_l{k}_d{d}")):
                if matrix == "W" and d > 0:
                    continue
                value, bias = layer.get_parameter(weight), layer.get_parameter(f"bias_l{k}_d{d}")
                bias = bias * (0.5 if d == 0 else 1)  # W and R have half of it each
                stem = f"rnns.{k}.highways.{d}.{matrix}"
                state |= {f"{stem}.weight": value[: G * H], f"{stem}.bias": bias[: G * H]}
                if not coupled:
                    state |= {f"{stem}_C.weight": value[G * H :], f"{stem}_C.bias": bias[G * H :]}
    assert_same(
        SparseRHN.from_parameters(from_highways(state | {"fc1.weight": torch.ones(1)})), layer
    )


def test_the_authors_layout() -> None:
    layer, variables = stack(), {}
    for k in range(2):
        for d in range(3):
            whole = layer.get_parameter(f"weight_hh_l{k}_d{d}")
            if d == 0:
                whole = torch.cat([layer.get_parameter(f"weight_ih_l{k}"), whole], dim=1)
            bias = layer.get_parameter(f"bias_l{k}_d{d}")
            for gate, rows in (("h", slice(0, H)), ("t", slice(H, 2 * H))):
                stem = f"Model/RHN{k}/rhn_cell/{gate}_{d}/Linear"
                variables |= {f"{stem}/Matrix:0": whole[rows].T, f"{stem}/Bias:0": bias[rows]}
    assert_same(SparseRHN.from_parameters(from_variables(variables)), layer)


def assert_same(found: SparseRHN, expected: SparseRHN) -> None:
    assert found.state_dict().keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=0)


def test_errors() -> None:
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        stack(depth=0)
    with pytest.raises(TypeError, match="depth must be an int, got float"):
        stack(depth=2.0)
    with pytest.raises(ValueError, match="transform_bias must be finite, got nan"):
        stack(transform_bias=float("nan"))
    with pytest.raises(ValueError, match="must hold weight_ih_l0 and weight_hh_l0_d0, got none"):
        SparseRHN.from_parameters({})
    parameters = dict(stack().state_dict())
    del parameters["bias_l1_d1"]
    with pytest.raises(ValueError, match="must fit each other, got bias_l1_d1: None"):
        SparseRHN.from_parameters(parameters)
    with pytest.raises(ValueError, match=r"2 or 3 times as many rows as columns, got \(4, 4\)"):
        SparseRHN.from_parameters(
            {"weight_ih_l0": torch.ones(4, 2), "weight_hh_l0_d0": torch.ones(4, 4)}
        )


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_dense_form_is_the_same_function(
    coupled: bool, bias: bool, tolerance: Tolerance
) -> None:
    layer = stack(coupled=coupled, bias=bias, density=0.4, batch_first=True)
    dense, x = layer.to_dense(), torch.randn(B, T, I).double()
    s = torch.randn(2, B, H).double()
    for arguments in ((x, s), (x,), (x[0],), (x[0], s[:, 0])):
        for found, expected in zip(dense(*arguments), layer(*arguments), strict=True):
            torch.testing.assert_close(found, expected, **tolerance(x.dtype))
    assert {name: p.shape for name, p in dense.named_parameters()} == {
        name: p.shape for name, p in layer.named_parameters()
    }
    with pytest.raises(ValueError, match="to become a dense one"):
        stack(state_dropout=0.5).to_dense()
