"""Spectra with known answers: products of matrices, random matrices, maps and fixed points."""

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma, polygamma

from lsh_native.lyapunov import spectrum_of_jacobians, spectrum_of_map


def gaussian(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def orthogonal(*shape, seed=0):
    return torch.linalg.qr(gaussian(*shape, seed=seed))[0]


@pytest.mark.parametrize(("dtype", "roundoff"), [(torch.float64, 1e-14), (torch.float32, 1e-5)])
def test_orthogonal_matrices_have_none(dtype, roundoff):
    spectrum = spectrum_of_jacobians(orthogonal(50, 2, 20, 20).to(dtype))
    assert np.abs(spectrum.exponents).max() < roundoff


def test_diagonal_matrices_are_exact():
    entries = gaussian(40, 7)
    spectrum = spectrum_of_jacobians(torch.diag_embed(entries), sort=False)
    expected = entries.abs().log().mean(dim=0)
    np.testing.assert_allclose(spectrum.exponents, expected, rtol=0, atol=1e-15)


def test_triangular_matrices_are_exact():
    jacobians = gaussian(40, 7, 7).triu()
    spectrum = spectrum_of_jacobians(jacobians, sort=False)
    expected = jacobians.diagonal(dim1=1, dim2=2).abs().log().mean(dim=0)
    np.testing.assert_allclose(spectrum.exponents, expected, rtol=0, atol=1e-13)


def test_constant_matrix_has_its_eigenvalues():
    modes = gaussian(6, 6, seed=3)
    eigenvalues = torch.tensor([1.5, -1.1, 0.8, 0.4, -0.2, 0.05], dtype=torch.float64)
    jacobian = modes @ torch.diag(eigenvalues) @ torch.linalg.inv(modes)
    spectrum = spectrum_of_jacobians(jacobian.expand(300, 6, 6), tangent_warmup=200)
    np.testing.assert_allclose(spectrum.exponents, eigenvalues.abs().log(), atol=1e-9)


@pytest.mark.parametrize("k", [1, 3])
def test_leading_exponents_are_those_of_the_full_spectrum(k):
    jacobians = gaussian(50, 5, 5, seed=4)
    full = spectrum_of_jacobians(jacobians, sort=False)
    leading = spectrum_of_jacobians(jacobians, k=k, initial="identity", sort=False)
    assert leading.layer_sizes == (k,)
    np.testing.assert_allclose(leading.exponents, full.exponents[:k], atol=1e-12)


@pytest.mark.parametrize("k", [16, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gaussian_matrices(k, dtype):
    """R_jj of a Gaussian matrix is chi with n - j + 1 degrees of freedom, whatever Q is.

    So the estimate has a known mean and standard error at every T: no tolerance is left to choose.
    Source: C. M. Newman, Communications in Mathematical Physics 103 (1986) 121-126.
    """
    size, steps = 64, 2000
    spectrum = spectrum_of_jacobians(
        gaussian(steps, size, size, seed=k).to(dtype), k=k, initial="random", sort=False
    )
    half_freedom = (size - np.arange(k)) / 2
    mean = (math.log(2) + digamma(half_freedom)) / 2
    z = (spectrum.exponents - mean) / np.sqrt(polygamma(1, half_freedom) / (4 * steps))
    assert 0.8 < np.sqrt((z**2).mean()) < (1.4 if k == 16 else 1.2)
    assert np.abs(z).max() < 4.5


def test_scaling_shifts_and_similarity_keeps():
    jacobians = gaussian(300, 4, 4, seed=6)
    spectrum = spectrum_of_jacobians(jacobians)
    scaled = spectrum_of_jacobians(3 * jacobians)
    np.testing.assert_allclose(scaled.exponents, spectrum.exponents + math.log(3), atol=1e-12)
    turn = orthogonal(4, 4, seed=7)
    turned = spectrum_of_jacobians(turn @ jacobians @ turn.T)
    np.testing.assert_allclose(turned.exponents, spectrum.exponents, atol=10 / 300)


def test_inverse_in_reverse_has_the_negative_spectrum():
    jacobians = gaussian(3000, 3, 3, seed=8) + 2 * torch.eye(3)
    forward = spectrum_of_jacobians(jacobians, tangent_warmup=50)
    backward = spectrum_of_jacobians(torch.linalg.inv(jacobians).flip(0), tangent_warmup=50)
    tolerance = 4 * np.hypot(forward.standard_errors, backward.standard_errors[::-1])
    assert (np.abs(forward.exponents + backward.exponents[::-1]) < tolerance).all()


def test_cat_map():
    cat = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    spectrum = spectrum_of_map(
        lambda state: (cat @ state) % 1.0,
        torch.tensor([0.1, 0.2], dtype=torch.float64),
        steps=100,
        tangent_warmup=30,
    )
    golden = math.log((3 + math.sqrt(5)) / 2)
    np.testing.assert_allclose(spectrum.exponents, [golden, -golden], rtol=1e-9)
    assert spectrum.kaplan_yorke_dimension == pytest.approx(2.0)
    assert spectrum.metric_entropy == pytest.approx(golden)


def henon(state):
    x, y = state
    return torch.stack([1 - 1.4 * x**2 + y, 0.3 * x])


def test_henon_map():
    generator = torch.Generator().manual_seed(0)
    starts = 0.1 * torch.rand(100, 2, generator=generator, dtype=torch.float64)
    spectrum = spectrum_of_map(henon, starts, steps=200, state_warmup=100, tangent_warmup=20)
    assert 0.41 < spectrum.largest < 0.43
    assert spectrum.exponents.sum() == pytest.approx(math.log(0.3), abs=1e-12)
    assert (np.abs(spectrum.exponents - [0.41922, -1.62319]) < 4 * spectrum.standard_errors).all()
    assert spectrum.kaplan_yorke_dimension == pytest.approx(1.258, abs=0.01)


def towel(state):
    x, y, z = state
    return torch.stack(
        [
            3.8 * x * (1 - x) - 0.05 * (y + 0.35) * (1 - 2 * z),
            0.1 * ((y + 0.35) * (1 - 2 * z) - 1) * (1 - 1.9 * x),
            3.78 * z * (1 - z) + 0.2 * y,
        ]
    )


def test_folded_towel_map():
    generator = torch.Generator().manual_seed(0)
    starts = torch.tensor([0.085, -0.121, 0.075], dtype=torch.float64)
    starts = starts + 1e-3 * torch.rand(200, 3, generator=generator, dtype=torch.float64)
    spectrum = spectrum_of_map(towel, starts, steps=200, state_warmup=100, tangent_warmup=100)
    first, second, third = spectrum.exponents
    assert 0.42 < first < 0.445
    assert 0.36 < second < 0.395
    assert -3.4 < third < -3.2


def lorenz(state):
    """One Runge-Kutta step of 0.01 of the Lorenz flow."""

    def flow(state):
        x, y, z = state
        return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    first = flow(state)
    second = flow(state + 0.005 * first)
    third = flow(state + 0.005 * second)
    fourth = flow(state + 0.01 * third)
    return state + 0.01 / 6 * (first + 2 * second + 2 * third + fourth)


def test_lorenz_flow():
    generator = torch.Generator().manual_seed(0)
    starts = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    spectrum = spectrum_of_map(lorenz, starts, steps=300, state_warmup=3000, tangent_warmup=300)
    per_time, error = spectrum.exponents / 0.01, spectrum.standard_errors / 0.01
    assert (np.abs(per_time - [0.9056, 0.0, -14.5723]) < 4 * error).all()
    assert (error < 0.05).all()
    assert per_time.sum() == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-3)


def symmetric(eigenvalues, seed):
    turn = orthogonal(len(eigenvalues), len(eigenvalues), seed=seed)
    return turn @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ turn.T


def test_stable_fixed_point_of_a_network():
    weight, drive = symmetric([0.9, 0.6, -0.4, 0.25, 0.1], seed=11), 0.5 * gaussian(5, seed=12)

    def step(state):
        return (weight @ state + drive).tanh()

    state = torch.zeros(5, dtype=torch.float64)
    for _ in range(300):
        state = step(state)
    eigenvalues = torch.linalg.eigvals(torch.func.jacrev(step)(state)).abs()
    spectrum = spectrum_of_map(step, state, steps=50, tangent_warmup=150)
    expected = eigenvalues.log().sort(descending=True).values
    np.testing.assert_allclose(spectrum.exponents, expected, atol=1e-6)


def test_stable_orbit_of_period_two():
    """A negative feedback strong enough to alternate in sign."""
    weight = symmetric([-1.8, -0.9, 0.5, 0.2], seed=13)

    def step(state):
        return (weight @ state).tanh()

    state = torch.full((4,), 0.5, dtype=torch.float64)
    for _ in range(500):
        state = step(state)
    other = step(state)
    assert not torch.allclose(state, other)
    torch.testing.assert_close(step(other), state)
    jacobian = torch.func.jacrev(step)
    eigenvalues = torch.linalg.eigvals(jacobian(other) @ jacobian(state)).abs()
    spectrum = spectrum_of_map(step, state, steps=50, tangent_warmup=200)
    expected = 0.5 * eigenvalues.log().sort(descending=True).values
    np.testing.assert_allclose(spectrum.exponents, expected, atol=1e-6)
