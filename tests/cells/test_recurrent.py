"""The native recurrence against its plain definition: values, gradients, tangents, determinism."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from random_layer import RandomLayer, assert_near, defined_gradients, directions, gradients
from torch import Tensor

from lsh_native.cells import (
    ELMAN,
    GRU,
    LSTM,
    PROJECTED_LSTM,
    RHN,
    Cell,
    LayerWeights,
    Run,
    run,
    tangent,
    tangent_definition,
)
from lsh_native.native import libraries
from lsh_native.sparsity.pattern import pack_pattern

# torch's forward mode, which the definition of a tangent is written with, scripts its own rules.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

Tolerance = Callable[[torch.dtype], dict[str, float]]

# Lanes of one vector, of several, of several and a rest, beyond one slice of 512; tiles of one and
# of many steps, the last one full or not; one unit, odd numbers of units, more than one block.
SIZES = [
    {"T": 1, "B": 1, "I": 1, "H": 1},
    {"T": 3, "B": 2, "I": 5, "H": 7},
    {"T": 5, "B": 11, "I": 4, "H": 16},
    {"T": 2, "B": 17, "I": 19, "H": 33},
    {"T": 67, "B": 3, "I": 17, "H": 10},
    {"T": 7, "B": 67, "I": 3, "H": 5},
    {"T": 2, "B": 600, "I": 4, "H": 3},
    {"T": 600, "B": 2, "I": 3, "H": 4},
    {"T": 97, "B": 1, "I": 6, "H": 12},
    {"T": 17, "B": 17, "I": 40, "H": 64},
    {"T": 9, "B": 36, "I": 450, "H": 150},
]
DENSITIES = [(0.0, 0.0), (0.1, 0.5), (0.5, 0.1), (1.0, 1.0)]


def named(value: object) -> str:
    if isinstance(value, dict):
        return "-".join(f"{name}{size}" for name, size in value.items())
    return str(value).removeprefix("torch.")


sizes = pytest.mark.parametrize("sizes", SIZES, ids=named)
densities = pytest.mark.parametrize("density", DENSITIES, ids=named)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=named)
forms = pytest.mark.parametrize("packed", [False, True], ids=["dense-form", "packed-form"])


@pytest.fixture(autouse=True)
def set_threads() -> Iterator[Callable[[int], None]]:
    """One thread for every test that does not ask for more; as it was afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.set_num_threads
    torch.set_num_threads(before)


def backward_op(layer: RandomLayer, done: Run, **changed: object) -> tuple:
    """Calls lsh::lstm_backward itself."""
    weights = layer.weights()
    arguments: dict[str, object] = {
        "grad_output": layer["grad_output"],
        "grad_final": layer["grad_final"],
        "input": layer["input"],
        "state": layer["state"],
        "activations": done.trajectory.activations,
        "states": done.trajectory.states,
        "weight_ih": weights.weight_ih,
        "weight_hh": list(weights.weight_hh),
        "pattern_ih": weights.pattern_ih,
        "pattern_hh": list(weights.pattern_hh),
        "bias_ih": weights.bias_ih,
        "bias_hh": weights.bias_hh,
        "batch_sizes": layer.bends.get("batch_sizes"),
        "hold": layer.bends.get("hold"),
        "state_scale": layer.bends.get("state_scale"),
        "input_gradient": True,
        "dense_gradient": False,
    }
    return torch.ops.lsh.lstm_backward(**(arguments | changed))


# --------------------------------------------------------------------------------- known answers


@dtypes
def test_one_unit_by_hand(dtype: torch.dtype, tolerance: Tolerance) -> None:
    """All weights zero: every gate is its bias, and the cell state alone remembers."""
    everything = pack_pattern(torch.ones(4, 1, dtype=torch.bool))
    weights = LayerWeights(
        weight_ih=torch.zeros(4, 1, dtype=dtype),
        weight_hh=(torch.zeros(4, 1, dtype=dtype),),
        pattern_ih=everything,
        pattern_hh=(everything,),
        bias_ih=torch.tensor([0.0, 0.0, 100.0, 0.0], dtype=dtype),
    )
    state = torch.tensor([0.0, 1.0], dtype=dtype).view(2, 1, 1)
    done = run(LSTM, torch.zeros(2, 1, 1, dtype=dtype), state, weights)
    c = torch.tensor([1.0, 1.0], dtype=torch.float64)  # 1/2 · 1 + 1/2 · tanh(100), twice
    expected = 0.5 * c.tanh()
    assert_near(done.output.flatten(), expected, tolerance(dtype), "output")
    assert_near(
        done.final_state.flatten(), torch.stack([expected[-1], c[-1]]), tolerance(dtype), ""
    )


