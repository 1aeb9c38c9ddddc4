"""What is dropped and what is grown, in cases small enough to read."""

import math
import sys
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.pruning.criterion import (
    global_magnitude,
    gradient_growth,
    magnitude,
    needs_gradient,
    random_growth,
    set_drop,
    threshold,
)
from lsh_native.sparsity.connections import Connections
from lsh_native.sparsity.selection import NaNError

DROPS = (magnitude, global_magnitude, set_drop, threshold)


def connections(**rows):
    """One row of weights per matrix; None is a dead connection."""
    weights = {name: torch.tensor([[w or 0.0 for w in row]]) for name, row in rows.items()}
    masks = {name: torch.tensor([[w is not None for w in row]]) for name, row in rows.items()}
    return Connections(weights=weights, masks=masks)


def drop(criterion, there, counts, state=None):
    survivors, state = criterion(there, counts, state or {}, torch.Generator())
    return {name: mask[0].int().tolist() for name, mask in survivors.items()}, state


def test_magnitude_by_hand():
    there = connections(a=[0.3, None, -0.1, 0.2, -0.4], b=[5.0, 0.05, 5.0])
    assert drop(magnitude, there, {"a": 2, "b": 1})[0] == {"a": [1, 0, 0, 0, 1], "b": [1, 0, 1]}


def test_magnitude_drops_the_earlier_of_equals():
    there = connections(a=[0.5, -0.5, 0.5, 0.0])
    assert drop(magnitude, there, {"a": 3})[0] == {"a": [0, 0, 1, 0]}


def test_global_magnitude_by_hand():
    there = connections(a=[0.3, None, -0.1, 0.2, -0.4], b=[5.0, 0.05, -6.0])
    # four of all: 0.05, 0.1, 0.2, 0.3, however the number came about
    for counts in ({"a": 2, "b": 2}, {"a": 4, "b": 0}):
        assert drop(global_magnitude, there, counts)[0] == {"a": [0, 0, 0, 0, 1], "b": [1, 0, 1]}


def test_set_by_hand():
    # three of the six positive go and one of the two negative
    there = connections(a=[0.6, -0.9, 0.1, None, 0.5, -0.05, 0.2, 0.3, 0.4])
    assert drop(set_drop, there, {"a": 4})[0] == {"a": [1, 1, 0, 0, 1, 0, 0, 0, 1]}


def test_set_keeps_what_magnitude_would_drop():
    # all negatives are near zero, yet only their half goes, and half of the positives
    there = connections(a=[-0.01, -0.02, 3.0, 4.0])
    assert drop(set_drop, there, {"a": 2})[0] == {"a": [0, 1, 0, 1]}
    assert drop(magnitude, there, {"a": 2})[0] == {"a": [0, 0, 1, 1]}


def test_set_drops_untrained_zeros_first():
    there = connections(a=[0.0, 0.2, -0.1, 0.0, 0.3, -0.4])
    assert drop(set_drop, there, {"a": 3})[0] == {"a": [0, 1, 0, 0, 1, 1]}


def test_threshold_by_hand():
    there = connections(a=[0.001, -0.002, 0.0011, None], b=[-0.0005, 3.0, 3.0])
    first, state = drop(threshold, there, {"a": 1, "b": 1})
    assert first == {"a": [0, 1, 1, 0], "b": [0, 1, 1]}  # |w| = τ goes
    assert state == {"threshold": 0.001}  # two of two


@pytest.mark.parametrize(
    ("wanted", "factor"), [(100, 1.0), (102, 1.0), (103, 2.0), (98, 0.5), (99, 1.0), (0, 0.5)]
)
def test_threshold_follows_its_target_beyond_two_percent(wanted, factor):
    there = connections(a=[0.1] * 100 + [1.0] * 100)
    survivors, state = drop(threshold, there, {"a": wanted}, {"threshold": 0.5, "other": 3})
    assert sum(survivors["a"]) == 100
    assert state == {"threshold": 0.5 * factor, "other": 3}


def test_threshold_never_reaches_zero():
    tau = sys.float_info.min
    _, state = drop(threshold, connections(a=[0.0, 0.0]), {"a": 1}, {"threshold": tau})
    assert state["threshold"] == tau


