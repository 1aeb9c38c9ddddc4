"""Statistics of scores with answers known beforehand."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from lsh_native.search.agreement import (
    chance_regret,
    difference,
    interaction_noise,
    kendall,
    partial,
    regret,
    repeat_noise,
    spearman,
)

RANDOM = np.random.default_rng(0)


@settings(max_examples=30)
@given(st.integers(3, 60), st.integers(0, 1000))
def test_rank_correlations_against_scipy(n, seed):
    generator = np.random.default_rng(seed)
    score, outcome = generator.integers(0, 6, size=(2, n)).astype(float)
    if np.ptp(score) == 0 or np.ptp(outcome) == 0:
        assert spearman(score, outcome) is None
        return
    found = spearman(score, outcome)
    assert found.value == pytest.approx(spearmanr(score, outcome).statistic)
    assert kendall(score, outcome).value == pytest.approx(kendalltau(score, outcome).statistic)
    assert -1 - 1e-9 <= found.low <= found.high <= 1 + 1e-9


def test_intervals_cover_what_they_say():
    correlation, n = 0.6, 40
    inside = 0
    for _ in range(40):
        x, noise = RANDOM.standard_normal((2, n))
        y = correlation * x + np.sqrt(1 - correlation**2) * noise
        truth = 6 / np.pi * np.arcsin(correlation / 2)
        estimate = spearman(x, y)
        inside += estimate.low <= truth <= estimate.high
    assert inside >= 32


def test_too_few_say_nothing():
    assert spearman(np.arange(2.0), np.arange(2.0)) is None
    assert partial(np.arange(4.0), np.arange(4.0), RANDOM.random((4, 2))) is None


def test_a_confounder_is_taken_out():
    drop = RANDOM.standard_normal(200)
    score, outcome = drop + 0.1 * RANDOM.standard_normal((2, 200))
    assert spearman(score, outcome).value > 0.9
    assert abs(partial(score, outcome, drop[:, None])) < 0.3
    both = RANDOM.standard_normal(200)
    assert partial(score + both, outcome + both, drop[:, None]) > 0.9


def test_a_difference_of_scores_over_the_same_candidates():
    outcome = RANDOM.standard_normal(60)
    good, bad = outcome + 0.1 * RANDOM.standard_normal(60), RANDOM.standard_normal(60)
    assert difference(good, bad, outcome).low > 0
    assert difference(good, good, outcome).value == 0


def test_regret():
    outcome = np.array([5.0, 3.0, 4.0, 1.0])
    assert regret(np.array([1.0, 2, 3, 4]), outcome, 1) == 4
    assert regret(np.array([1.0, 2, 3, 4]), outcome, 3) == 2
    assert regret(outcome, outcome, 1) == 0


@pytest.mark.parametrize("top", [1, 2, 3, 4, 9])
def test_regret_by_chance_against_all_picks(top):
    outcome = np.array([5.0, 3.0, 4.0, 1.0])
    picks = list(combinations(outcome, min(top, 4)))
    expected = np.mean([min(pick) for pick in picks]) - 1
    assert chance_regret(outcome, top) == pytest.approx(expected)


def test_noise_relative_to_spread():
    spread = RANDOM.standard_normal(2000)
    first = RANDOM.standard_normal(2000)
    noise = 0.3 * RANDOM.standard_normal((2, 2000))
    assert repeat_noise(first + noise[0], first + noise[1], spread) == pytest.approx(0.3, rel=0.1)
    assert repeat_noise(first[:2], first[:2], np.ones(5)) is None
    rows, columns = RANDOM.standard_normal((500, 1)), RANDOM.standard_normal((1, 5))
    table = rows + columns + 0.2 * RANDOM.standard_normal((500, 5))
    assert interaction_noise(table) == pytest.approx(0.2, rel=0.15)
    assert interaction_noise(table[:1]) is None
