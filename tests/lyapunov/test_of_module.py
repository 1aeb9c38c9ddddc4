"""Spectra of modules: warm-ups, precision, fingerprints, and what a module must offer."""

import math

import numpy as np
import pytest
import torch
from lstm_oracle import layer_jacobians, random_layers, trajectory
from torch import nn

from lsh_native.lyapunov import (
    JacobianSequence,
    lsh2022_spectrum,
    lyapunov_spectrum,
    paired_difference,
    spectrum_of_jacobians,
)
from lsh_native.models import StackedLSTM
from lsh_native.nn import SparseLSTM


class PlainStack(nn.Module):
    """A stack of LSTM layers with dense Jacobians, over vectors or over tokens."""

    def __init__(self, seed=0, vocabulary=None):
        super().__init__()
        layers = random_layers(torch.Generator().manual_seed(seed), (3, 4, 5), dtype=torch.float32)
        self.weights = nn.ParameterList([w for layer in layers for w in layer])
        self.embedding = None if vocabulary is None else nn.Embedding(vocabulary, 3)

    def lstm_layers(self):
        weights = list(self.weights)
        return [tuple(weights[start : start + 4]) for start in range(0, len(weights), 4)]

    def layer_inputs(self, inputs):
        return inputs if self.embedding is None else self.embedding(inputs)

    def tangent_maps(self, inputs, state=None, state_warmup=0):
        inputs = self.layer_inputs(inputs)
        maps = []
        for index, layer in enumerate(self.lstm_layers()):
            states = trajectory(layer, inputs, None if state is None else state[index])
            jacobians = layer_jacobians(layer, inputs, states)
            maps.append(JacobianSequence(jacobians[state_warmup:]))
            inputs = states[1:].chunk(2, dim=-1)[0]
        return maps


def inputs_of(steps=60, batch=2, seed=1):
    return torch.randn(steps, batch, 3, generator=torch.Generator().manual_seed(seed))


def test_warmups_come_one_after_the_other():
    module, inputs = PlainStack(), inputs_of()
    spectrum = lyapunov_spectrum(module, inputs)
    assert (spectrum.state_warmup, spectrum.tangent_warmup, spectrum.steps) == (20, 20, 20)
    assert spectrum.layer_sizes == (8, 10)
    assert spectrum.dtype == "float32"
    maps = module.tangent_maps(inputs)[1]
    jacobians = torch.stack([maps.apply(t, torch.eye(10).expand(2, -1, -1)) for t in range(60)])
    expected = spectrum_of_jacobians(jacobians[20:].detach(), tangent_warmup=20)
    np.testing.assert_array_equal(spectrum.layers[1], expected.exponents)


def test_options_reach_the_computation():
    options = {"k": 3, "every": 2, "seed": 5, "base": "2", "sort": False, "history": True}
    spectrum = lyapunov_spectrum(
        PlainStack(), inputs_of(), state_warmup=10, tangent_warmup=9, **options
    )
    assert spectrum.layer_sizes == (3, 3)
    assert spectrum.state_sizes == (8, 10)
    assert (spectrum.steps, spectrum.every, spectrum.seed) == (41, 2, 5)
    assert (spectrum.convention.base, spectrum.convention.sorted) == ("2", False)
    assert spectrum.history.shape == (21, 6)


def test_state_is_handed_on():
    state = [torch.full((2, 8), 0.5), torch.full((2, 10), -0.5)]
    options = {"state_warmup": 0, "tangent_warmup": 0}
    zero = lyapunov_spectrum(PlainStack(), inputs_of(5), **options)
    given = lyapunov_spectrum(PlainStack(), inputs_of(5), state=state, **options)
    assert not np.allclose(zero.exponents, given.exponents)


def test_precision_is_that_of_a_copy():
    module, inputs = PlainStack(), inputs_of()
    spectrum = lyapunov_spectrum(module, inputs, dtype=torch.float64)
    assert spectrum.dtype == "float64"
    assert next(module.parameters()).dtype == torch.float32
    np.testing.assert_allclose(
        spectrum.exponents, lyapunov_spectrum(module, inputs).exponents, atol=1e-3
    )
    state = (torch.zeros(2, 8), torch.zeros(2, 10))
    same = lyapunov_spectrum(module, inputs, state=state, dtype=torch.float64)
    np.testing.assert_array_equal(same.exponents, spectrum.exponents)


def test_tokens_are_fingerprinted():
    tokens = torch.randint(7, (60, 3), generator=torch.Generator().manual_seed(2))
    dense, pruned = PlainStack(0, vocabulary=7), PlainStack(1, vocabulary=7)
    a, b = (lyapunov_spectrum(module, tokens) for module in (dense, pruned))
    assert a.inputs_digest == b.inputs_digest
    assert (paired_difference(a, b).standard_errors > 0).all()
    assert lyapunov_spectrum(dense, tokens.flip(0)).inputs_digest != a.inputs_digest
    assert lyapunov_spectrum(dense, tokens.int()).inputs_digest != a.inputs_digest


