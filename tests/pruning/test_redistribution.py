"""Shares of each matrix, by hand."""

import math
from functools import partial

import pytest
import torch

from lsh_native.pruning.redistribution import keep_counts, mean_magnitude, nonzeros
from lsh_native.sparsity.connections import Connections
from lsh_native.sparsity.selection import NaNError

WEIGHTS = {
    "a": torch.tensor([[1.0, -3.0, 0.0, 9.0]]),
    "b": torch.tensor([[0.5, 0.5], [0.0, 0.0]]),
    "c": torch.tensor([[7.0, 7.0]]),
}
BEFORE = {
    "a": torch.tensor([[True, True, True, True]]),
    "b": torch.tensor([[True, True], [True, False]]),
    "c": torch.tensor([[True, False]]),
}
SURVIVORS = {
    "a": torch.tensor([[True, True, True, False]]),
    "b": torch.tensor([[True, True], [False, False]]),
    "c": torch.tensor([[False, False]]),
}
BUDGET = {"a": 4, "b": 3, "c": 1}
CONNECTIONS = Connections(weights=WEIGHTS, masks=BEFORE)


def test_keep_counts():
    assert keep_counts(CONNECTIONS, SURVIVORS, BUDGET) == {"a": 1, "b": 1, "c": 1}
    assert keep_counts(CONNECTIONS, SURVIVORS, {"a": 2, "b": 2, "c": 2}) == {"a": 0, "b": 0, "c": 2}


def test_mean_magnitude_reads_survivors_alone():
    shares = mean_magnitude(CONNECTIONS, SURVIVORS, BUDGET)
    assert shares["a"] / shares["b"] == pytest.approx((4 / 3) / 0.5, rel=1e-8)
    assert shares["c"] == 0


def test_mean_magnitude_of_nothing():
    nothing = {name: torch.zeros_like(mask) for name, mask in BEFORE.items()}
    assert mean_magnitude(CONNECTIONS, nothing, BUDGET) == {"a": 0, "b": 0, "c": 0}
    zeros = Connections(weights={n: w * 0 for n, w in WEIGHTS.items()}, masks=BEFORE)
    assert mean_magnitude(zeros, SURVIVORS, BUDGET) == {"a": 0, "b": 0, "c": 0}


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_mean_magnitude_has_no_unit(scale):
    scaled = Connections(weights={n: w * scale for n, w in WEIGHTS.items()}, masks=BEFORE)
    shares = mean_magnitude(scaled, SURVIVORS, BUDGET)
    assert shares["a"] / shares["b"] == pytest.approx((4 / 3) / 0.5, rel=1e-6)


def test_mean_magnitude_is_the_same_in_any_order():
    weight = torch.randn(300, 700, generator=torch.Generator().manual_seed(1))
    mask = weight.abs() > 0.3
    orders = (weight, weight.flip(0, 1), weight.t().contiguous())
    shares = {
        mean_magnitude(
            Connections(weights={"a": w, "b": w * 0 + 1}, masks={"a": w != 9, "b": w != 9}),
            {"a": w.abs() > 0.3, "b": w != 9},
            {},
        )["a"]
        for w in orders
    }
    assert len(shares) == 1
    assert shares.pop() / 2**30 * max(1, float(weight.abs().max())) == pytest.approx(
        float(weight[mask].abs().double().mean()), rel=1e-7
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_mean_magnitude_refuses_what_has_no_mean(value):
    broken = Connections(weights=WEIGHTS | {"b": torch.full((2, 2), value)}, masks=BEFORE)
    with pytest.raises(NaNError, match="weights must be finite"):
        mean_magnitude(broken, SURVIVORS, BUDGET)


def test_nonzeros():
    assert nonzeros(CONNECTIONS, SURVIVORS, BUDGET) == {"a": 2, "b": 2, "c": 0}
    above = partial(nonzeros, above=0.5)
    assert above(CONNECTIONS, SURVIVORS, BUDGET) == {"a": 2, "b": 0, "c": 0}
