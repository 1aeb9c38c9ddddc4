"""Sources of known entropy: closed forms, samples that agree with the oracle, named errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.data import Vocabulary, WordSource


def source(probability, successor):
    probability = np.array(probability, dtype=np.float64)
    tokens = tuple("abcdefgh"[: probability.shape[1]])
    return WordSource(
        vocabulary=Vocabulary(tokens=tokens),
        probability=probability,
        successor=np.array(successor, dtype=np.int64),
    )


def golden_mean(p):
    """After an ``a`` comes ``b`` for certain; otherwise ``a`` comes with probability p."""
    return source([[p, 1 - p], [0, 1]], [[1, 0], [1, 0]])


def test_independent_tokens():
    assert source([[0.25] * 4], [[0] * 4]).entropy_rate == pytest.approx(math.log(4), rel=1e-15)


def test_certain_tokens():
    assert source([[1, 0], [0, 1]], [[1, 0], [0, 0]]).entropy_rate == 0


@given(st.floats(1e-3, 1 - 1e-3))
def test_golden_mean_closed_form(p):
    binary = -p * math.log(p) - (1 - p) * math.log1p(-p)
    process = golden_mean(p)
    assert process.entropy_rate == pytest.approx(binary / (1 + p), rel=1e-12)
    assert process.stationary == pytest.approx([1 / (1 + p), p / (1 + p)], rel=1e-12)


def test_transient_states_do_not_count():
    process = source([[1, 0], [0.5, 0.5]], [[1, 0], [1, 1]])
    assert process.stationary == pytest.approx([0, 1], abs=1e-15)
    assert process.entropy_rate == pytest.approx(math.log(2))


def test_log_probabilities_known_answer():
    tokens = torch.tensor([1, 0, 1, 0])
    expected = torch.tensor([0.75, 0.25, 1.0, 0.25], dtype=torch.float64).log()
    torch.testing.assert_close(golden_mean(0.25).log_probabilities(tokens), expected)


def test_sample_is_possible_and_its_beginning_is_a_shorter_sample():
    process = golden_mean(0.6)
    tokens = process.sample(1000, np.random.default_rng(1))
    assert tokens.dtype == torch.int64
    assert bool(process.log_probabilities(tokens).isfinite().all())
    assert torch.equal(process.sample(10, np.random.default_rng(1)), tokens[:10])


def test_impossible_text():
    with pytest.raises(ValueError, match="got 'a' at position 2, which cannot stand there"):
        golden_mean(0.5).log_probabilities(torch.tensor([1, 0, 0]))
    with pytest.raises(ValueError, match=r"ids must be integers in \[0, 2\), got 7"):
        golden_mean(0.5).log_probabilities(torch.tensor([7]))


@pytest.mark.parametrize(
    ("probability", "successor", "message"),
    [
        ([[0.5, 0.5]], [[0]], r"shape \(S, V\) with V = 2, got \(1, 2\) and \(1, 1\)"),
        ([[0.5, 0.4]], [[0, 0]], "sum to 1"),
        ([[1.5, -0.5]], [[0, 0]], "non-negative"),
        ([[math.nan, 0.5]], [[0, 0]], "got a least value nan"),
        ([[0.5, 0.5]], [[0, 1]], r"successor must be in \[0, 1\), got 0 to 1"),
    ],
)
def test_bad_source(probability, successor, message):
    with pytest.raises(ValueError, match=message):
        source(probability, successor)


def test_two_recurrent_classes():
    stuck = source([[0.5, 0.5], [1, 0], [1, 0]], [[1, 2], [1, 1], [2, 2]])
    with pytest.raises(ValueError, match="one recurrent class"):
        _ = stuck.entropy_rate
