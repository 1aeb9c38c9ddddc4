"""Spectra of Jacobians and maps: what the calls count, and what they refuse."""

import math

import numpy as np
import pytest
import torch

from lsh_native.lyapunov import spectrum_of_jacobians, spectrum_of_map


def logistic(state):
    return 3.9 * state * (1 - state)


START = torch.tensor([0.3], dtype=torch.float64)


def test_warmups_come_before_the_steps():
    spectrum = spectrum_of_map(logistic, START, 50, state_warmup=7, tangent_warmup=5)
    assert (spectrum.steps, spectrum.state_warmup, spectrum.tangent_warmup) == (50, 7, 5)
    state, slopes = 0.3, []
    for _ in range(62):
        slopes.append(abs(3.9 * (1 - 2 * state)))
        state = 3.9 * state * (1 - state)
    assert spectrum.exponents[0] == pytest.approx(np.log(slopes[12:]).mean(), abs=1e-6)


def test_orbits_run_side_by_side():
    starts = torch.tensor([[0.3], [0.4], [0.9]], dtype=torch.float64)
    together = spectrum_of_map(logistic, starts, 20)
    alone = [spectrum_of_map(logistic, start, 20).exponents[0] for start in starts]
    np.testing.assert_allclose(together.sequences[:, 0], alone)
    assert together.standard_errors is not None


def test_map_and_its_jacobians_agree():
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_map = spectrum_of_map(lambda state: weight @ state, torch.ones(4).double(), 30, k=2, seed=3)
    by_matrix = spectrum_of_jacobians(weight.expand(30, 4, 4), k=2, seed=3)
    np.testing.assert_allclose(by_map.exponents, by_matrix.exponents, atol=1e-12)


def test_precision_is_that_of_the_state():
    assert spectrum_of_map(logistic, START.float(), 5).dtype == "float32"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1 .* got steps 0"),
        ({"state_warmup": -1}, "state_warmup -1"),
        ({"tangent_warmup": -2}, "tangent_warmup -2"),
        ({"k": 2}, r"k must be in \[1, 1\]"),
        ({"every": 0}, "every at least 1"),
    ],
)
def test_impossible_counts(options, message):
    with pytest.raises(ValueError, match=message):
        spectrum_of_map(logistic, START, **({"steps": 5} | options))


@pytest.mark.parametrize("state", [torch.tensor(0.3), torch.ones(2, 0), torch.ones(2).long()])
def test_impossible_states(state):
    with pytest.raises(ValueError, match=r"of shape \(n,\) or \(B, n\), got"):
        spectrum_of_map(logistic, state, 5)


def test_escape_says_when():
    with pytest.raises(ValueError, match="the orbit at step 2 must be finite, got -inf at seq"):
        spectrum_of_map(lambda x: -(x**4), torch.tensor([1e20, 1.0]).double(), 10)


def test_map_to_another_space_is_refused():
    with pytest.raises(
        ValueError, match=r"state of shape \(2,\) to one of the same shape, got \(4,"
    ):
        spectrum_of_map(lambda x: torch.cat([x, x]), torch.ones(2), 10)


def test_exponent_of_nothing_is_minus_infinity():
    spectrum = spectrum_of_map(lambda x: 0 * x, torch.ones(2), 5)
    assert spectrum.exponents.tolist() == [-math.inf, -math.inf]
