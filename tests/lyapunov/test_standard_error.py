"""Standard errors of exponents: the plain formula, infinities, blocks of time, and coverage."""

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma

from lsh_native.lyapunov.jacobian import JacobianSequence
from lsh_native.lyapunov.standard_error import batch_means, standard_errors
from lsh_native.lyapunov.tangent import TangentFlow, identity_tangent


def test_standard_error_of_three_samples():
    samples = np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    expected = math.sqrt(7.0) / math.sqrt(3)
    np.testing.assert_allclose(standard_errors(samples), [expected, 0.0])


def test_infinite_samples():
    samples = np.array([[-np.inf, -np.inf, 1.0], [-np.inf, 2.0, 3.0]])
    np.testing.assert_allclose(standard_errors(samples), [0.0, np.inf, 1.0])


@pytest.mark.parametrize("samples", [np.ones((1, 3)), np.ones(3)])
def test_too_few_samples(samples):
    with pytest.raises(ValueError, match=r"samples must have shape \(M, N\) with M >= 2"):
        standard_errors(samples)


def test_batch_means_weigh_by_steps():
    growth, lengths = np.arange(24.0).reshape(12, 2), np.array([3] * 11 + [1])
    means = batch_means(growth, lengths)
    assert means.shape == (12, 2)
    np.testing.assert_allclose(means[-1], growth[-1])
    np.testing.assert_allclose(means[0], growth[0] / 3)
    assert batch_means(np.ones((100, 2)), np.ones(100, dtype=np.int64)).shape == (20, 2)
    assert batch_means(growth[:9], lengths[:9]).shape == (0, 2)


def test_error_bars_cover_the_truth():
    """95 % intervals (Student's t, 19 degrees of freedom) of 200 runs with a known answer."""
    size, steps, runs = 3, 200, 200
    generator = torch.Generator().manual_seed(3)
    maps = JacobianSequence(
        torch.randn(steps, runs, size, size, generator=generator, dtype=torch.float64)
    )
    flow = TangentFlow(maps, identity_tangent(maps, size))
    growth = np.stack([flow.advance(range(time, time + 1)).numpy() for time in range(steps)])
    truth = (math.log(2) + digamma((size - np.arange(size)) / 2)) / 2
    inside = []
    for run in range(runs):
        means = batch_means(growth[:, run], np.ones(steps, dtype=np.int64))
        error = np.abs(growth[:, run].mean(axis=0) - truth)
        inside.append(error < 2.093 * standard_errors(means))
    assert 0.92 < np.mean(inside) < 0.98
