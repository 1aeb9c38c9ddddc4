"""From tangent maps to a spectrum: warm-ups, intervals, starts, layers, history and error bars."""

import math

import numpy as np
import pytest
import torch

from lsh_native.lyapunov import (
    Convention,
    JacobianSequence,
    NonFiniteTangentError,
    TooLittleMemoryError,
    accumulate_spectrum,
    memory,
    spectrum_of_jacobians,
)
from lsh_native.lyapunov.interval import next_interval
from lsh_native.lyapunov.memory import tangent_bytes


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
        ({"every": 0}, "every at least 1 or 'auto', got tangent_warmup 0 and every 0"),
        ({"every": "often"}, "every at least 1 or 'auto', got .* every 'often'"),
        ({"until": 0.0}, "until must be a standard error > 0, got 0.0"),
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


@pytest.mark.parametrize(
    ("steps", "condition", "expected"),
    [
        (1, 1.0, 2),
        (4, 1.0, 8),
        (30, 1.0, 32),
        (1, math.e**0.5, 2),
        (4, math.e, 6),  # a quarter a step, and 0.8 · 2 to spend
        (4, math.e**4, 1),
        (4, math.inf, 1),
    ],
)
def test_next_interval(steps, condition, expected):
    assert next_interval(steps, condition, math.e**2) == expected


@pytest.mark.parametrize("k", [None, 4])
def test_interval_of_its_own_choice(k):
    """Slowly spreading vectors are orthonormalised seldom, and the answer stays what it was."""
    jacobians = torch.eye(12, dtype=torch.float64) + 0.02 * gaussian(300, 2, 12, 12)
    often = spectrum_of_jacobians(jacobians, k=k, tangent_warmup=40, every=1)
    chosen = spectrum_of_jacobians(jacobians, k=k, tangent_warmup=40)
    assert (chosen.every, often.intervals) == ("auto", (1.0,))
    assert chosen.intervals[0] > 4
    assert chosen.fallbacks == chosen.breakdowns == 0
    np.testing.assert_allclose(chosen.exponents, often.exponents, atol=1e-12)


def test_vectors_that_spread_fast_are_orthonormalised_at_every_step():
    jacobians = gaussian(60, 12, 12).float() * torch.logspace(0, -3, 12)
    assert spectrum_of_jacobians(jacobians).intervals == (1.0,)


def test_breakdowns_are_counted():
    """A Cholesky factor is tried for few vectors, in vain where they are nearly parallel."""
    jacobians = torch.diag_embed(torch.logspace(0, -10, 8, dtype=torch.float64)).expand(20, 2, 8, 8)
    spectrum = spectrum_of_jacobians(jacobians, k=4, initial="random", every=4)
    assert spectrum.breakdowns > 0
    assert np.isfinite(spectrum.exponents).all()


@pytest.mark.parametrize("batch", [1, 5])
def test_until_the_error_is_small_enough(batch):
    jacobians = gaussian(600, batch, 3, 3)
    full = spectrum_of_jacobians(jacobians, every=1)
    goal = 1.5 * float(full.standard_errors.max())
    stopped = spectrum_of_jacobians(jacobians, every=1, until=goal)
    assert 120 <= stopped.steps < full.steps
    assert stopped.standard_errors.max() <= goal
    assert stopped.until == goal
    shorter = spectrum_of_jacobians(jacobians[: stopped.steps], every=1)
    np.testing.assert_array_equal(stopped.exponents, shorter.exponents)
    bits = spectrum_of_jacobians(jacobians, every=1, until=goal / math.log(2), base="2")
    assert bits.steps == stopped.steps
    never = spectrum_of_jacobians(jacobians, every=1, until=1e-9)
    assert never.steps == full.steps


@pytest.mark.parametrize("every", [3, "auto"])
def test_progress_is_told(every):
    seen = []
    spectrum_of_jacobians(
        gaussian(50, 3, 3),
        tangent_warmup=10,
        every=every,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1] == (50, 50)
    assert (10, 50) in seen


def test_finite_time_exponents_are_growth_between():
    jacobians = gaussian(24, 2, 3, 3)
    spectrum = spectrum_of_jacobians(jacobians, every=4, history=True, sort=False)
    assert spectrum.finite_time.shape == (6, 3)
    np.testing.assert_allclose(spectrum.finite_time.mean(axis=0), spectrum.exponents)
    first = spectrum_of_jacobians(jacobians[:4], every=4, sort=False)
    np.testing.assert_allclose(spectrum.finite_time[0], first.exponents)
    with pytest.raises(ValueError, match="must come from a history"):
        _ = spectrum_of_jacobians(jacobians).finite_time


def test_too_little_memory_is_said_beforehand(monkeypatch):
    maps = JacobianSequence(torch.ones(5, 2, 64, 64, dtype=torch.float64))
    assert tangent_bytes(maps, 64) > 5 * 2 * 64 * 64 * 8
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**10)
    with pytest.raises(TooLittleMemoryError, match=r"free memory, got 64 vectors for each of 2"):
        accumulate_spectrum([maps], tangent_warmup=0)
    monkeypatch.setattr(memory, "available_bytes", lambda device: None)
    assert accumulate_spectrum([maps], tangent_warmup=0, k=1).exponents[0] > 0