def test_a_mask_of_the_identity_keeps_units_apart() -> None:
    """Units that are connected to themselves only do not hear of each other."""
    H = 5
    layer = RandomLayer(T=4, B=2, I=3, H=H, density=(0.0, 0.0))
    layer.operands["mask_hh"] = torch.eye(H, dtype=torch.bool).repeat(4, 1)
    disturbed = layer["state"].clone()
    disturbed[:, :, 2] += 1
    before = layer.run().output
    after = run(LSTM, layer["input"], disturbed, layer.weights()).output
    untouched = [u for u in range(H) if u != 2]
    assert torch.equal(before[..., untouched], after[..., untouched])
    assert not torch.equal(before[..., 2], after[..., 2])


# --------------------------------------------------------------------------- against the definition


@sizes
@densities
@dtypes
@forms
def test_values_and_gradients_are_those_of_the_definition(
    sizes: dict[str, int],
    density: tuple[float, float],
    dtype: torch.dtype,
    packed: bool,
    device: torch.device,
    tolerance: Tolerance,
) -> None:
    layer = RandomLayer(
        **sizes,
        density=density,
        dtype=dtype,
        packed=packed,
        bias=density != (0.1, 0.5),
        device=device,
    )
    done = layer.run()
    assert done.output.dtype == dtype
    output, final = layer.definition()
    assert_near(done.output, output, tolerance(dtype), "output")
    assert_near(done.final_state, final, tolerance(dtype), "final_state")

    found, expected = gradients(layer), defined_gradients(layer)
    for which in ("ih", "hh"):
        expected[f"weight_{which}"] = layer.as_stored(expected[f"weight_{which}"], which)
    assert found.keys() == expected.keys()
    for name in expected:
        assert_near(found[name], expected[name], tolerance(dtype), name)


BENDS = [("batch_sizes",), ("hold",), ("state_scale",), ("batch_sizes", "hold", "state_scale")]
bends = pytest.mark.parametrize("bent", BENDS, ids="-".join)


@bends
@sizes
@dtypes
def test_bent_steps_are_those_of_the_definition(
    bent: tuple[str, ...],
    sizes: dict[str, int],
    dtype: torch.dtype,
    device: torch.device,
    tolerance: Tolerance,
) -> None:
    layer = RandomLayer(**sizes, dtype=dtype, device=device, bent=bent)
    done, (output, final) = layer.run(), layer.definition()
    assert_near(done.output, output, tolerance(dtype), "output")
    assert_near(done.final_state, final, tolerance(dtype), "final_state")
    found, expected = gradients(layer), defined_gradients(layer)
    for which in ("ih", "hh"):
        expected[f"weight_{which}"] = layer.as_stored(expected[f"weight_{which}"], which)
    for name in expected:
        assert_near(found[name], expected[name], tolerance(dtype), name)


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


def test_what_held_units_get_is_exact() -> None:
    """A unit that is held wholly neither moves nor takes part in a gradient: bit for bit."""
    layer = RandomLayer(T=5, B=3, I=4, H=6, bent=("hold",))
    layer["hold"].fill_(1)
    done = layer.run()
    assert torch.equal(done.final_state, layer["state"])
    found = gradients(layer)
    assert not found["weight_hh"].any()
    assert not found["input"].any()


@sizes
@dtypes
@pytest.mark.parametrize("density", [(0.0, 0.3), (0.3, 0.0), (1.0, 1.0)], ids=named)
def test_dense_gradient_reaches_every_entry(
    sizes: dict[str, int],
    dtype: torch.dtype,
    density: tuple[float, float],
    device: torch.device,
    tolerance: Tolerance,
) -> None:
    layer = RandomLayer(**sizes, density=density, dtype=dtype, device=device)
    found, expected = gradients(layer, dense_gradient=True), defined_gradients(layer)
    for name in expected:
        assert_near(found[name], expected[name], tolerance(dtype), name)


def test_dense_gradient_of_packed_weights(tolerance: Tolerance) -> None:
    layer = RandomLayer(T=5, B=3, I=4, H=6, packed=True)
    _, _, d_ih, d_hh, _, _ = backward_op(layer, layer.run(), dense_gradient=True)
    expected = defined_gradients(layer)
    assert_near(d_ih, expected["weight_ih"], tolerance(torch.float64), "weight_ih")
    assert_near(d_hh[0], expected["weight_hh"], tolerance(torch.float64), "weight_hh")


