"""Gradients of the spectrum beside finite differences, through the definition of a cell."""

import pytest
import torch
from torch.autograd import gradcheck

from lsh_native.cells import LSTM, run_definition
from lsh_native.lyapunov import differentiable_exponents, lyapunov_spectrum, qr_growth
from lsh_native.nn import SparseLSTM

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


def layer_step(layer, weight_hh):
    """One step of a layer from the definition of its cell, its state laid out as h, c."""
    w_ih, _, b_ih, b_hh = layer.lstm_layers()[0]

    def step(state, given):
        before = state.unflatten(1, (2, -1)).transpose(0, 1)
        _, after = run_definition(LSTM, given[None], before, w_ih, [weight_hh], b_ih, b_hh[None])
        return after.transpose(0, 1).flatten(1)

    return step


@pytest.fixture
def layer():
    torch.manual_seed(0)
    made = SparseLSTM(3, 4, density=0.8, dtype=torch.float64).requires_grad_(False)
    return made


def start(batch, count):
    return qr_growth(torch.randn(batch, 8, count, dtype=torch.float64)).basis


def test_values_are_those_of_the_spectrum(layer):
    inputs = torch.randn(12, 2, 3, dtype=torch.float64)
    axes = torch.eye(8, dtype=torch.float64).repeat(2, 1, 1)
    found = differentiable_exponents(
        layer_step(layer, layer.masked_weight("weight_hh_l0")),
        inputs,
        torch.zeros(2, 8, dtype=torch.float64),
        axes,
        tangent_warmup=3,
    )
    spectrum = lyapunov_spectrum(
        layer, inputs, state_warmup=0, tangent_warmup=3, initial="identity", sort=False
    )
    torch.testing.assert_close(found, torch.from_numpy(spectrum.sequences.copy()))


def test_gradient_in_the_weights(layer):
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    state, tangent = torch.randn(2, 8, dtype=torch.float64), start(2, 3)

    def exponents(weight):
        return differentiable_exponents(
            layer_step(layer, weight), inputs, state, tangent, tangent_warmup=1
        )

    weight = layer.masked_weight("weight_hh_l0").clone().requires_grad_()
    assert gradcheck(exponents, (weight,), eps=1e-6, atol=1e-6, rtol=1e-4)


def test_steps_must_be_left(layer):
    with pytest.raises(ValueError, match=r"tangent_warmup must be in \[0, 1\] for 2 steps, got 2"):
        differentiable_exponents(
            layer_step(layer, layer.masked_weight("weight_hh_l0")),
            torch.zeros(2, 1, 3),
            torch.zeros(1, 8),
            torch.eye(8).unsqueeze(0),
            tangent_warmup=2,
        )