def test_published_convention_of_a_module():
    module, inputs = PlainStack(), inputs_of()
    spectrum = lyapunov_spectrum(module, inputs, reference="lsh2022")
    expected = lsh2022_spectrum(module.lstm_layers(), inputs)
    np.testing.assert_array_equal(spectrum.sequences, expected.sequences)
    assert spectrum.convention.reference == "lsh2022"
    assert spectrum.inputs_digest is not None
    precise = lyapunov_spectrum(module, inputs, reference="lsh2022", dtype=torch.float64)
    assert precise.dtype == "float64"


def test_module_without_tangent_is_told_how():
    with pytest.raises(TypeError, match=r"module must have a method tangent_maps.*got LSTM"):
        lyapunov_spectrum(nn.LSTM(3, 4), inputs_of())
    with pytest.raises(TypeError, match=r"module must have the methods lstm_layers.*got LSTM"):
        lyapunov_spectrum(nn.LSTM(3, 4), inputs_of(), reference="lsh2022")


def test_module_that_answers_with_other_steps_is_refused():
    class Wrong(PlainStack):
        def tangent_maps(self, inputs, state=None, state_warmup=0):
            return super().tangent_maps(inputs, state)

    with pytest.raises(ValueError, match=r"Wrong must cover 40 steps, got \[60, 60\]"):
        lyapunov_spectrum(Wrong(), inputs_of())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_warmup": 60}, r"state_warmup must be in \[0, 59\] for 60 time steps, got 60"),
        ({"state_warmup": -1}, "state_warmup must be in"),
        ({"tangent_warmup": 40}, "steps must be left after the warm-up"),
        ({"k": 11}, r"k must be in \[1, 10\]"),
        ({"reference": "lsh2023"}, "reference must be 'lsh2022' or absent, got 'lsh2023'"),
        ({"reference": "lsh2022", "k": 2}, "must start at zero with all exponents"),
        ({"base": "10"}, "base must be one of"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        lyapunov_spectrum(PlainStack(), inputs_of(), **options)


@pytest.mark.parametrize("shape", [(5,), (0, 2, 3), (1, 2, 3, 4)])
def test_impossible_shapes(shape):
    with pytest.raises(ValueError, match=r"inputs must have shape \(T, B\) or \(T, B, I\)"):
        lyapunov_spectrum(PlainStack(), torch.zeros(shape))


def test_numbers_that_are_not_finite_are_found():
    inputs = inputs_of()
    inputs[7, 1, 2] = math.nan
    with pytest.raises(
        ValueError, match="inputs must be finite, got nan at time step 7, sequence 1"
    ):
        lyapunov_spectrum(PlainStack(), inputs)
    module = PlainStack()
    with torch.no_grad():
        module.weights[5][3, 1] = math.inf
    with pytest.raises(
        ValueError, match=r"weights\.5 must be finite, got inf at axis 0: 3, axis 1: 1"
    ):
        lyapunov_spectrum(module, inputs_of())


def test_precision_of_something_that_is_no_module():
    class Bare:
        def tangent_maps(self, inputs, state=None, state_warmup=0):
            return [JacobianSequence(torch.eye(2).expand(40, 2, 2))]

    assert lyapunov_spectrum(Bare(), inputs_of()).exponents.tolist() == [0.0, 0.0]
    with pytest.raises(TypeError, match=r"module must be a torch\.nn.Module to be computed in"):
        lyapunov_spectrum(Bare(), inputs_of(), dtype=torch.float64)


X = torch.ones(60, 2, 3)
IDS = torch.zeros(60, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ([1.0, 2.0], {}, TypeError, "inputs must be a tensor, got list"),
        (X[0, 0], {}, ValueError, "inputs must have shape"),
        (X.to("meta"), {}, ValueError, "inputs must be on cpu like the module, got meta"),
        (X.to_sparse(), {}, ValueError, "inputs must be a dense tensor, got torch.sparse_coo"),
        (X.double(), {}, ValueError, "input must be torch.float32 on cpu like the weights"),
        (X.half(), {}, ValueError, "input must be torch.float32 on cpu like the weights"),
        (X, {"dtype": torch.float16}, ValueError, "dtype must be torch.float32 or torch.float64"),
        (X, {"state": (torch.zeros(1, 2, 4).double(),) * 2}, ValueError, "must be torch.float32"),
    ],
    ids=["list", "shape", "device", "layout", "float64", "float16", "dtype", "state"],
)
def test_inputs_that_do_not_fit_are_named(inputs, options, error, message):
    with pytest.raises(error, match=message):
        lyapunov_spectrum(SparseLSTM(3, 4), inputs, **options)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS + 7, r"token ids must be in \[0, 7\), got 7 to 7"),
        (IDS - 1, r"token ids must be in \[0, 7\), got -1 to -1"),
        (IDS.float(), "token ids must be int64 or int32, got torch.float32"),
        (IDS.to("meta"), "inputs must be on cpu like the module, got meta"),
    ],
)
@pytest.mark.parametrize("reference", [None, "lsh2022"])
def test_token_ids_that_do_not_fit_are_named(ids, message, reference):
    model = StackedLSTM(embedding_size=3, hidden_size=4).build(7, torch.float32)
    with pytest.raises(ValueError, match=message):
        lyapunov_spectrum(model, ids, reference=reference)
