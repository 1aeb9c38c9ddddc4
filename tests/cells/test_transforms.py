"""torch's transforms of the recurrent operators: derivatives to any order, vmap."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from random_layer import RandomLayer, assert_near
from torch import Tensor
from torch.func import grad, jacrev, vmap

from lsh_native.cells import ELMAN, FREE_RHN, GRU, LSTM, PROJECTED_LSTM, RHN, Cell, run

CELLS = [ELMAN, GRU, LSTM, PROJECTED_LSTM, RHN, FREE_RHN]
BENDS = ("batch_sizes", "hold", "state_scale")
Tolerance = Callable[[torch.dtype], dict[str, float]]

cells = pytest.mark.parametrize("cell", CELLS, ids=[cell.name for cell in CELLS])
bends = pytest.mark.parametrize("bent", [(), BENDS], ids=["plain", "bent"])


def operands(layer: RandomLayer) -> tuple[Tensor, ...]:
    weights = layer.weights()
    matrices = [w.nan_to_num(0.5) for w in (weights.weight_ih, *weights.weight_hh)]
    found = layer["input"], layer["state"], *matrices, weights.bias_ih, weights.bias_hh
    return tuple(tensor.clone().requires_grad_() for tensor in found)


def called(
    layer: RandomLayer, *, dense_gradient: bool = False
) -> Callable[..., tuple[Tensor, ...]]:
    weights = layer.weights()

    def call(input: Tensor, state: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        weight_ih, *weight_hh, bias_ih, bias_hh = parts
        given = replace(
            weights,
            weight_ih=weight_ih,
            weight_hh=tuple(weight_hh),
            bias_ih=bias_ih,
            bias_hh=bias_hh,
        )
        done = run(layer.cell, input, state, given, dense_gradient=dense_gradient, **layer.bends)
        return done.output, done.final_state

    return call


@cells
@bends
@pytest.mark.parametrize("packed", [False, True], ids=["dense-form", "packed-form"])
def test_first_and_second_derivatives(
    cell: Cell, bent: tuple[str, ...], packed: bool, device: torch.device
) -> None:
    layer = RandomLayer(
        **{"T": 2, "B": 2, "I": 2, "H": 2, "D": 1 + (cell is RHN)},
        cell=cell,
        bent=bent,
        packed=packed,
        device=device,
    )
    assert torch.autograd.gradcheck(called(layer), operands(layer))
    assert torch.autograd.gradgradcheck(called(layer), operands(layer))


def test_second_derivatives_of_dense_gradients() -> None:
    """The derivative of what the first pass gives, entries outside the mask included."""
    layer = RandomLayer(T=2, B=2, I=2, H=2)
    assert torch.autograd.gradgradcheck(called(layer, dense_gradient=True), operands(layer))


def test_third_derivatives(tolerance: Tolerance) -> None:
    layer = RandomLayer(T=2, B=2, I=3, H=4, density=(1.0, 1.0))
    leaves = operands(layer)
    defined = layer.definition(input=leaves[0])[0]
    found = called(layer)(*leaves)[0]
    for _ in range(3):
        [defined] = torch.autograd.grad(defined.square().sum(), leaves[0], create_graph=True)
        [found] = torch.autograd.grad(found.square().sum(), leaves[0], create_graph=True)
    assert_near(found.detach(), defined.detach(), tolerance(torch.float64), "third derivative")


@cells
@pytest.mark.parametrize("bent", [(), ("hold", "state_scale"), BENDS], ids="-".join)
@pytest.mark.parametrize("mapped", [(0, 0), (0, None), (None, 2)], ids=str)
def test_vmap_over_inputs_and_states(
    cell: Cell, bent: tuple[str, ...], mapped: tuple[int | None, int | None], tolerance: Tolerance
) -> None:
    layer = RandomLayer(T=3, B=5, I=4, H=3, D=2, cell=cell, bent=bent)
    weights, V = layer.weights(), 3
    stacks = [
        layer[name] if dim is None else torch.stack([layer[name] * (1 + v) for v in range(V)], dim)
        for name, dim in zip(("input", "state"), mapped, strict=True)
    ]

    def call(input: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        done = run(cell, input, state, weights, **layer.bends)
        return done.output, done.final_state, done.trajectory.states[..., : layer.B]

    found = vmap(call, in_dims=mapped)(*stacks)
    for v in range(V):
        one = [s if d is None else s.select(d, v) for s, d in zip(stacks, mapped, strict=True)]
        for i, expected in enumerate(call(*one)):
            assert_near(found[i][v], expected, tolerance(torch.float64), f"result {i} of {v}")


def test_vmap_over_weights(tolerance: Tolerance) -> None:
    layer = RandomLayer(T=3, B=5, I=4, H=3)
    leaves = [leaf.detach() for leaf in operands(layer)]
    stacks = [torch.stack([leaf * (1 + v) for v in range(3)]) for leaf in leaves]
    found = vmap(called(layer))(*stacks)
    for v in range(3):
        for a, b in zip(found, called(layer)(*(s[v] for s in stacks)), strict=True):
            assert_near(a[v], b, tolerance(torch.float64), "")


def test_gradients_of_torch_func(tolerance: Tolerance) -> None:
    layer = RandomLayer(T=3, B=5, I=4, H=3, D=2, cell=RHN, bent=BENDS)
    leaves, call = operands(layer), called(layer)
    found = grad(lambda *x: call(*x)[0].cos().sum(), tuple(range(len(leaves))))(*leaves)
    expected = torch.autograd.grad(call(*leaves)[0].cos().sum(), leaves)
    for a, b in zip(found, expected, strict=True):
        assert_near(a.detach(), b, tolerance(torch.float64), "")


def test_gradients_of_each_sample(tolerance: Tolerance) -> None:
    """vmap of grad: one weight gradient a sequence, as a batch of one gives it."""
    layer = RandomLayer(T=3, B=5, I=4, H=3)
    input, state, *weights = (leaf.detach() for leaf in operands(layer))
    call = called(layer)

    def loss(weight: Tensor, x: Tensor, s: Tensor) -> Tensor:
        output, _ = call(x.unsqueeze(1), s.unsqueeze(1), weights[0], weight, *weights[2:])
        return output.square().sum()

    found = vmap(grad(loss), in_dims=(None, 1, 1))(weights[1], input, state)
    for b in range(layer.B):
        expected = grad(loss)(weights[1], input[:, b], state[:, b])
        assert_near(found[b], expected, tolerance(torch.float64), f"sample {b}")


def test_a_jacobian_backwards(tolerance: Tolerance) -> None:
    layer = RandomLayer(T=2, B=1, I=2, H=3)
    leaves, call = [leaf.detach() for leaf in operands(layer)], called(layer)
    found = jacrev(lambda s: call(leaves[0], s, *leaves[2:])[1])(leaves[1])
    expected = jacrev(lambda s: layer.definition(state=s)[1])(leaves[1])
    assert_near(found, expected, tolerance(torch.float64), "jacobian")


def test_second_derivatives_of_torch_func_are_refused() -> None:
    layer = RandomLayer(T=2, B=1, I=2, H=3)
    leaves, call = [leaf.detach() for leaf in operands(layer)], called(layer)

    def loss(s: Tensor) -> Tensor:
        return call(leaves[0], s, *leaves[2:])[1].cos().sum()

    with pytest.raises(NotImplementedError, match=r"torch\.autograd's, not torch\.func's"):
        grad(lambda s: grad(loss)(s).sum())(leaves[1])
