"""Exact selection against a plain stable sort."""

import collections
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsh_native.sparsity.selection import (
    NaNError,
    drop_lowest,
    grow_highest,
    grow_random,
    highest,
    lowest,
    random_keys,
    toggle_definition_,
)


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


# Integers that tie, numbers of every size and sign, and numbers that differ in the last bits only.
SCORES = {
    "ties": lambda n, g: torch.randint(-3, 4, (n,), generator=g).double(),
    "spread": lambda n, g: torch.randn(n, generator=g).double() * 10 ** (60 * torch.rand(n) - 30),
    "close": lambda n, g: 1 + torch.rand(n, generator=g).double() * 1e-5,
    "same": lambda n, g: torch.full((n,), -0.25, dtype=torch.float64),
    "infinite": lambda n, g: torch.randint(-1, 2, (n,), generator=g).double() / 0,
}


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("large", [False, True])
@given(seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=4)
def test_the_operator_equals_its_definition(kind, dtype, large, seed, data):
    generator = torch.Generator().manual_seed(seed)
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 7, 513, 4096]), min_size=1, max_size=3))
    sizes = [size + 70_001 for size in sizes[:1]] + sizes if large else sizes
    scores = [SCORES[kind](size, generator).nan_to_num(0.5).to(dtype) for size in sizes]
    share = data.draw(st.sampled_from([0.0, 0.02, 0.4, 1.0]))
    masks = [torch.rand(size, generator=generator) < share for size in sizes]
    live, most, magnitude = (data.draw(st.booleans()) for _ in range(3))
    there = sum(int((mask == live).sum()) for mask in masks)
    count = data.draw(st.sampled_from([0, there]) | st.integers(0, there + 1))
    arguments = (seed * 2**40, count, live, most, magnitude)
    found, expected = ([mask.clone() for mask in masks] for _ in range(2))
    facts = torch.ops.lsh.toggle_(found, scores, *arguments)
    assert torch.equal(facts, toggle_definition_(expected, scores, *arguments))
    assert facts.tolist() == [there, 0]
    assert all(map(torch.equal, found, expected))
    changed = sum(int((new ^ old).sum()) for new, old in zip(found, masks, strict=True))
    assert changed == (count if count <= there else 0)


@given(seed=st.integers(0, 2**62 - 1), count=st.integers(0, 900))
@settings(max_examples=20)
def test_random_choice_equals_its_definition(seed, count):
    masks = [torch.arange(700) % 3 == 0, torch.arange(651) % 2 == 0]
    found, expected = ([mask.clone() for mask in masks] for _ in range(2))
    arguments = ([], seed, count, False, False, False)
    facts = torch.ops.lsh.toggle_(found, *arguments)
    assert torch.equal(facts, toggle_definition_(expected, *arguments))
    assert all(map(torch.equal, found, expected))


def test_several_tensors_are_one_long_one():
    scores = {"a": torch.tensor([3.0, -1.0, 2.0]), "b": torch.tensor([[-2.0, 2.0]])}
    masks = {"a": torch.tensor([True, True, False]), "b": torch.tensor([[True, False]])}
    dropped = drop_lowest(scores, masks, 2, magnitude=True)
    assert {name: mask.int().tolist() for name, mask in dropped.items()} == {
        "a": [1, 0, 0],
        "b": [[0, 0]],
    }
    grown = grow_highest(scores, masks, 1)  # of the two twos that of the earlier tensor
    assert {name: mask.int().tolist() for name, mask in grown.items()} == {
        "a": [1, 1, 1],
        "b": [[1, 0]],
    }
    assert masks["a"].tolist() == [True, True, False]


def test_random_keys_are_distinct_and_even():
    keys = random_keys(200_000, 2**61 + 12345)
    assert keys.unique().numel() == 200_000
    assert int(keys.min()) >= 0
    assert int(keys.max()) < 2**32
    for bit in range(32):
        ones = int((keys >> bit & 1).sum())
        assert abs(ones - 100_000) < 5 * math.sqrt(50_000)
    other = random_keys(200_000, 2**61 + 12346)
    assert abs(torch.corrcoef(torch.stack([keys, other]).double())[0, 1]) < 5 / math.sqrt(200_000)


def test_random_growth_takes_every_pair_equally_often():
    mask = torch.tensor([False, True, False, False, False])
    generator = torch.Generator().manual_seed(4)
    draws = 6000
    pairs = collections.Counter(
        tuple((grow_random(mask, 2, generator) ^ mask).nonzero().flatten().tolist())
        for _ in range(draws)
    )
    assert len(pairs) == 6
    assert all(abs(seen / draws - 1 / 6) < 5 * math.sqrt(5 / 36 / draws) for seen in pairs.values())


def test_random_growth_wants_a_generator_on_the_cpu():
    with pytest.raises(ValueError, match=r"count must be in \[0, 1\], the entries there, got 2"):
        grow_random(torch.tensor([True, False]), 2, torch.Generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [torch.zeros(3, dtype=torch.int32)]}, "must be float32, float64 or bfloat16"),
        ({"scores": [torch.zeros(2)]}, "scores and mask must have one size, got 2 and 3"),
        ({"scores": [torch.zeros(3)] * 2}, "scores must be as many as masks, 1, .* got 2"),
        ({"masks": [torch.zeros(3)]}, "mask must be bool, got float32"),
        ({"masks": [torch.zeros(3, 2, dtype=torch.bool).T]}, "mask must be contiguous"),
        ({"masks": [(m := torch.zeros(3) > 0), m], "scores": [torch.zeros(3)] * 2}, "share memory"),
        ({"scores": [torch.zeros(6)[::2]]}, "scores must be contiguous"),
        ({"count": -1}, "count must be at least 0, got -1"),
    ],
)
def test_the_operator_refuses(change, message):
    given_ = {"masks": [torch.zeros(3) > 0], "scores": [torch.zeros(3)], "count": 1} | change
    with pytest.raises(RuntimeError, match=message):
        torch.ops.lsh.toggle_(given_["masks"], given_["scores"], 0, given_["count"], *[False] * 3)


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
