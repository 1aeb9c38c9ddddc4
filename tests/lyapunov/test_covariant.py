"""Covariant vectors: eigenvectors, what the dynamics carry along, and the spectrum again."""

import math

import numpy as np
import pytest
import torch

from lsh_native.lyapunov import JacobianSequence, covariant_vectors, spectrum_of_jacobians


def gaussian(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_constant_matrix_has_its_eigenvectors():
    modes = gaussian(4, 4, seed=3)
    modes = modes / torch.linalg.vector_norm(modes, dim=0)
    values = torch.tensor([2.0, 1.2, 0.7, 0.3], dtype=torch.float64)
    jacobian = modes @ torch.diag(values) @ torch.linalg.inv(modes)
    found = covariant_vectors(JacobianSequence(jacobian.expand(250, 4, 4)))
    assert found.vectors.shape == (51, 1, 4, 4)
    overlap = (found.vectors[:, 0] * modes).sum(dim=1).abs()
    torch.testing.assert_close(overlap, torch.ones(51, 4, dtype=torch.float64))
    np.testing.assert_allclose(found.exponents[0], values.log(), atol=1e-9)
    between = math.acos(abs(float(modes[:, 0] @ modes[:, 1])))
    np.testing.assert_allclose(found.angles(0, 1), between)


@pytest.mark.parametrize("k", [6, 3])
def test_the_dynamics_carry_them_along(k):
    jacobians = gaussian(200, 2, 6, 6)
    found = covariant_vectors(
        JacobianSequence(jacobians), k=k, forward_warmup=60, backward_warmup=60
    )
    for time in range(80):
        moved = jacobians[found.begin + time] @ found.vectors[time]
        length = torch.linalg.vector_norm(moved, dim=1)
        np.testing.assert_allclose(length.log(), found.growth[time], atol=1e-9)
        along = (moved * found.vectors[time + 1]).sum(dim=1).abs() / length
        torch.testing.assert_close(along, torch.ones_like(along), rtol=0, atol=1e-9)


def test_their_growth_is_the_spectrum():
    jacobians = gaussian(1200, 4, 5, 5)
    found = covariant_vectors(JacobianSequence(jacobians))
    spectrum = spectrum_of_jacobians(jacobians[:1100], tangent_warmup=100)
    difference = np.abs(found.exponents.mean(axis=0) - spectrum.exponents)
    assert (difference < 10 / 1000).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"k must be in \[1, 3\]"),
        ({"forward_warmup": 60, "backward_warmup": 40}, "left between the warm-ups, got 100 steps"),
        ({"backward_warmup": -1}, "left between the warm-ups"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        covariant_vectors(JacobianSequence(gaussian(100, 3, 3)), **options)


def test_a_lost_vector_is_named():
    jacobians = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64)).expand(30, 2, 2)
    with pytest.raises(ValueError, match="vector 1 of sequence 0 lost at time step"):
        covariant_vectors(JacobianSequence(jacobians), forward_warmup=5, backward_warmup=5)
