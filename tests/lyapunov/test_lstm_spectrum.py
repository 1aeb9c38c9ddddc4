"""Spectra of LSTM stacks against the dense Jacobians of the plain definition."""

import numpy as np
import pytest
import torch
from lstm_oracle import (
    joint_jacobians,
    layer_jacobians,
    log_determinants,
    log_growth,
    random_layers,
    stack_jacobians,
    trajectory,
)

from lsh_native.lyapunov import JacobianSequence, accumulate_spectrum, spectrum_of_jacobians


def gaussian(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def layers_of(sizes, gain=1.0, seed=0):
    return random_layers(torch.Generator().manual_seed(seed), sizes, gain=gain)


def driven_layer(hidden=12, steps=40, batch=2, gain=1.0, seed=0):
    """One layer, its inputs and its states after 10 steps from zero."""
    (layer,) = layers_of((5, hidden), gain, seed)
    inputs = gaussian(steps + 10, batch, 5, seed=seed + 1)
    return layer, inputs[10:], trajectory(layer, inputs)[10:]


def test_one_sequence_against_single_reflections():
    layer, inputs, states = driven_layer(hidden=6, batch=1, gain=3.0)
    jacobians = layer_jacobians(layer, inputs, states)
    start = torch.eye(12, dtype=torch.float64)
    expected = log_growth(jacobians[:, 0], start).mean(dim=0)
    spectrum = spectrum_of_jacobians(jacobians, sort=False)
    np.testing.assert_allclose(spectrum.exponents, expected, atol=1e-8)


@pytest.mark.parametrize(
    ("dtype", "gain", "accuracy"),
    [(torch.float64, 1.0, 1e-9), (torch.float64, 2.0, 1e-9), (torch.float32, 1.0, 1e-3)],
)
def test_sum_is_the_mean_log_determinant(dtype, gain, accuracy):
    layer, inputs, states = driven_layer(gain=gain)
    jacobians = layer_jacobians(layer, inputs, states)
    determinants = log_determinants(layer, inputs, states)
    torch.testing.assert_close(torch.linalg.slogdet(jacobians)[1], determinants)
    for initial in ("identity", "random"):
        spectrum = spectrum_of_jacobians(jacobians.to(dtype), initial=initial)
        assert spectrum.collapsed == 0
        error = spectrum.sequences.sum(axis=1) - determinants.mean(dim=0).numpy()
        assert np.abs(error).max() < accuracy * 24


@pytest.mark.parametrize("initial", ["identity", "random"])
def test_zero_recurrence_keeps_the_forget_gates(initial):
    """Without recurrence c'/c is the forget gate, and h is forgotten at once."""
    (layer,) = layers_of((5, 8))
    layer = (layer[0], torch.zeros_like(layer[1]), layer[2], layer[3])
    inputs = gaussian(30, 3, 5)
    before = inputs @ layer[0].T + layer[2] + layer[3]
    forget = before[..., 8:16].sigmoid().log()
    (jacobians,) = stack_jacobians([layer], inputs)
    spectrum = spectrum_of_jacobians(jacobians, initial=initial, sort=False)
    assert spectrum.collapsed == 8
    if initial == "identity":
        assert np.isneginf(spectrum.sequences[:, :8]).all()
        np.testing.assert_allclose(
            spectrum.sequences[:, 8:], forget.mean(dim=0), rtol=0, atol=1e-12
        )
    else:
        assert np.isneginf(spectrum.sequences[:, 8:]).all()
        volume = forget.mean(dim=0).sum(dim=1)
        np.testing.assert_allclose(spectrum.sequences[:, :8].sum(axis=1), volume, atol=0.5)


@pytest.mark.parametrize("gain", [1.0, 3.0])
@pytest.mark.parametrize("initial", ["identity", "random"])
def test_empty_rows_of_the_output_gate_collapse(initial, gain):
    layer, inputs, _ = driven_layer(gain=gain)
    weight = layer[1].clone()
    weight[36 + 2] = weight[36 + 7] = 0.0
    layer = (layer[0], weight, layer[2], layer[3])
    jacobians = layer_jacobians(layer, inputs, trajectory(layer, inputs))[10:]
    assert spectrum_of_jacobians(jacobians, initial=initial).collapsed == 2


def test_saturated_gates_do_not_collapse():
    """Large weights contract some directions, for some steps, below what float64 resolves."""
    layer, inputs, states = driven_layer(hidden=24, gain=6.0)
    spectrum = spectrum_of_jacobians(layer_jacobians(layer, inputs, states))
    assert spectrum.collapsed == 0
    assert spectrum.exponents.min() < -15


def test_layers_alone_against_the_joint_stack():
    layers = layers_of((4, 6, 5), gain=2.0)
    inputs = gaussian(40, 2, 4)
    per_layer = accumulate_spectrum(
        [JacobianSequence(jacobians) for jacobians in stack_jacobians(layers, inputs)],
        tangent_warmup=10,
    )
    joint = spectrum_of_jacobians(joint_jacobians(layers, inputs), tangent_warmup=10)
    assert per_layer.layer_sizes == (12, 10)
    np.testing.assert_allclose(
        joint.sequences.sum(axis=1), per_layer.sequences.sum(axis=1), rtol=0, atol=1e-9
    )
    # Exponent by exponent they are the same when the axes of the last layer come first.
    order = [*range(12, 22), *range(12)]
    ordered = joint_jacobians(layers, inputs)[:, :, order][:, :, :, order]
    blocks = spectrum_of_jacobians(ordered, tangent_warmup=10, sort=False).exponents
    np.testing.assert_allclose(np.sort(blocks[:10])[::-1], per_layer.layers[1], atol=1e-9)
    np.testing.assert_allclose(np.sort(blocks[10:])[::-1], per_layer.layers[0], atol=1e-9)


def test_permuting_the_units_changes_nothing():
    layer, inputs, states = driven_layer(hidden=6, steps=400, gain=3.0)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(2))
    rows = torch.cat([order + 6 * gate for gate in range(4)])
    permuted = (layer[0][rows], layer[1][rows][:, order], layer[2][rows], layer[3][rows])
    state_order = torch.cat([order, order + 6])
    states_after = trajectory(permuted, inputs, states[0][:, state_order])
    torch.testing.assert_close(states_after, states[:, :, state_order])
    original = layer_jacobians(layer, inputs, states)
    turned = layer_jacobians(permuted, inputs, states_after)
    a = spectrum_of_jacobians(original, tangent_warmup=100)
    b = spectrum_of_jacobians(turned, tangent_warmup=100)
    np.testing.assert_allclose(a.sequences.sum(axis=1), b.sequences.sum(axis=1), atol=1e-9)
    np.testing.assert_allclose(a.exponents, b.exponents, atol=0.02)


def test_adjoint_in_reverse_order_agrees():
    """A wrong order of factors shows here: transposes belong in reverse order of time."""
    layer, inputs, states = driven_layer(hidden=6, steps=300, batch=8, gain=2.0)
    jacobians = layer_jacobians(layer, inputs, states)
    forward = spectrum_of_jacobians(jacobians, tangent_warmup=40)
    adjoint = spectrum_of_jacobians(jacobians.flip(0).mT, tangent_warmup=40)
    error = np.hypot(forward.standard_errors, adjoint.standard_errors)
    assert (np.abs(forward.exponents - adjoint.exponents) < 4 * error).all()
