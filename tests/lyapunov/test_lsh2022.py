"""The published convention against a plain joint version, and against published spectra."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from lstm_oracle import random_layers

from lsh_native.lyapunov import (
    Convention,
    IncomparableSpectraError,
    Spectrum,
    distance,
    lsh2022_distance,
    lsh2022_spectrum,
)
from lsh_native.lyapunov.lsh2022 import LSH2022, TransposedHiddenMap

SIZES = (4, 7, 5)


def layers_of(sizes=SIZES, dtype=torch.float64):
    return random_layers(torch.Generator().manual_seed(0), sizes, gain=2.0, dtype=dtype)


def even_layers(dtype):
    """Layers whose directions contract alike: ten steps without QR leave them distinguishable."""
    layers = []
    for weight_ih, weight_hh, *biases in layers_of():
        turn = torch.linalg.qr(weight_hh[: weight_hh.shape[1]])[0]
        layers.append(tuple(w.to(dtype) for w in (0.3 * weight_ih, turn.repeat(4, 1), *biases)))
    return layers


def inputs_of(steps=35, batch=3, width=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(steps, batch, width, generator=generator, dtype=torch.float64).to(dtype)


def hidden_step(layers, inputs, hidden, cells):
    """All hidden states (ΣH) one after another, and the cell states, after one step of a stack."""
    hiddens, new_cells = [], []
    sizes = [layer[1].shape[1] for layer in layers]
    for layer, h, c in zip(layers, hidden.split(sizes), cells.split(sizes), strict=True):
        before = layer[0] @ inputs + layer[2] + layer[1] @ h + layer[3]
        i, f, g, o = before.chunk(4)
        cell = f.sigmoid() * c + i.sigmoid() * g.tanh()
        inputs = o.sigmoid() * cell.tanh()
        hiddens.append(inputs)
        new_cells.append(cell)
    return torch.cat(hiddens), torch.cat(new_cells)


def joint_exponents(layers, inputs, warmup=10):
    """The published program, plainly: the whole Jacobian by automatic differentiation, joint QR."""
    jacobian_of = torch.func.jacrev(
        lambda hidden, given, cells: hidden_step(layers, given, hidden, cells)[0]
    )
    size = sum(layer[1].shape[1] for layer in layers)
    exponents = []
    for sequence in inputs.unbind(dim=1):
        hidden = cells = torch.zeros(size, dtype=inputs.dtype)
        tangent = torch.eye(size, dtype=inputs.dtype)
        total = torch.zeros(size, dtype=torch.float64)
        for time, given in enumerate(torch.cat([sequence[:warmup], sequence])):
            jacobian = jacobian_of(hidden, given, cells)
            hidden, cells = hidden_step(layers, given, hidden, cells)
            tangent = jacobian.T @ tangent
            if time >= warmup - 1:
                tangent, triangle = torch.linalg.qr(tangent)
                tangent = tangent * triangle.diagonal().sign()
            if time >= warmup:
                total += triangle.diagonal().abs().log2().double()
        exponents.append(total / len(sequence))
    return torch.stack(exponents)


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_layer_by_layer_is_the_joint_computation(dtype, accuracy):
    layers, inputs = even_layers(dtype), inputs_of(dtype=dtype)
    spectrum = lsh2022_spectrum(layers, inputs)
    expected = joint_exponents(layers, inputs)
    np.testing.assert_allclose(spectrum.sequences, expected, rtol=0, atol=accuracy)
    assert f"torch.{spectrum.dtype}" == str(dtype)


def test_without_warmup_it_is_so_for_any_weights():
    layers, inputs = layers_of(), inputs_of()
    spectrum = lsh2022_spectrum(layers, inputs, warmup=1)
    expected = joint_exponents(layers, inputs, warmup=1)
    np.testing.assert_allclose(spectrum.sequences, expected, rtol=0, atol=1e-9)


def test_record_says_what_was_done():
    spectrum = lsh2022_spectrum(layers_of(), inputs_of(steps=50))
    assert spectrum.convention == LSH2022
    assert spectrum.layer_sizes == spectrum.state_sizes == SIZES[1:]
    assert (spectrum.steps, spectrum.tangent_warmup) == (35, 10)
    assert spectrum.error_samples == 3
    first = lsh2022_spectrum(layers_of(), inputs_of(steps=50)[:35])
    np.testing.assert_array_equal(spectrum.exponents, first.exponents)


def test_jacobian_is_that_of_the_hidden_state_alone():
    (layer,) = layers_of(sizes=(4, 6))
    inputs = inputs_of(steps=5, batch=1)
    maps = TransposedHiddenMap(layer, inputs)
    hidden = cells = torch.zeros(6, dtype=torch.float64)
    for time, given in enumerate(inputs[:, 0]):
        expected = torch.func.jacrev(lambda h: hidden_step([layer], given, h, cells)[0])(hidden)  # noqa: B023
        found = maps.apply(time, torch.eye(6, dtype=torch.float64).unsqueeze(0))
        torch.testing.assert_close(found[0], expected.T, rtol=0, atol=1e-14)
        hidden, cells = hidden_step([layer], given, hidden, cells)
        torch.testing.assert_close(maps.outputs[time, 0], hidden)


def test_biases_may_be_absent():
    layers, inputs = layers_of(), inputs_of()
    zeroed = [(w, u, torch.zeros_like(b), torch.zeros_like(d)) for w, u, b, d in layers]
    without = [(w, u, None, None) for w, u, _, _ in layers]
    np.testing.assert_allclose(
        lsh2022_spectrum(without, inputs).exponents, lsh2022_spectrum(zeroed, inputs).exponents
    )


def test_zero_recurrence_erases_everything():
    layers = [(w, torch.zeros_like(u), b, d) for w, u, b, d in layers_of()]
    spectrum = lsh2022_spectrum(layers, inputs_of())
    assert spectrum.collapsed == 12
    assert lsh2022_distance(spectrum, spectrum) == 0.0


def test_other_steps_and_no_warmup():
    """The settings of the published character models: no warm-up."""
    layers, inputs = layers_of(), inputs_of()
    spectrum = lsh2022_spectrum(layers, inputs, steps=20, warmup=0)
    tangent = torch.eye(7, dtype=torch.float64).expand(3, -1, -1)
    maps = TransposedHiddenMap(layers[0], inputs)
    total = 0.0
    for time in range(20):
        tangent, triangle = torch.linalg.qr(maps.apply(time, tangent))
        total = total + triangle.diagonal(dim1=1, dim2=2).abs().log2()
    np.testing.assert_allclose(spectrum.sequences[:, :7], total / 20, atol=1e-12)


def bits(exponents, **options):
    exponents = np.atleast_2d(np.asarray(exponents, dtype=np.float64))
    layers = options.pop("layers", (exponents.shape[1],))
    return Spectrum(
        sequences=exponents, layer_sizes=layers, state_sizes=layers, convention=LSH2022, steps=35
    )


def test_published_distance_takes_minus_infinity_for_zero():
    a, b = bits([-1.0, -math.inf, -3.0]), bits([-1.0, -2.0, -math.inf])
    assert lsh2022_distance(a, b) == pytest.approx(math.sqrt(4 + 9))
    with pytest.raises(IncomparableSpectraError, match="pass floor"):
        distance(a, b)
    c, d = bits([-1.0, 2.0]), bits([2.0, -2.0])
    assert lsh2022_distance(c, d) == distance(c, d) == 5.0


def test_published_distance_is_for_published_spectra():
    spectrum = bits([1.0, 2.0])
    with pytest.raises(IncomparableSpectraError, match="both spectra must follow"):
        lsh2022_distance(spectrum, replace(spectrum, convention=Convention()))
    with pytest.raises(IncomparableSpectraError, match=r"the same layers, got \(2,\) and \(1, 1\)"):
        lsh2022_distance(spectrum, bits([1.0, 2.0], layers=(1, 1)))


@pytest.mark.parametrize(
    ("layers", "inputs", "options", "message"),
    [
        (layers_of(), inputs_of(steps=34), {}, "at least 35 time steps, got 34"),
        (layers_of(), inputs_of()[0], {}, r"of shape \(T, B, I\), got"),
        (layers_of(), torch.ones(35, 2, 4).long(), {}, "inputs must be embedded tokens"),
        ([], inputs_of(), {}, "layers must be at least one, got none"),
        (layers_of(), inputs_of(width=3), {}, r"weight_ih of layer 0 must be \(28, 3\)"),
        (layers_of(), inputs_of(dtype=torch.float32), {}, "torch.float32 on cpu like the inputs"),
        (layers_of(), inputs_of(), {"warmup": -1}, "warmup must be in"),
        (layers_of(), inputs_of(), {"steps": 5}, "got warmup 10 and steps 5"),
        (layers_of(), inputs_of() * math.nan, {}, "inputs must be finite, got nan at time step 0"),
    ],
)
def test_impossible_arguments(layers, inputs, options, message):
    with pytest.raises(ValueError, match=message):
        lsh2022_spectrum(layers, inputs, **options)


def test_weights_that_are_not_finite_are_refused():
    layers = layers_of()
    layers[1][1][3, 2] = math.inf
    with pytest.raises(
        ValueError, match="weight_hh of layer 1 must be finite, got inf at row 3, c"
    ):
        lsh2022_spectrum(layers, inputs_of())


@pytest.fixture(scope="session")
def published(shared_data):
    path = shared_data / "lyapunov-published" / "dense_lstm_ptb.npz"
    if not path.is_file():
        pytest.skip("the published spectra are absent")
    with np.load(path) as found:
        return {
            int(epoch): bits(exponents, layers=(1500, 1500))
            for epoch, exponents in zip(found["epoch"], found["spectra_log2"], strict=True)
        }


def test_published_spectra_are_layer_blocks(published):
    for spectrum in published.values():
        assert int(np.argmax(np.diff(spectrum.exponents))) == 1499
        for block in spectrum.layers:
            assert np.corrcoef(block, np.arange(1500))[0, 1] < -0.8  # nearly descending


@pytest.mark.parametrize(
    ("epoch", "first", "means"),
    [
        (0, -2.79, (-3.517, -3.518)),
        (1, -1.75, (-5.667, -7.178)),
        (10, None, (-9.106, -5.244)),
        (49, -3.80, (-9.458, -4.301)),
    ],
)
def test_published_means(published, epoch, first, means):
    spectrum = published[epoch]
    assert spectrum.exponents.max() < 0
    assert [block.mean() for block in spectrum.layers] == pytest.approx(means, abs=5e-4)
    if first is not None:
        assert spectrum.exponents[0] == pytest.approx(first, abs=5e-3)


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [(1, 2, 31), (2, 3, 21), (5, 6, 19), (10, 11, 6), (3, 49, 138)],
)
def test_published_distances(published, earlier, later, expected):
    found = lsh2022_distance(published[earlier], published[later])
    assert found == pytest.approx(expected, abs=0.6)
    assert distance(published[earlier], published[later]) == found
