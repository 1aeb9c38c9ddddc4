"""Exact counts, and masks that have them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Size

from lsh_native.sparsity.mask import (
    apportion,
    draw_indices,
    draw_masks,
    erdos_renyi,
    erdos_renyi_kernel,
    largest_mask,
    total_count,
    uniform,
)
from lsh_native.sparsity.selection import NaNError

DISTRIBUTIONS = (uniform, erdos_renyi, erdos_renyi_kernel)

matrices = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2),
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(Size),
    max_size=6,
)
kernels = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2),
    st.lists(st.integers(1, 6), min_size=2, max_size=4).map(Size),
    max_size=6,
)
densities = st.floats(0, 1)


def test_uniform_by_hand():
    sizes = {"a": Size((2, 5)), "b": Size((4, 5)), "c": Size((1, 3))}
    assert uniform(sizes, 0.5) == {"a": 5, "b": 10, "c": 1}  # 16.5 rounds to 16
    # quotas of 11: 10/3, 20/3, 1; the largest remainder is b's
    assert uniform(sizes, 1 / 3) == {"a": 3, "b": 7, "c": 1}


def test_erdos_renyi_by_hand():
    # 40 of 200; shares rows + columns are 20, 30: 16 and 24
    assert erdos_renyi({"a": Size((10, 10)), "b": Size((20, 5))}, 0.2) == {"a": 18, "b": 22}
    assert erdos_renyi({"a": Size((10, 10)), "b": Size((10, 20))}, 0.5) == {"a": 60, "b": 90}


def test_a_saturated_matrix_becomes_dense_and_the_rest_is_rescaled():
    sizes = {"small": Size((2, 2)), "a": Size((20, 20)), "b": Size((10, 50))}
    # 452 of 904: small's share 4 of 104 is 17 > 4; the other 448 go 40 : 60, to 179.2 and 268.8
    assert erdos_renyi(sizes, 0.5) == {"small": 4, "a": 179, "b": 269}


def test_kernels_count_in_erk_and_not_in_er():
    sizes = {"a": Size((4, 4, 2)), "b": Size((4, 4))}
    # 12 of 48. ER: 32 · 8/16 to 16 · 8/16 is 2 : 1. ERK: 10 to 8
    assert erdos_renyi(sizes, 0.25) == {"a": 8, "b": 4}
    assert erdos_renyi_kernel(sizes, 0.25) == {"a": 7, "b": 5}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@given(sizes=st.one_of(matrices, kernels), density=densities)
def test_totals_are_exact_and_matrices_not_overfull(distribution, sizes, density):
    counts = distribution(sizes, density)
    assert counts.keys() == sizes.keys()
    assert sum(counts.values()) == total_count(sizes, density)
    assert total_count(sizes, density) == round(density * sum(map(math.prod, sizes.values())))
    assert all(0 <= counts[name] <= size.numel() for name, size in sizes.items())


@given(sizes=matrices, density=densities)
def test_erk_equals_er_on_matrices(sizes, density):
    assert erdos_renyi_kernel(sizes, density) == erdos_renyi(sizes, density)


@given(sizes=matrices, density=densities)
def test_uniform_is_within_one_of_every_matrix_quota(sizes, density):
    total, size = total_count(sizes, density), sum(s.numel() for s in sizes.values())
    for name, count in uniform(sizes, density).items():
        assert abs(count - total * sizes[name].numel() / max(size, 1)) < 1


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("density", [-0.1, 1.3, math.nan])
def test_refuses_densities_out_of_range(distribution, density):
    with pytest.raises(ValueError, match=rf"density must be in \[0, 1\], got {density}"):
        distribution({"a": Size((2, 2))}, density)


def test_apportion_by_hand():
    room = {"a": 9, "b": 9, "c": 9}
    assert apportion(6, {"a": 1, "b": 2, "c": 3}, room) == {"a": 1, "b": 2, "c": 3}
    assert apportion(4, {"a": 1, "b": 1, "c": 1}, room) == {"a": 2, "b": 1, "c": 1}
    assert apportion(10, {"a": 1, "b": 1, "c": 98}, room) == {"a": 1, "b": 0, "c": 9}
    assert apportion(3, {"a": 0, "b": 0, "c": 0}, {"a": 0, "b": 4, "c": 8}) == {
        "a": 0,
        "b": 1,
        "c": 2,
    }
    # c is full, the others want nothing and take by their places
    assert apportion(7, {"a": 0, "b": 0, "c": 1}, {"a": 4, "b": 8, "c": 1}) == {
        "a": 2,
        "b": 4,
        "c": 1,
    }
    assert apportion(0, {}, {}) == {}


@given(
    parts=st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 1000)), max_size=8),
    data=st.data(),
)
def test_apportion_is_exact(parts, data):
    shares = {str(k): share for k, (share, _) in enumerate(parts)}
    capacity = {str(k): room for k, (_, room) in enumerate(parts)}
    total = data.draw(st.integers(0, sum(capacity.values())))
    counts = apportion(total, shares, capacity)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= capacity[name] for name in shares)
    weight = sum(shares.values())
    if weight and all(shares[name] * total <= capacity[name] * weight for name in shares):
        for name in shares:
            assert abs(counts[name] - shares[name] * total / weight) < 1 + 1e-6


@pytest.mark.parametrize(
    ("total", "share", "message"),
    [
        (-1, 1.0, r"total must be in \[0, 5\].*got -1"),
        (6, 1.0, r"total must be in \[0, 5\].*got 6"),
        (1, -1.0, "share of a must be finite and at least 0, got -1.0"),
        (1, math.nan, "share of a must be finite"),
        (1, math.inf, "share of a must be finite"),
    ],
)
def test_apportion_refuses(total, share, message):
    with pytest.raises(ValueError, match=message):
        apportion(total, {"a": share}, {"a": 5})


@given(sizes=matrices, density=densities, seed=st.integers(0, 2**32))
def test_drawn_masks_have_their_counts_and_depend_on_the_seed_alone(sizes, density, seed):
    counts = uniform(sizes, density)
    masks, again = (
        draw_masks(counts, sizes, torch.Generator().manual_seed(seed)) for _ in range(2)
    )
    for name, mask in masks.items():
        assert mask.dtype is torch.bool
        assert mask.shape == sizes[name]
        assert int(mask.sum()) == counts[name]
        assert torch.equal(mask, again[name])


def test_drawn_masks_are_uniform():
    generator = torch.Generator().manual_seed(0)
    draws = 20_000
    size = Size((2, 3))
    hits = torch.zeros(size)
    pairs = 0
    for _ in range(draws):
        mask = draw_masks({"a": 2}, {"a": size}, generator)["a"]
        hits += mask
        pairs += int(mask[0, 0] and mask[1, 2])
    # five standard deviations of a binomial with p = 2/6, and of one with p = 1/15
    assert (hits / draws - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / draws)
    assert abs(pairs / draws - 1 / 15) < 5 * math.sqrt(1 / 15 / draws)


@pytest.mark.parametrize("count", [-1, 5])
def test_drawing_refuses_counts_out_of_range(count):
    with pytest.raises(ValueError, match=rf"count must be in \[0, 4\].*got {count}"):
        draw_indices(count, 4, torch.Generator())


def test_largest_mask_keeps_exactly_the_largest_magnitudes():
    weight = torch.tensor([[0.5, -2.0, 0.5], [-0.5, 0.1, 2.0]])
    assert largest_mask(weight, 2).tolist() == [[False, True, False], [False, False, True]]
    assert largest_mask(weight, 4).tolist() == [[True, True, True], [False, False, True]]
    assert largest_mask(torch.nn.Parameter(weight), 6).all()


def test_largest_mask_refuses_nan():
    with pytest.raises(NaNError):
        largest_mask(torch.tensor([1.0, math.nan]), 1)
