"""Scores of small pools, known beforehand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lsh_native.search.score import SCORES, loss, lyapunov, rank_mean
from lsh_native.search.space import Space
from lsh_native.search.trial import EpochRecord, Measurement


def measured(losses, distances):
    return [
        Measurement(
            number=number,
            candidate=candidate,
            distance=distance,
            epochs=tuple(
                EpochRecord(
                    epoch=epoch,
                    train_loss=9.0,
                    valid_loss=value + 2 - epoch,
                    density=0.3,
                    tokens=1,
                    seconds=0.0,
                )
                for epoch in (1, 2)
            ),
        )
        for number, (candidate, value, distance) in enumerate(
            zip(Space(), losses, distances, strict=False)
        )
    ]


def test_known_scores():
    pool = measured([5.0, 4.0, 6.0], [2.0, 3.0, 1.0])
    assert_array_equal(loss(pool), [5, 4, 6])
    assert_array_equal(lyapunov(pool), [2, 3, 1])
    assert_array_equal(SCORES["rank_mean"](pool), [2, 2, 2])
    assert_array_equal(rank_mean(loss)(pool), [2, 1, 3])


def test_ties_share_their_rank():
    assert_array_equal(rank_mean(loss)(measured([5.0, 4.0, 5.0, 7.0], [0] * 4)), [2.5, 1, 2.5, 4])


def test_nan_takes_no_rank():
    pool = measured([5.0, np.nan, 4.0, 3.0], [1.0, 0.0, 2.0, np.inf])
    assert_array_equal(SCORES["rank_mean"](pool), [1.5, np.nan, 1.5, np.nan])
    assert_array_equal(SCORES["rank_mean"](measured([np.nan], [1.0])), [np.nan])


def test_no_candidates_no_scores():
    for score in SCORES.values():
        assert score([]).shape == (0,)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 100)), min_size=1, max_size=30))
def test_rank_mean_against_its_definition(pairs):
    def rank(value, values):
        return sum(v < value for v in values) + (1 + sum(v == value for v in values)) / 2

    losses, distances = zip(*((round(x, 6), y) for x, y in pairs), strict=True)
    pool = measured(losses, distances)
    expected = [
        (rank(x, loss(pool)) + rank(y, distances)) / 2
        for x, y in zip(loss(pool), distances, strict=True)
    ]
    assert SCORES["rank_mean"](pool) == pytest.approx(expected)


def test_rank_mean_needs_a_score():
    with pytest.raises(ValueError, match="at least one score"):
        rank_mean()
