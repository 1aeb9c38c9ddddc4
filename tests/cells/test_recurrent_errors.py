"""What the operators of the recurrence refuse, in sentences."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from random_layer import RandomLayer, directions
from recurrent_cases import BENDS, backward_op, small
from torch import Tensor

from lsh_native.cells import (
    LSTM,
    run,
    tangent,
)
from lsh_native.sparsity.pattern import pack_pattern

# torch's forward mode, which the definition of a tangent is written with, scripts its own rules.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


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
