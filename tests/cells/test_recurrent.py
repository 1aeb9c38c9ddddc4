"""The native recurrence against its plain definition: values and gradients, and what is read."""

from dataclasses import replace

import pytest
import torch
from random_layer import RandomLayer, assert_near, defined_gradients, directions, gradients
from recurrent_cases import Tolerance, backward_op, bends, densities, dtypes, forms, named, sizes
from torch import Tensor

from lsh_native.cells import (
    LSTM,
    LayerWeights,
    run,
    tangent,
)
from lsh_native.sparsity.pattern import pack_pattern

# torch's forward mode, which the definition of a tangent is written with, scripts its own rules.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


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