def test_dense_gradient_of_packed_weights_is_refused_where_it_has_no_place_to_go() -> None:
    """A packed weight has no room for a dense gradient: said by us, and not after the backward."""
    layer = RandomLayer(T=5, B=3, I=4, H=6, packed=True)
    with pytest.raises((RuntimeError, ValueError), match="dense_gradient"):
        gradients(layer, dense_gradient=True)


@pytest.mark.parametrize("absent", ["grad_output", "grad_final"])
@sizes
def test_a_loss_on_one_result_only(
    sizes: dict[str, int], absent: str, tolerance: Tolerance
) -> None:
    layer = RandomLayer(**sizes)
    weights = layer.weights(gradient=True)
    input = layer["input"].clone().requires_grad_()
    done = run(LSTM, input, layer["state"], weights)
    seen, defined, grad = (
        (done.final_state, 1, layer["grad_final"])
        if absent == "grad_output"
        else (done.output, 0, layer["grad_output"])
    )
    leaf = layer.definition_arguments()["input"].requires_grad_()
    [found] = torch.autograd.grad(seen, input, grad)
    [expected] = torch.autograd.grad(layer.definition(input=leaf)[defined], leaf, grad)
    assert_near(found, expected, tolerance(torch.float64), "input")


def test_no_gradient_of_the_input_is_made_unless_asked_for() -> None:
    layer = RandomLayer(T=3, B=2, I=4, H=5)
    d_input, d_state, *_ = backward_op(layer, layer.run(), input_gradient=False)
    assert d_input.shape == (0, 2, 4)
    assert_near(d_state, gradients(layer)["state"], {"rtol": 0, "atol": 0}, "state")


def test_biases_of_one_kind_only(tolerance: Tolerance) -> None:
    layer = RandomLayer(T=3, B=2, I=4, H=5)
    for name, other in (("bias_ih", "bias_hh"), ("bias_hh", "bias_ih")):
        weights = replace(layer.weights(gradient=True), **{other: None})
        done = run(LSTM, layer["input"], layer["state"], weights)
        arguments = layer.definition_arguments()
        leaf = arguments[name].requires_grad_()
        output, _ = layer.definition(**{name: leaf, other: None})
        assert_near(done.output.detach(), output.detach(), tolerance(torch.float64), "output")
        [found] = torch.autograd.grad(done.output.sum(), getattr(weights, name))
        [expected] = torch.autograd.grad(output.sum(), leaf)
        assert_near(found, expected, tolerance(torch.float64), name)


@dtypes
def test_the_trajectory_holds_states_and_activations_of_every_step(
    dtype: torch.dtype, tolerance: Tolerance
) -> None:
    layer = RandomLayer(T=6, B=5, I=4, H=3, dtype=dtype)
    trajectory = layer.run().trajectory
    assert trajectory.states.shape == (7, 2, 3, 8)
    assert trajectory.activations.shape == (6, 4, 3, 8)
    arguments = layer.definition_arguments()
    state = arguments["state"]
    for t, x in enumerate(arguments["input"]):
        assert_near(trajectory.states[t, ..., :5].mT, state, tolerance(dtype), f"states {t}")
        recurrent = state[0] @ arguments["weight_hh"].mT + arguments["bias_hh"][0]
        projected = x @ arguments["weight_ih"].mT + arguments["bias_ih"]
        activation, state = LSTM.step(recurrent, projected, state)
        found = trajectory.activations[t, ..., :5].mT
        assert_near(found, activation, tolerance(dtype), f"activations {t}")
    assert_near(trajectory.states[-1, ..., :5].mT, state, tolerance(dtype), "last state")


# ----------------------------------------------------------------------------------------- tangent


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


# ------------------------------------------------------------------------------------ what is read


@forms
def test_entries_outside_the_mask_are_not_read(packed: bool, device: torch.device) -> None:
    """NaN where there is no connection, or room left in the patterns, changes no bit."""
    layer = RandomLayer(T=4, B=3, I=5, H=6, packed=packed, device=device)
    roomy = RandomLayer(T=4, B=3, I=5, H=6, packed=packed, device=device, capacity=7)
    clean = replace(
        roomy.weights(),
        weight_ih=roomy.weight("ih").nan_to_num(0.0),
        weight_hh=(roomy.weight("hh").nan_to_num(0.0),),
    )
    done, other = layer.run(), run(LSTM, layer["input"], layer["state"], clean)
    assert torch.equal(done.output, other.output)
    assert torch.equal(done.final_state, other.final_state)
    for a, b in zip(gradients(layer).values(), gradients(roomy).values(), strict=True):
        assert torch.equal(a, b)


