"""Spectra of the library's own layers, matrix-free, against closed forms of their cells."""

import numpy as np
import pytest
import torch
from lstm_oracle import joint_jacobians, log_determinants, trajectory

from lsh_native.lyapunov import (
    accumulate_spectrum,
    lyapunov_spectrum,
    qr_growth_definition,
    spectrum_of_jacobians,
)
from lsh_native.nn import SparseGRU, SparseLSTM, SparseRHN


def inputs_of(steps, batch=2, size=5, dtype=torch.float64):
    return torch.randn(steps, batch, size, generator=torch.Generator().manual_seed(1), dtype=dtype)


def without_recurrence(module):
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name in module.maskable and weight.shape[1] == module.hidden_size:
                weight.zero_()
    return module


@pytest.mark.parametrize("density", [0.6, 1.0])
@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@pytest.mark.parametrize("per_layer", [True, False])
def test_sum_is_the_mean_log_determinant(density, dtype, accuracy, per_layer):
    torch.manual_seed(0)
    module = SparseLSTM(5, 14, num_layers=2, density=density, dtype=dtype)
    inputs = inputs_of(40, dtype=dtype)
    spectrum = lyapunov_spectrum(
        module, inputs, state_warmup=10, tangent_warmup=0, initial="identity", per_layer=per_layer
    )
    assert spectrum.collapsed == 0
    expected, fed = np.zeros(2), inputs.double()
    for layer in module.double().lstm_layers():
        states = trajectory(layer, fed)
        terms = log_determinants(layer, fed[10:], states[10:])
        expected += terms.mean(dim=0).detach().numpy()
        fed = states[1:].chunk(2, dim=-1)[0]
    assert np.abs(spectrum.sequences.sum(axis=1) - expected).max() < accuracy * 56


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrix_free_agrees_with_dense_jacobians(dtype):
    torch.manual_seed(0)
    module = SparseLSTM(5, 12, density=0.3, dtype=torch.float64)
    inputs = inputs_of(60)
    jacobians = joint_jacobians(module.lstm_layers(), inputs).detach()
    exact = spectrum_of_jacobians(jacobians[20:], k=6, tangent_warmup=20, every=1)
    found = lyapunov_spectrum(module, inputs, k=6, dtype=dtype)
    np.testing.assert_allclose(
        found.exponents, exact.exponents, atol=1e-12 if dtype == torch.float64 else 1e-5
    )


def test_zero_recurrence_of_an_lstm():
    module = without_recurrence(SparseLSTM(5, 6, dtype=torch.float64))
    inputs = inputs_of(30)
    spectrum = lyapunov_spectrum(
        module, inputs, state_warmup=5, tangent_warmup=5, initial="identity", sort=False
    )
    w_ih, _, b_ih, b_hh = module.lstm_layers()[0]
    forget = (inputs @ w_ih.T + b_ih + b_hh)[10:, :, 6:12].sigmoid().log().mean(dim=0).detach()
    assert spectrum.collapsed == 6
    np.testing.assert_allclose(spectrum.sequences[:, 6:], forget, rtol=0, atol=1e-12)


def test_zero_recurrence_of_a_gru():
    module = without_recurrence(SparseGRU(5, 6, dtype=torch.float64))
    inputs = inputs_of(30)
    spectrum = lyapunov_spectrum(
        module, inputs, state_warmup=5, tangent_warmup=5, initial="identity", sort=False
    )
    drive = inputs @ module.weight_ih_l0.T + module.bias_ih_l0 + module.bias_hh_l0
    kept = drive[10:, :, 6:12].sigmoid().log().mean(dim=0).detach()
    assert spectrum.collapsed == 0
    np.testing.assert_allclose(spectrum.sequences, kept, rtol=0, atol=1e-12)


def test_zero_recurrence_of_a_highway():
    """Only the first micro-step sees the input; the others carry by their bias alone."""
    module = SparseRHN(5, 6, depth=3, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.startswith("weight_hh"):
                weight.zero_()
    inputs = inputs_of(30)
    spectrum = lyapunov_spectrum(
        module, inputs, state_warmup=5, tangent_warmup=5, initial="identity", sort=False
    )
    (maps,) = module.tangent_maps(inputs, state_warmup=10)
    transform = maps._trajectory.activations[:, 1, :, :2].reshape(20, 3, 6, 2)
    carried = (1 - transform).log().sum(dim=1).mean(dim=0).T
    np.testing.assert_allclose(spectrum.sequences, carried, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("k", "every"), [(None, "auto"), (40, 1), (40, 10)])
def test_breakdown_on_a_sparse_network(k, every):
    """So few connections that many directions vanish: a Cholesky factor must not be believed."""
    torch.manual_seed(0)
    module = SparseLSTM(5, 40, density=0.02)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(6)
    inputs = inputs_of(60, dtype=torch.float32)
    found = lyapunov_spectrum(module, inputs, k=k, every=every, initial="random")
    reflected = accumulate_spectrum(
        module.tangent_maps(inputs, state_warmup=20),
        k=k,
        every=1,
        initial="random",
        orthonormalizer=qr_growth_definition,
    )
    assert found.collapsed == reflected.collapsed
    assert (found.collapsed > 0) == (k is None)
    if every == 10:
        assert found.breakdowns > 0
    # Exponents beyond these contract to where float32 no longer sees them.
    np.testing.assert_allclose(found.exponents[:40], reflected.exponents[:40], atol=1e-3)


def test_permuting_the_units_changes_nothing():
    torch.manual_seed(0)
    module = SparseLSTM(5, 9, density=0.5, dtype=torch.float64)
    order = torch.randperm(9)
    rows = torch.cat([order + 9 * gate for gate in range(4)])
    other = SparseLSTM(5, 9, dtype=torch.float64)
    with torch.no_grad():
        other.weight_ih_l0.copy_(module.masked_weight("weight_ih_l0")[rows])
        other.weight_hh_l0.copy_(module.masked_weight("weight_hh_l0")[rows][:, order])
        other.bias_ih_l0.copy_(module.bias_ih_l0[rows])
        other.bias_hh_l0.copy_(module.bias_hh_l0[rows])
    inputs = inputs_of(400)
    a, b = (lyapunov_spectrum(each, inputs, tangent_warmup=100) for each in (module, other))
    np.testing.assert_allclose(a.sequences.sum(axis=1), b.sequences.sum(axis=1), atol=1e-9)
    np.testing.assert_allclose(a.exponents, b.exponents, atol=0.02)
