"""From tangent maps to a spectrum: warm-ups, intervals, starts, layers, history and error bars."""

import math

import numpy as np
import pytest
import torch

from lsh_native.lyapunov import (
    Convention,
    JacobianSequence,
    NonFiniteTangentError,
    accumulate_spectrum,
    spectrum_of_jacobians,
)


def gaussian(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_warmup_is_not_counted():
    jacobians = torch.diag_embed(torch.tensor([[5.0]] * 3 + [[2.0]] * 7, dtype=torch.float64))
    spectrum = accumulate_spectrum([JacobianSequence(jacobians)], tangent_warmup=3)
    assert spectrum.steps == 7
    assert spectrum.exponents.tolist() == [pytest.approx(math.log(2))]


@pytest.mark.parametrize("every", [2, 3, 7])
def test_interval_does_not_change_the_answer(every):
    jacobians = gaussian(25, 2, 4, 4)
    fine = spectrum_of_jacobians(jacobians, tangent_warmup=5)
    coarse = spectrum_of_jacobians(jacobians, tangent_warmup=5, every=every)
    assert coarse.every == every
    np.testing.assert_allclose(coarse.exponents, fine.exponents, atol=1e-9)


def test_long_interval_falls_back_and_is_still_right():
    jacobians = torch.diag(torch.tensor([10.0, 1.0, 0.1], dtype=torch.float64))
    turn = torch.linalg.qr(gaussian(3, 3))[0]
    jacobians = (turn @ jacobians @ turn.T).expand(120, 3, 3)
    spectrum = spectrum_of_jacobians(jacobians, tangent_warmup=60, every=30)
    assert spectrum.fallbacks == 4
    np.testing.assert_allclose(spectrum.exponents, [math.log(10), 0, -math.log(10)], atol=1e-9)


def test_the_first_axes_are_not_the_default_for_leading_exponents():
    """The dynamics never leave the first axis, on which they contract."""
    jacobians = torch.diag(torch.tensor([0.5, 2.0], dtype=torch.float64)).expand(200, 2, 2)
    leading = spectrum_of_jacobians(jacobians, k=1, tangent_warmup=100)
    assert leading.largest == pytest.approx(math.log(2))
    axis = spectrum_of_jacobians(jacobians, k=1, initial="identity", tangent_warmup=100)
    assert axis.largest == pytest.approx(-math.log(2))


def test_seed_decides_the_random_start():
    jacobians = gaussian(5, 3, 6, 6)
    first, again, other = (
        spectrum_of_jacobians(jacobians, k=2, seed=seed).exponents for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_layers_stay_apart_and_in_order():
    below, above = gaussian(30, 2, 3, 3, seed=1), 0.1 * gaussian(30, 2, 5, 5, seed=2)
    stack = accumulate_spectrum(
        [JacobianSequence(below), JacobianSequence(above)], tangent_warmup=4
    )
    assert stack.layer_sizes == stack.state_sizes == (3, 5)
    for block, jacobians in zip(stack.layers, (below, above), strict=True):
        alone = spectrum_of_jacobians(jacobians, tangent_warmup=4)
        np.testing.assert_array_equal(block, alone.exponents)
    cut = accumulate_spectrum([JacobianSequence(below), JacobianSequence(above)], k=4)
    assert cut.layer_sizes == (3, 4)
    assert cut.state_sizes == (3, 5)


def test_convention_sets_base_and_order():
    maps = [JacobianSequence(gaussian(30, 2, 4, 4))]
    nats = accumulate_spectrum(maps, convention=Convention(sorted=False))
    bits = accumulate_spectrum(maps, convention=Convention(sorted=False, base="2"))
    np.testing.assert_allclose(bits.exponents * math.log(2), nats.exponents)
    np.testing.assert_allclose(bits.standard_errors * math.log(2), nats.standard_errors)
    ordered = accumulate_spectrum(maps)
    np.testing.assert_array_equal(ordered.exponents, np.sort(nats.exponents)[::-1])


def test_history_runs_towards_the_exponents():
    jacobians = gaussian(25, 2, 3, 3)
    spectrum = spectrum_of_jacobians(jacobians, tangent_warmup=3, every=5, history=True)
    assert spectrum.history_steps == (5, 10, 15, 20, 22)
    np.testing.assert_allclose(spectrum.history[-1], spectrum.exponents, atol=1e-14)
    shorter = spectrum_of_jacobians(jacobians[:13], tangent_warmup=3, every=5, sort=False)
    unsorted = spectrum_of_jacobians(jacobians, tangent_warmup=3, every=5, history=True, sort=False)
    np.testing.assert_allclose(unsorted.history[1], shorter.exponents, atol=1e-14)


def test_standard_error_across_sequences():
    spectrum = spectrum_of_jacobians(gaussian(20, 6, 3, 3))
    assert spectrum.error_samples == 6
    expected = spectrum.sequences.std(axis=0, ddof=1) / math.sqrt(6)
    np.testing.assert_allclose(spectrum.standard_errors, expected)
    np.testing.assert_allclose(spectrum.sequences.mean(axis=0), spectrum.exponents)


def test_one_short_sequence_has_no_standard_error():
    spectrum = spectrum_of_jacobians(gaussian(9, 3, 3))
    assert spectrum.standard_errors is None
    assert spectrum.error_samples == 0


def test_lost_directions_are_counted():
    jacobians = torch.diag(torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64)).expand(12, 2, 3, 3)
    spectrum = spectrum_of_jacobians(jacobians, history=True)
    assert spectrum.collapsed == 1
    assert spectrum.exponents.tolist() == [pytest.approx(math.log(2)), 0.0, -math.inf]
    assert spectrum.standard_errors.tolist() == [0.0, 0.0, 0.0]
    assert np.isneginf(spectrum.history[:, 2]).all()


def test_a_direction_lost_in_one_sequence_has_an_infinite_error():
    jacobians = torch.ones(12, 2, 1, 1)
    jacobians[:, 1] = 0.0
    spectrum = spectrum_of_jacobians(jacobians)
    assert spectrum.collapsed == 1
    assert spectrum.standard_errors.tolist() == [math.inf]
    assert spectrum.sequences.tolist() == [[0.0], [-math.inf]]


@pytest.mark.parametrize("k", [0, -1, 5])
def test_impossible_count_of_exponents(k):
    with pytest.raises(ValueError, match=rf"k must be in \[1, 4\], the size of the state, got {k}"):
        spectrum_of_jacobians(gaussian(5, 4, 4), k=k)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tangent_warmup": 5}, "steps must be left after the warm-up, got 5"),
        ({"tangent_warmup": -1}, "tangent_warmup must be at least 0"),
        ({"every": 0}, "every at least 1, got tangent_warmup 0 and every 0"),
        ({"initial": "zeros"}, "initial must be 'identity' or 'random', got 'zeros'"),
        ({"base": "10"}, "base must be one of"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        spectrum_of_jacobians(gaussian(5, 4, 4), **options)


def test_layers_must_agree():
    longer, shorter = JacobianSequence(gaussian(5, 2, 2)), JacobianSequence(gaussian(4, 2, 2))
    with pytest.raises(ValueError, match=r"agree in steps and batch, got .*\(4, 1\), \(5, 1\)"):
        accumulate_spectrum([longer, shorter], tangent_warmup=0)
    with pytest.raises(ValueError, match="layers must be at least one"):
        accumulate_spectrum([])


def test_divergence_is_named():
    jacobians = torch.full((3, 1, 1), 1e200, dtype=torch.float64)

    class Squared(JacobianSequence):
        def apply(self, time, tangent):
            return super().apply(time, super().apply(time, tangent))

    with pytest.raises(NonFiniteTangentError, match="after time step 0"):
        accumulate_spectrum([Squared(jacobians)], tangent_warmup=0)