def test_a_packed_weight_may_be_as_long_as_the_capacity() -> None:
    """What stands beyond the connections is not read and has no gradient."""
    layer = RandomLayer(T=4, B=3, I=5, H=6, packed=True, capacity=7)
    weights = layer.weights()
    long = torch.cat([weights.weight_hh[0], torch.full((7,), torch.nan, dtype=torch.float64)])
    long.requires_grad_()
    done = run(LSTM, layer["input"], layer["state"], replace(weights, weight_hh=(long,)))
    assert torch.equal(done.output, layer.run().output)
    done.output.sum().backward()
    assert torch.equal(long.grad[-7:], torch.zeros(7, dtype=torch.float64))
    assert long.grad.isfinite().all()


def test_a_nan_in_one_sequence_stays_there() -> None:
    layer = RandomLayer(T=4, B=5, I=3, H=6, density=(1.0, 1.0))
    healthy = layer.run()
    layer["input"][1, 2] = torch.nan
    ill = layer.run()
    others = [0, 1, 3, 4]
    assert torch.equal(healthy.output[:, others], ill.output[:, others])
    assert torch.equal(healthy.final_state[:, others], ill.final_state[:, others])
    assert ill.output[1:, 2].isnan().all()
    assert ill.output[0, 2].isfinite().all()


def test_operands_of_any_strides() -> None:
    layer = RandomLayer(T=4, B=3, I=5, H=6)
    expected = layer.run()
    weights = layer.weights()

    def strided(tensor: Tensor) -> Tensor:
        room = tensor.new_full((*tensor.shape[:-1], 2 * tensor.shape[-1]), torch.nan)
        room[..., ::2] = tensor
        assert not room[..., ::2].is_contiguous()
        return room[..., ::2]

    loose = replace(
        weights,
        weight_ih=weights.weight_ih.t().contiguous().t(),
        weight_hh=(strided(weights.weight_hh[0]),),
    )
    input, state = strided(layer["input"]), layer["state"].transpose(0, 2).clone().transpose(0, 2)
    done = run(LSTM, input, state, loose)
    assert torch.equal(done.output, expected.output)
    assert torch.equal(done.final_state, expected.final_state)

    grad = layer["grad_output"].transpose(0, 1).clone().transpose(0, 1)
    leaf = input.detach().requires_grad_()
    [found] = torch.autograd.grad(run(LSTM, leaf, state, loose).output, leaf, grad)
    leaf = layer["input"].clone().requires_grad_()
    done = run(LSTM, leaf, layer["state"], weights)
    [wanted] = torch.autograd.grad(done.output, leaf, layer["grad_output"])
    assert torch.equal(found, wanted)

    v, _ = directions(layer, 3)
    _, final = tangent(LSTM, strided(v), expected.trajectory, loose)
    assert torch.equal(final, tangent(LSTM, v, expected.trajectory, weights)[1])


def test_biases_of_any_strides() -> None:
    layer = RandomLayer(T=4, B=3, I=5, H=6)
    weights = layer.weights()
    loose = replace(
        weights,
        bias_ih=weights.bias_ih.repeat_interleave(2)[::2],
        bias_hh=weights.bias_hh.repeat_interleave(2, dim=1)[:, ::2],
    )
    done = run(LSTM, layer["input"], layer["state"], loose)
    assert torch.equal(done.output, layer.run().output)


def test_an_empty_batch(device: torch.device) -> None:
    layer = RandomLayer(T=3, B=0, I=4, H=5, device=device)
    done = layer.run()
    assert done.output.shape == (3, 0, 5)
    assert done.final_state.shape == (2, 0, 5)
    found = gradients(layer)
    assert found["input"].shape == (3, 0, 4)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        assert torch.equal(found[name], torch.zeros_like(found[name])), name
    state, _ = directions(layer, 2)
    outputs, final = tangent(LSTM, state, done.trajectory, layer.weights(), outputs=True)
    assert outputs.shape == (3, 0, 5, 2)
    assert final.shape == (0, 2, 5, 2)


def test_no_vectors() -> None:
    layer = RandomLayer(T=3, B=2, I=4, H=5)
    state, _ = directions(layer, 0)
    _, final = tangent(LSTM, state, layer.run().trajectory, layer.weights())
    assert final.shape == (2, 2, 5, 0)


# ------------------------------------------------------------------------------------ determinism


