"""Exact selection against a plain stable sort."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.sparsity.selection import NaNError, highest, lowest, lowest_overall


def plain_lowest(scores, count, among):
    """The definition: a stable sort of the entries that may be chosen."""
    entries = [index for index, allowed in enumerate(among.reshape(-1).tolist()) if allowed]
    values = scores.reshape(-1).tolist()
    chosen = torch.zeros(scores.numel(), dtype=torch.bool)
    chosen[sorted(entries, key=lambda index: values[index])[:count]] = True
    return chosen.view(scores.shape)


@pytest.mark.parametrize(
    ("select", "count", "expected"),
    [
        (lowest, 0, [0, 0, 0, 0, 0]),
        (lowest, 1, [0, 0, 1, 0, 0]),
        (lowest, 2, [0, 1, 1, 0, 0]),  # of the three ones the first
        (lowest, 3, [0, 1, 1, 1, 0]),
        (lowest, 5, [1, 1, 1, 1, 1]),
        (highest, 1, [1, 0, 0, 0, 0]),
        (highest, 2, [1, 1, 0, 0, 0]),
        (highest, 3, [1, 1, 0, 1, 0]),
    ],
)
def test_known_choices(select, count, expected):
    chosen = select(torch.tensor([2.0, 1.0, -3.0, 1.0, 1.0]), count)
    assert chosen.tolist() == [bool(entry) for entry in expected]


def test_only_allowed_entries_are_chosen():
    scores = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    among = torch.tensor([[False, True], [False, True]])
    assert torch.equal(lowest(scores, 1, among), torch.tensor([[False, True], [False, False]]))
    assert torch.equal(highest(scores, 2, among), among)


def test_infinities_are_scores_and_zero_has_no_sign():
    scores = torch.tensor([math.inf, 0.0, -0.0, -math.inf])
    assert lowest(scores, 2).tolist() == [False, True, False, True]
    assert highest(scores, 2).tolist() == [True, True, False, False]


@given(data=st.data())
def test_equals_a_stable_sort(data):
    size = data.draw(st.integers(0, 40))
    # few values, so that there are ties; float16 has them all
    scores = torch.tensor(data.draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size)))
    among = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=torch.bool
    )
    count = data.draw(st.integers(0, int(among.sum())))
    dtype = data.draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
    scores = scores.to(dtype)
    assert torch.equal(lowest(scores, count, among), plain_lowest(scores, count, among))
    assert torch.equal(highest(scores, count, among), plain_lowest(-scores, count, among))


@given(sizes=st.lists(st.integers(0, 8), max_size=4), seed=st.integers(0, 99), data=st.data())
def test_overall_equals_one_long_tensor(sizes, seed, data):
    generator = torch.Generator().manual_seed(seed)
    scores = {
        str(k): torch.randint(0, 4, (2, n), generator=generator).float()
        for k, n in enumerate(sizes)
    }
    among = {name: values > 0 for name, values in scores.items()}
    count = data.draw(st.integers(0, sum(int(mask.sum()) for mask in among.values())))
    chosen = lowest_overall(scores, count, among)
    assert {name: mask.shape for name, mask in chosen.items()} == {
        name: values.shape for name, values in scores.items()
    }
    joined = [
        torch.cat([values.reshape(-1) for values in tensors.values()] or [torch.zeros(0)])
        for tensors in (scores, among, chosen)
    ]
    assert torch.equal(joined[2].bool(), plain_lowest(joined[0], count, joined[1]))


def test_large_selection_is_the_same_for_every_number_of_threads(device):
    scores = torch.randint(0, 5000, (300, 400), generator=torch.Generator().manual_seed(1)).float()
    before = torch.get_num_threads()
    chosen = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        chosen.append(lowest(scores.to(device), 50_000).cpu())
    torch.set_num_threads(before)
    assert torch.equal(chosen[0], chosen[1])
    assert torch.equal(chosen[0], plain_lowest(scores, 50_000, torch.ones_like(scores)))


def test_scores_are_not_written():
    scores = torch.tensor([2.0, 1.0, 3.0], requires_grad=True)
    before = scores.detach().clone()
    assert not lowest(scores, 1).requires_grad
    assert torch.equal(scores.detach(), before)


@pytest.mark.parametrize("count", [-1, 3])
def test_refuses_counts_out_of_range(count):
    with pytest.raises(ValueError, match=rf"count must be in \[0, 2\].*got {count}"):
        lowest(torch.zeros(3), count, torch.tensor([True, False, True]))


def test_refuses_nan_only_where_it_could_be_chosen():
    scores = torch.tensor([math.nan, 1.0, 2.0])
    with pytest.raises(NaNError, match="must be numbers, got 1 NaN"):
        lowest(scores, 1)
    assert lowest(scores, 1, torch.tensor([False, True, True])).tolist() == [False, True, False]


def test_refuses_another_shape():
    with pytest.raises(ValueError, match=r"one shape, got \(3,\) and \(2,\)"):
        lowest(torch.zeros(3), 1, torch.ones(2, dtype=torch.bool))
