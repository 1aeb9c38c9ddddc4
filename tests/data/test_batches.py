"""Columns and windows: known layouts, and every token predicted exactly once."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.data import IGNORED, columns, evaluation_columns, windows

sizes = st.integers(1, 12)


def test_columns_known_layout():
    laid_out = columns(torch.arange(11), 3)
    assert laid_out.T.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert laid_out.is_contiguous()


def test_evaluation_columns_known_layout():
    assert evaluation_columns(torch.arange(9), 3).T.tolist() == [
        [0, 1, 2, 3],
        [3, 4, 5, 6],
        [6, 7, 8, IGNORED],
    ]


def test_windows_known_layout():
    first, last = windows(columns(torch.arange(12), 2), 3)
    assert first.input.T.tolist() == [[0, 1, 2], [6, 7, 8]]
    assert first.target.T.tolist() == [[1, 2, 3], [7, 8, 9]]
    assert last.input.T.tolist() == [[3, 4], [9, 10]]
    assert last.target.T.tolist() == [[4, 5], [10, 11]]


@given(st.integers(2, 200), sizes, sizes)
def test_evaluation_predicts_every_token_but_the_first_once(N, B, length):
    laid_out = evaluation_columns(torch.arange(N), B)
    assert laid_out.shape == (-(-(N - 1) // B) + 1, B)
    predicted = Counter()
    for window in windows(laid_out, min(length, len(laid_out) - 1)):
        assert window.input.shape == window.target.shape
        assert bool((window.input != IGNORED).all())
        counted = window.target != IGNORED
        assert torch.equal(window.target[counted], window.input[counted] + 1)
        predicted.update(window.target[counted].tolist())
    assert predicted == Counter(range(1, N))


@given(st.integers(2, 200), sizes, sizes)
def test_windows_cover_columns_in_order(N, B, length):
    B = min(B, N // 2)
    laid_out = columns(torch.arange(N), B)
    T = N // B
    length = min(length, T - 1)
    cut = windows(laid_out, length)
    assert len(cut) == -(-(T - 1) // length)
    assert all(len(window.input) == length for window in cut[:-1])
    assert torch.equal(torch.cat([window.input for window in cut]), laid_out[:-1])
    assert torch.equal(torch.cat([window.target for window in cut]), laid_out[1:])
    assert torch.equal(laid_out.T.flatten(), torch.arange(B * T))


def test_ignored_targets_do_not_count_in_cross_entropy():
    logits = torch.randn(3, 2, 5)
    target = torch.tensor([[0, 1], [2, 3], [4, IGNORED]])
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), target.flatten(), reduction="sum"
    )
    by_hand = -sum(
        logits[t, b].log_softmax(-1)[target[t, b]]
        for t in range(3)
        for b in range(2)
        if target[t, b] >= 0
    )
    torch.testing.assert_close(loss, by_hand)


@pytest.mark.parametrize("layout", [columns, evaluation_columns])
def test_bad_columns(layout):
    with pytest.raises(TypeError, match=r"tokens must be int64, got torch\.float32"):
        layout(torch.zeros(10), 2)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        layout(torch.arange(10), 0)
    with pytest.raises(ValueError, match=r"1-D with at least .* got shape \(2, 5\)"):
        layout(torch.arange(10).view(2, 5), 1)
    with pytest.raises(ValueError, match=r"at least 2 tokens for 1 columns, got shape \(1,\)"):
        layout(torch.arange(1), 1)


def test_columns_need_two_rows():
    with pytest.raises(ValueError, match=r"at least 20 tokens for 10 columns, got shape \(19,\)"):
        columns(torch.arange(19), 10)


def test_bad_windows():
    with pytest.raises(ValueError, match=r"at least length \+ 1 = 36 rows .* got 35: use a longer"):
        windows(columns(torch.arange(35), 1), 35)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        windows(columns(torch.arange(35), 1), 0)
    with pytest.raises(ValueError, match=r"shape \(T, B\), got \(35,\)"):
        windows(torch.arange(35), 5)
    with pytest.raises(TypeError, match=r"columns must be int64, got torch\.int32"):
        windows(torch.zeros(9, 2, dtype=torch.int32), 5)