def everything(layer: RandomLayer) -> list[Tensor]:
    """All that the three operators give for a layer."""
    done = layer.run()
    state, input = directions(layer, 21)
    weights, trajectory = layer.weights(), done.trajectory
    pushed = tangent(LSTM, state, trajectory, weights, input_tangent=input, outputs=True)
    d_input, d_state, d_ih, d_hh, d_bias_ih, d_bias_hh = backward_op(layer, done)
    _, _, dense_ih, dense_hh, _, _ = backward_op(layer, done, dense_gradient=True)
    return [
        done.output,
        done.final_state,
        *pushed,
        *(d_input, d_state, d_ih, d_hh[0], d_bias_ih, d_bias_hh, dense_ih, dense_hh[0]),
    ]


def shared_out(dtype: torch.dtype, packed: bool) -> list[RandomLayer]:
    """Layers large enough for three workers: even masks, and all connections in a few units."""
    density = (0.6, 0.7)
    even = RandomLayer(T=3, B=21, I=37, H=48, density=density, dtype=dtype, packed=packed)
    bent = replace(even, bent=BENDS[-1])
    uneven = RandomLayer(T=3, B=66, I=5, H=51, density=density, dtype=dtype, packed=packed)
    uneven["mask_hh"][torch.arange(4 * 51) % 51 >= 7] = False
    uneven["mask_hh"][torch.arange(4 * 51) % 51 < 7] = True
    return [even, bent, uneven]


@dtypes
@forms
def test_every_number_of_threads_gives_the_same_bits(
    dtype: torch.dtype, packed: bool, set_threads: Callable[[int], None]
) -> None:
    for layer in shared_out(dtype, packed):
        expected = everything(layer)
        for threads in (2, 3, 3, 3):
            set_threads(threads)
            for i, (a, b) in enumerate(zip(expected, everything(layer), strict=True)):
                assert torch.equal(a, b), f"result {i} differs with {threads} threads"
        set_threads(1)


def test_every_run_gives_the_same_bits(device: torch.device) -> None:
    layer = RandomLayer(T=9, B=21, I=37, H=48, dtype=torch.float32, device=device)
    expected = everything(layer)
    for _ in range(3):
        for a, b in zip(expected, everything(layer), strict=True):
            assert torch.equal(a, b)


