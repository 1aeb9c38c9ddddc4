"""Tangents along a trajectory against their definition: the exact Jacobian-vector product."""

import pytest
import torch
from random_layer import RandomLayer, assert_near, directions
from recurrent_cases import SIZES, Tolerance, backward_op, bends, dtypes, forms, named, sizes

from lsh_native.cells import (
    LSTM,
    tangent,
    tangent_definition,
)

# torch's forward mode, which the definition of a tangent is written with, scripts its own rules.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


@bends
@pytest.mark.parametrize(("sizes", "K"), [(SIZES[i], i + 3) for i in (0, 1, 2, 5)], ids=named)
def test_tangent_of_bent_steps(
    bent: tuple[str, ...],
    sizes: dict[str, int],
    K: int,
    device: torch.device,
    tolerance: Tolerance,
) -> None:
    layer = RandomLayer(**sizes, device=device, bent=bent)
    state, input = directions(layer, K)
    trajectory, weights = layer.run().trajectory, layer.weights()
    found = tangent(LSTM, state, trajectory, weights, input_tangent=input, outputs=True)
    arguments = layer.definition_arguments()
    weight_hh = [arguments.pop("weight_hh")]
    expected = tangent_definition(
        LSTM, state, weight_hh=weight_hh, input_tangent=input, **arguments
    )
    for i, name in enumerate(("outputs", "final")):
        assert_near(found[i], expected[i], tolerance(torch.float64), name)
    half = layer.T // 2  # windows cut what bends them
    for begin, end in ((0, half), (half, layer.T)):
        if begin < end:
            _, state = tangent(LSTM, state, trajectory.window(begin, end), weights)
    _, whole = tangent(LSTM, directions(layer, K)[0], trajectory, weights)
    assert torch.equal(state, whole)


# The definition is differentiated vector by vector, so few vectors where there are many steps.
@pytest.mark.parametrize(
    ("sizes", "K"),
    [(sizes, K) for sizes in SIZES for K in (1, 4, 7) if sizes["T"] * K <= 119],
    ids=named,
)
@pytest.mark.parametrize("with_input", [False, True], ids=["state-only", "with-input"])
@forms
def test_tangent_is_the_derivative_of_the_definition(
    sizes: dict[str, int],
    K: int,
    with_input: bool,
    packed: bool,
    device: torch.device,
    tolerance: Tolerance,
) -> None:
    for dtype in (torch.float32, torch.float64):
        layer = RandomLayer(**sizes, dtype=dtype, packed=packed, device=device)
        state, input = directions(layer, K)
        outputs, final = tangent(
            LSTM,
            state,
            layer.run().trajectory,
            layer.weights(),
            input_tangent=input if with_input else None,
            outputs=True,
        )
        arguments = layer.definition_arguments()
        weight_hh = [arguments.pop("weight_hh")]
        d_outputs, d_final = tangent_definition(
            LSTM,
            state.double(),
            weight_hh=weight_hh,
            input_tangent=input.double() if with_input else None,
            **arguments,
        )
        assert_near(outputs, d_outputs, tolerance(dtype), "outputs")
        assert_near(final, d_final, tolerance(dtype), "final")


def test_tangent_without_outputs_gives_the_same_final_and_no_outputs() -> None:
    layer = RandomLayer(T=5, B=3, I=4, H=6)
    state, input = directions(layer, 5)
    trajectory, weights = layer.run().trajectory, layer.weights()
    _, final = tangent(LSTM, state, trajectory, weights, input_tangent=input, outputs=True)
    empty, same = tangent(LSTM, state, trajectory, weights, input_tangent=input)
    assert empty.numel() == 0
    assert torch.equal(final, same)


@dtypes
def test_more_vectors_than_one_slice(dtype: torch.dtype, tolerance: Tolerance) -> None:
    """K = 523 vectors at once are pushed as they are a few at a time."""
    layer = RandomLayer(T=4, B=2, I=3, H=5, dtype=dtype)
    trajectory, weights = layer.run().trajectory, layer.weights()
    state, input = directions(layer, 523)
    parts = [
        tangent(LSTM, v, trajectory, weights, input_tangent=x, outputs=True)
        for v, x in zip(state.split(100, -1), input.split(100, -1), strict=True)
    ]
    found = tangent(LSTM, state, trajectory, weights, input_tangent=input, outputs=True)
    for i, name in enumerate(("outputs", "final")):
        expected = torch.cat([part[i] for part in parts], dim=-1).double()
        assert_near(found[i], expected, tolerance(dtype), name)


def test_tangents_of_windows_compose() -> None:
    layer = RandomLayer(T=9, B=3, I=4, H=6)
    trajectory, weights = layer.run().trajectory, layer.weights()
    state, _ = directions(layer, 4)
    _, whole = tangent(LSTM, state, trajectory, weights)
    for cut in (1, 4, 8):
        _, half = tangent(LSTM, state, trajectory.window(0, cut), weights)
        _, rest = tangent(LSTM, half, trajectory.window(cut, 9), weights)
        assert torch.equal(whole, rest)


@sizes
@forms
@pytest.mark.parametrize("density", [(0.3, 0.7), (1.0, 1.0), (0.0, 0.0)], ids=named)
def test_backward_is_the_transpose_of_tangent(
    sizes: dict[str, int],
    packed: bool,
    density: tuple[float, float],
    device: torch.device,
    tolerance: Tolerance,
) -> None:
    """<u, J v> = <Jᵀ u, v> for u on outputs and final state, v on input and initial state."""
    layer = RandomLayer(**sizes, packed=packed, density=density, device=device)
    done = layer.run()
    v_state, v_input = directions(layer, 1)
    outputs, final = tangent(
        LSTM,
        v_state,
        done.trajectory,
        layer.weights(),
        input_tangent=v_input,
        outputs=True,
    )
    u_input, u_state, *_ = backward_op(layer, done)
    left = [
        layer["grad_output"] * outputs[..., 0],
        layer["grad_final"].transpose(0, 1) * final[..., 0],
    ]
    right = [u_input * v_input[..., 0], u_state.transpose(0, 1) * v_state[..., 0]]
    size = sum(float(term.abs().sum()) for term in (*left, *right))
    difference = sum(float(term.sum()) for term in left) - sum(float(term.sum()) for term in right)
    assert abs(difference) <= tolerance(torch.float64)["rtol"] * size


def test_no_vectors() -> None:
    layer = RandomLayer(T=3, B=2, I=4, H=5)
    state, _ = directions(layer, 0)
    _, final = tangent(LSTM, state, layer.run().trajectory, layer.weights())
    assert final.shape == (2, 2, 5, 0)