@given(seed=st.integers(0, 999), data=st.data())
def test_exact_drops_lose_exactly_what_they_are_told(seed, data):
    generator = torch.Generator().manual_seed(seed)
    weights = {n: torch.randn(3, 5, generator=generator).round(decimals=1) for n in "ab"}
    masks = {n: torch.rand(3, 5, generator=generator) < 0.6 for n in "ab"}
    there = Connections(weights=weights, masks=masks)
    counts = {n: data.draw(st.integers(0, count)) for n, count in there.counts().items()}
    for criterion in (magnitude, global_magnitude, set_drop):
        survivors, state = criterion(there, counts, {"kept": 1}, generator)
        assert state == {"kept": 1}
        assert all((survivors[n] <= masks[n]).all() for n in "ab")
        lost = {n: int((masks[n] ^ survivors[n]).sum()) for n in "ab"}
        assert sum(lost.values()) == sum(counts.values())
        if criterion is not global_magnitude:
            assert lost == counts


@pytest.mark.parametrize("criterion", DROPS)
def test_drops_refuse_nan_among_the_live_alone(criterion):
    weights = {"a": torch.tensor([[math.nan, 1.0, 2.0]])}
    dead = Connections(weights=weights, masks={"a": torch.tensor([[False, True, True]])})
    assert drop(criterion, dead, {"a": 0})[0] == {"a": [0, 1, 1]}
    live = Connections(weights=weights, masks={"a": torch.tensor([[True, True, False]])})
    with pytest.raises(NaNError):
        drop(criterion, live, {"a": 1})


def test_gradient_growth_by_hand():
    gradient = torch.tensor([[-4.0, 1.0, -3.0, 2.0, 2.0]])
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]])
    survivors = {"a": weights != 0}
    there = Connections(weights={"a": weights}, masks=survivors, gradients={"a": gradient})
    masks, state = gradient_growth(there, survivors, {"a": 2}, {"kept": 1}, torch.Generator())
    assert masks["a"][0].int().tolist() == [1, 0, 1, 1, 0]  # of the equal ones the first
    assert state == {"kept": 1}


def test_gradient_growth_refuses_to_guess():
    there = connections(a=[1.0, None])
    with pytest.raises(ValueError, match=r"must see the dense gradients, got none of \['a'\]"):
        gradient_growth(there, there.masks, {"a": 1}, {}, torch.Generator())
    nan = Connections(
        weights=there.weights, masks=there.masks, gradients={"a": torch.full((1, 2), math.nan)}
    )
    with pytest.raises(NaNError):
        gradient_growth(nan, there.masks, {"a": 1}, {}, torch.Generator())


@given(seed=st.integers(0, 999), data=st.data())
def test_random_growth_is_exact_among_the_dead_and_follows_the_seed(seed, data):
    survivors = {"a": torch.rand(4, 6, generator=torch.Generator().manual_seed(seed)) < 0.4}
    there = Connections(weights={"a": survivors["a"].float()}, masks=survivors)
    count = data.draw(st.integers(0, int((~survivors["a"]).sum())))
    grown = [
        random_growth(there, survivors, {"a": count}, {}, torch.Generator().manual_seed(seed))[0][
            "a"
        ]
        for _ in range(2)
    ]
    assert torch.equal(grown[0], grown[1])
    assert (grown[0] >= survivors["a"]).all()
    assert int(grown[0].sum()) == int(survivors["a"].sum()) + count


def test_random_growth_is_uniform():
    survivors = {"a": torch.tensor([[True, False, False, True, False]])}
    there = Connections(weights={"a": survivors["a"].float()}, masks=survivors)
    generator = torch.Generator().manual_seed(3)
    draws = 6000
    hits = sum(
        random_growth(there, survivors, {"a": 1}, {}, generator)[0]["a"].int() for _ in range(draws)
    )
    assert hits[0, 0] == hits[0, 3] == draws
    assert (hits[0, [1, 2, 4]] / draws - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / draws)


def test_the_mark_of_a_gradient_reader_survives_a_partial():
    assert needs_gradient(gradient_growth)
    assert needs_gradient(partial(gradient_growth))
    assert not needs_gradient(partial(threshold, start=0.1))
    assert not needs_gradient(None)