@pytest.fixture
def rubbish_in_new_memory() -> Iterator[None]:
    """torch's own way to find reads of memory that was never written: NaN in every new tensor."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@sizes
@forms
@pytest.mark.parametrize("density", [(0.3, 0.3), (0.0, 0.0)], ids=named)
@pytest.mark.usefixtures("rubbish_in_new_memory")
def test_no_number_is_read_before_it_is_written(
    sizes: dict[str, int], packed: bool, density: tuple[float, float]
) -> None:
    assert torch.empty(1).isnan()
    layer = RandomLayer(**sizes, packed=packed, density=density, capacity=3)
    for result in everything(layer) + everything(replace(layer, bent=BENDS[-1])):
        assert result.isfinite().all()


def test_calls_from_several_threads_at_once(set_threads: Callable[[int], None]) -> None:
    layer = shared_out(torch.float32, False)[0]
    expected = everything(layer)

    def call(_: int) -> bool:
        set_threads(2)  # torch keeps the number of threads per calling thread
        found = everything(layer)
        return all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(call, range(9)))


# -------------------------------------------------------------------------------------- SIMD levels

LEVELS = ("baseline", "v3", "v4")
OTHERS = [
    level
    for level in LEVELS[: LEVELS.index(libraries.detected_simd_level) + 1]
    if level != libraries.simd_level
]


def run_probe(level: str) -> subprocess.CompletedProcess[str]:
    probe = Path(__file__).with_name("simd_probe.py")
    environment = os.environ | {"LSH_SIMD": level}
    return subprocess.run(
        [sys.executable, probe], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("level", OTHERS)
def test_another_simd_level_agrees_with_the_definition(level: str) -> None:
    done = run_probe(level)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [level]


def test_an_unknown_simd_level_is_an_error_at_import() -> None:
    done = run_probe("v5")
    assert done.returncode != 0
    assert "LSH_SIMD must be baseline, v3 or v4, got v5" in done.stderr


# ------------------------------------------------------------------------------------------ errors


def small() -> RandomLayer:
    return RandomLayer(T=3, B=2, I=4, H=5)


FAULTS: dict[str, tuple[dict[str, Callable[[RandomLayer], object]], str]] = {
    "dtype of the input": (
        {"input": lambda layer: layer["input"].half()},
        "input must be float32 or float64, got float16",
    ),
    "integer input": (
        {"input": lambda layer: layer["input"].long()},
        "input must be float32 or float64, got int64",
    ),
    "dimensions of the input": (
        {"input": lambda layer: layer["input"][0]},
        r"input must have 3 dimensions, got shape \(2, 4\)",
    ),
    "no time step": (
        {"input": lambda layer: layer["input"][:0]},
        "input must have at least one time step",
    ),
    "features of the input": (
        {"input": lambda layer: layer["input"][..., :3]},
        r"pattern_ih must (hold|describe)",
    ),
    "dtype of the state": (
        {"state": lambda layer: layer["state"].float()},
        "state must have the dtype of input, float64, got float32",
    ),
    "batch of the state": (
        {"state": lambda layer: layer["state"][:, :1]},
        r"state must have shape \(2, 2, 5\), got \(2, 1, 5\)",
    ),
    "number of states": (
        {"state": lambda layer: layer["state"][:1]},
        r"state must have shape \(2, 2, 5\), got \(1, 2, 5\)",
    ),
    "no unit": (
        {"state": lambda layer: layer["state"][..., :0]},
        "state must have at least one unit",
    ),
    "dtype of a weight": (
        {"weight_ih": lambda layer: layer["weight_ih"].float()},
        "weight_ih must have the dtype of input, float64, got float32",
    ),
    "shape of a weight": (
        {"weight_hh": lambda layer: (layer["weight_hh"].t(),)},
        r"weight_hh must have shape \(20, 5\), got \(5, 20\)",
    ),
    "packed weight too short": (
        {"weight_hh": lambda layer: (layer["weight_hh"][layer["mask_hh"]][1:],)},
        r"weight_hh in packed form must hold the pattern's \d+ values, got \d+",
    ),
    "packed weight too long": (
        {"weight_hh": lambda layer: (layer["weight_hh"].flatten(),)},
        r"weight_hh in packed form must hold the pattern's \d+ values, got 100",
    ),
    "no recurrent weight": (
        {"weight_hh": lambda layer: (), "pattern_hh": lambda layer: ()},
        "weight_hh and pattern_hh must be lists of one length, at least 1, got 0 and 0",
    ),
    "lists of two lengths": (
        {"pattern_hh": lambda layer: (layer.pattern("hh"),) * 2},
        "weight_hh and pattern_hh must be lists of one length, at least 1, got 1 and 2",
    ),
    "bias of another length": (
        {"bias_ih": lambda layer: layer["bias_ih"][:-1]},
        r"bias_ih must have shape \(20\), got \(19\)",
    ),
    "flat recurrent bias": (
        {"bias_hh": lambda layer: layer["bias_hh"][0]},
        r"bias_hh must have shape \(1, 20\), got \(20\)",
    ),
    "dtype of a bias": (
        {"bias_hh": lambda layer: layer["bias_hh"].float()},
        "bias_hh must have the dtype of input, float64, got float32",
    ),
    "dtype of a pattern": (
        {"pattern_ih": lambda layer: layer.pattern("ih").long()},
        "pattern_ih must be int32, got int64",
    ),
    "pattern of another matrix": (
        {"pattern_hh": lambda layer: (pack_pattern(layer["mask_hh"].t()),)},
        "pattern_hh must describe a 20 x 5 matrix, got one for 5 x 20",
    ),
    "patterns exchanged": (
        {
            "pattern_hh": lambda layer: (layer.pattern("ih"),),
            "pattern_ih": lambda layer: layer.pattern("hh"),
        },
        "pattern_ih must ",
    ),
    "length of the batch sizes": (
        {"batch_sizes": lambda layer: torch.tensor([2, 1])},
        r"batch_sizes must have shape \(3\), got \(2\)",
    ),
    "dtype of the batch sizes": (
        {"batch_sizes": lambda layer: torch.tensor([2, 1, 1], dtype=torch.int32)},
        "batch_sizes must be int64 on the CPU, got int32",
    ),
    "more items than the batch has": (
        {"batch_sizes": lambda layer: torch.tensor([2, 3, 1])},
        r"batch_sizes must be in \[0, 2\], got 3",
    ),
    "fewer than no items": (
        {"batch_sizes": lambda layer: torch.tensor([2, -1, 1])},
        r"batch_sizes must be in \[0, 2\], got -1",
    ),
    "shape of hold": (
        {"hold": lambda layer: layer["hold"][:, :1]},
        r"hold must have shape \(3, 2, 2, 5\), got \(3, 1, 2, 5\)",
    ),
    "dtype of hold": (
        {"hold": lambda layer: layer["hold"].float()},
        "hold must have the dtype of input, float64, got float32",
    ),
    "shape of the state scale": (
        {"state_scale": lambda layer: layer["state_scale"][0]},
        r"state_scale must have shape \(2, 5\), got \(5\)",
    ),
    "a mask for a pattern": (
        {"pattern_hh": lambda layer: (layer["mask_hh"],)},
        "pattern_hh must have 1 dimensions",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_say_what_must_hold(fault: str) -> None:
    changes, message = FAULTS[fault]
    layer = small()
    made = {name: make(layer) for name, make in changes.items()}
    input, state = (made.pop(name, layer[name]) for name in ("input", "state"))
    bent = {name: made.pop(name) for name in BENDS[-1] if name in made}
    weights = replace(layer.weights(), **made)
    with pytest.raises(RuntimeError, match=message):
        run(LSTM, input, state, weights, **bent)


@pytest.mark.parametrize(
    "cell", [LSTM, GRU, ELMAN, RHN, PROJECTED_LSTM], ids=lambda cell: cell.name
)
@pytest.mark.parametrize("batch", [1, 3, 20, 37])
@pytest.mark.parametrize(
    "bent", [(), ("batch_sizes", "hold", "state_scale")], ids=["plain", "bent"]
)
def test_a_pass_without_a_trajectory_gives_the_same_bits(
    cell: Cell, batch: int, bent: tuple[str, ...]
) -> None:
    depth = 3 if cell is RHN else 1
    layer = RandomLayer(T=7, B=batch, I=9, H=21, D=depth, cell=cell, bent=bent, dtype=torch.float32)
    expected = layer.run()
    operands = (layer["input"], layer["state"], layer.weights())
    with torch.no_grad():
        found = run(cell, *operands, trajectory=False, **layer.bends)
    assert torch.equal(found.output, expected.output)
    assert torch.equal(found.final_state, expected.final_state)
    with pytest.raises(ValueError, match="must be run with trajectory=True"):
        _ = found.trajectory


def test_where_gradients_are_recorded_the_trajectory_is_kept() -> None:
    layer = small()
    weights = layer.weights(gradient=True)
    run(LSTM, layer["input"], layer["state"], weights, trajectory=False).output.sum().backward()
    assert weights.weight_ih.grad is not None
    with pytest.raises(ValueError, match="trajectory must be true where gradients are taken"):
        torch.ops.lsh.lstm_forward(
            *(layer["input"], layer["state"], weights.weight_ih, list(weights.weight_hh)),
            *(weights.pattern_ih, list(weights.pattern_hh), weights.bias_ih, weights.bias_hh),
            *(None, None, None, False, False),
        )


def test_sizes_near_the_end_of_int64() -> None:
    """An empty batch makes room for sizes that no memory holds."""
    huge = 2**62
    pattern = torch.zeros(12, dtype=torch.int32)
    for hidden, columns in ((huge, 1), (1, huge), (2**31, 1)):
        with pytest.raises(RuntimeError, match="must"):
            torch.ops.lsh.lstm_forward(
                torch.empty(3, 0, columns),
                torch.empty(2, 0, hidden),
                torch.empty(0, columns),
                [torch.empty(0, hidden)],
                pattern,
                [pattern],
                *[None] * 5,
                False,
                True,
            )


def test_errors_of_backward() -> None:
    layer = small()
    done = layer.run()
    for changed, message in (
        ({"grad_output": layer["grad_output"][:2]}, r"grad_output must have shape \(3, 2, 5\)"),
        ({"grad_output": layer["grad_output"].float()}, "grad_output must have the dtype of input"),
        ({"grad_final": layer["grad_final"][:1]}, r"grad_final must have shape \(2, 2, 5\)"),
        ({"states": done.trajectory.states[1:]}, "states must have shape"),
        ({"activations": done.trajectory.activations[1:]}, "activations must have shape"),
        ({"states": done.trajectory.states.float()}, "states must have the dtype"),
        ({"input": layer["input"][:, :1].contiguous()}, "grad_output must have shape"),
        ({"grad_output": layer["grad_output"].transpose(0, 1)}, "grad_output must"),
    ):
        with pytest.raises(RuntimeError, match=message):
            backward_op(layer, done, **changed)


def test_errors_of_tangent() -> None:
    layer = small()
    trajectory, weights = layer.run().trajectory, layer.weights()
    state, input = directions(layer, 3)
    push = torch.ops.lsh.lstm_tangent
    hh, pattern_hh = list(weights.weight_hh), list(weights.pattern_hh)
    activations, states = trajectory.activations, trajectory.states
    ih = weights.weight_ih, weights.pattern_ih
    for arguments, message in (
        ((state[:, 0], None, activations, states, None, hh, None, pattern_hh), "4 dimensions"),
        (
            (state[:, :1].contiguous(), None, activations, states, None, hh, None, pattern_hh),
            "2, 2, 5",
        ),
        ((state.float(), None, activations, states, None, hh, None, pattern_hh), "dtype"),
        (
            (state, None, activations[:2], states, None, hh, None, pattern_hh),
            "states must have shape",
        ),
        ((state, None, activations, states, None, [], None, []), "at least 1, got 0 and 0"),
        (
            (state, input, activations, states, None, hh, None, pattern_hh),
            "weight_ih and pattern_ih",
        ),
        (
            (state, input[:2], activations, states, ih[0], hh, ih[1], pattern_hh),
            "input_tangent must",
        ),
        (
            (state, input.float(), activations, states, ih[0], hh, ih[1], pattern_hh),
            "input_tangent",
        ),
        ((state[:1], None, activations, states, None, hh, None, pattern_hh), None),
        (
            (torch.cat([state] * 3), None, activations, states, None, hh, None, pattern_hh),
            "activations",
        ),
    ):
        if message is None:  # a batch of 1 has the same padding as one of 2: lanes of item 0
            _, final = push(*arguments, *[None] * 3, False)
            assert torch.equal(final, tangent(LSTM, state, trajectory, weights)[1][:1])
            continue
        with pytest.raises(RuntimeError, match=message):
            push(*arguments, *[None] * 3, False)


def test_indices_that_point_outside_are_refused_by_every_operator() -> None:
    """The content of patterns has its own tests; here, that no operator forgets to look."""
    layer = small()
    done, weights, (state, input) = layer.run(), layer.weights(), directions(layer, 3)
    for which in ("ih", "hh"):
        bad = layer.pattern(which)
        bad[8 + 20 + 1] = 2**30  # the first column
        outside = bad if which == "ih" else (bad,)
        spoilt = replace(weights, **{f"pattern_{which}": outside})
        message = f"pattern_{which} must have columns that ascend"
        with pytest.raises(RuntimeError, match=message):
            run(LSTM, layer["input"], layer["state"], spoilt)
        with pytest.raises(RuntimeError, match=message):
            backward_op(layer, done, **{f"pattern_{which}": bad if which == "ih" else [bad]})
        with pytest.raises(RuntimeError, match=message):
            tangent(LSTM, state, done.trajectory, spoilt, input_tangent=input)


@pytest.mark.parametrize("dual", ["input", "state", "weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_forward_mode_is_refused_and_not_silently_zero(dual: str) -> None:
    layer = small()
    weights = layer.weights()
    start = layer.weight("hh") if dual == "weight_hh" else None

    def outputs(value: Tensor) -> Tensor:
        operands = {"input": layer["input"], "state": layer["state"]}
        changed = weights
        if dual in operands:
            operands[dual] = value
        else:
            changed = replace(weights, **{dual: (value,) if dual == "weight_hh" else value})
        return run(LSTM, operands["input"], operands["state"], changed).output

    if start is None:
        start = layer[dual] if dual in ("input", "state") else getattr(weights, dual)
    with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        torch.func.jvp(outputs, (start,), (torch.ones_like(start),))


@pytest.mark.parametrize("name", ["hold", "state_scale"])
def test_what_gets_no_gradient_must_not_ask_for_one(name: str) -> None:
    layer = small()
    with pytest.raises(ValueError, match="hold and state_scale must not ask for a gradient"):
        run(
            LSTM,
            layer["input"],
            layer["state"],
            layer.weights(),
            **{name: layer[name].requires_grad_()},
        )


def test_the_trajectory_does_not_swallow_a_gradient() -> None:
    """It is no differentiable output; a loss on it must not quietly give no gradient."""
    layer = small()
    weights = layer.weights(gradient=True)
    trajectory = run(LSTM, layer["input"], layer["state"], weights).trajectory
    with pytest.raises((RuntimeError, NotImplementedError)):
        trajectory.states[..., : layer.B].sum().backward()


def test_a_tangent_does_not_swallow_a_gradient() -> None:
    """It is not differentiable; a loss on it must not quietly give no gradient."""
    layer = small()
    state, _ = directions(layer, 2)
    state.requires_grad_()
    _, final = tangent(LSTM, state, layer.run().trajectory, layer.weights())
    with pytest.raises((RuntimeError, NotImplementedError)):
        final.sum().backward()
