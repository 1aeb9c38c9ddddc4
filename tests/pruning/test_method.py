"""The one update, slot by slot, in cases small enough to read."""

from dataclasses import FrozenInstanceError, replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Size

from lsh_native.pruning import (
    CosineDrop,
    CubicDensity,
    PruningMethod,
    global_magnitude,
    gradient_growth,
    mean_magnitude,
    nonzeros,
    random_growth,
    reads_gradient,
    threshold,
)
from lsh_native.sparsity.connections import Connections
from lsh_native.sparsity.mask import erdos_renyi, total_count


def constant(fraction):
    return CosineDrop(initial=fraction, final=fraction, every=1, until=1000)


def matrices(*rows, density):
    weights = {name: torch.tensor([row]) for name, row in zip("abc", rows, strict=False)}
    masks = {name: weight != 0 for name, weight in weights.items()}
    gradients = {name: 1.0 + torch.arange(w.numel()).view(w.shape) for name, w in weights.items()}
    return Connections(weights=weights, masks=masks, gradients=gradients, density=density)


def counts(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


def update(method, connections, step=1, state=None):
    return method.update(connections, step, state or {}, torch.Generator().manual_seed(0))


THERE = matrices([0.1, 0.9, 0.0, 0.0], [4.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0], density=5 / 12)


def test_drop_and_gradient_growth_by_hand():
    method = PruningMethod(schedule=constant(0.5), grow=gradient_growth)
    masks, _, _ = update(method, THERE)
    # ⌈0.5 · 2⌉ = 1 and ⌈0.5 · 3⌉ = 2 go; the largest gradients are at the end
    assert masks["a"].int().tolist() == [[0, 1, 0, 1]]
    assert masks["b"].int().tolist() == [[1, 0, 0, 0, 0, 0, 1, 1]]


def test_what_is_dropped_may_grow_again():
    there = replace(THERE, gradients={name: -w for name, w in THERE.weights.items()})
    masks, _, _ = update(PruningMethod(schedule=constant(0.5), grow=gradient_growth), there)
    assert all(torch.equal(masks[name], THERE.masks[name]) for name in masks)


def test_redistribution_by_hand():
    # globally 0.1, 0.9 and 2 go: a keeps nothing, b keeps 4 and 3
    by_count = PruningMethod(
        schedule=constant(0.5), drop=global_magnitude, grow=random_growth, redistribute=nonzeros
    )
    assert counts(update(by_count, THERE)[0]) == {"a": 0, "b": 5}
    there = matrices([1.0, 3.0, 0.0, 0.0], [0.1, 0.3, 0.0, 0.0], density=0.5)
    by_mean = PruningMethod(schedule=constant(0.5), grow=random_growth, redistribute=mean_magnitude)
    # survivors 3 and 0.3, so the two that grow are shared 20 : 2
    assert counts(update(by_mean, there)[0]) == {"a": 3, "b": 1}


def test_what_a_full_matrix_cannot_take_goes_elsewhere():
    there = matrices([9.0, 9.0, 9.0], [0.1] * 6 + [0.0] * 4, density=9 / 13)
    method = PruningMethod(
        schedule=constant(0.5),
        drop=global_magnitude,
        grow=random_growth,
        redistribute=mean_magnitude,
    )
    assert counts(update(method, there)[0]) == {"a": 3, "b": 6}


def test_nothing_left_to_share_by():
    everything = partial(threshold, start=100.0)
    for redistribute in (mean_magnitude, nonzeros):
        method = PruningMethod(
            schedule=constant(0.5), drop=everything, grow=random_growth, redistribute=redistribute
        )
        masks, state, _ = update(method, THERE)
        assert sum(counts(masks).values()) == 5
        assert state == {"threshold": 50.0}


@pytest.mark.parametrize(("fraction", "count", "lost"), [(0.07, 100, 7), (0.3, 7, 3), (0.0, 7, 0)])
def test_drops_the_ceiling_of_the_fraction(fraction, count, lost):
    there = matrices([1.0] * count + [0.0] * count, density=0.5)
    survivors = {}

    def spy(connections, counts, state, generator):
        survivors.update(counts)
        return global_magnitude(connections, counts, state, generator)

    update(PruningMethod(schedule=constant(fraction), drop=spy, grow=random_growth), there)
    assert survivors == {"a": lost}


def test_a_falling_density_and_a_fraction_together():
    class Both(CubicDensity):
        def drop_fraction(self, step):
            return 0.5

    method = PruningMethod(schedule=Both(initial=1.0, every=1, until=2), grow=gradient_growth)
    there = matrices([float(k) for k in range(1, 9)], density=0.5)
    # 8 to 4 by magnitude, then ⌈0.5 · 4⌉ of those, and as many come by gradient
    masks, _, _ = update(method, there, step=2)
    assert masks["a"].int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    masks, _, _ = update(
        method, replace(there, gradients={"a": -there.weights["a"].sub(9)}), step=2
    )
    assert masks["a"].int().tolist() == [[1, 1, 0, 0, 0, 0, 1, 1]]


@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 9)).map(Size), min_size=1, max_size=5
    ),
    density=st.floats(0, 1),
    seed=st.integers(0, 99),
    drop=st.sampled_from([PruningMethod().drop, global_magnitude]),
)
def test_a_falling_density_is_exact_for_any_sizes(sizes, density, seed, drop):
    generator = torch.Generator().manual_seed(seed)
    method = PruningMethod(
        initial=erdos_renyi, drop=drop, schedule=CubicDensity(every=3, until=20, begin=1)
    )
    weights = {str(k): torch.randn(size, generator=generator) for k, size in enumerate(sizes)}
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    for step in filter(method.due, range(1, 21)):
        there = Connections(
            weights={name: weights[name] * masks[name] for name in weights},
            masks=masks,
            density=density,
        )
        new, _, _ = method.update(there, step, {}, generator)
        assert all((new[name] <= masks[name]).all() for name in masks)
        wanted = total_count(there.sizes, method.schedule.density(step, density))
        assert sum(counts(new).values()) == wanted
        masks = new
    assert sum(counts(masks).values()) == total_count(there.sizes, density)


def test_a_drop_that_leaves_too_much_is_refused():
    schedule = CubicDensity(initial=1.0, every=1, until=2)
    with pytest.raises(
        ValueError, match="threshold must leave 6 connections because nothing grows, left 12"
    ):
        update(
            PruningMethod(schedule=schedule, drop=threshold),
            matrices([1.0] * 4, [1.0] * 8, density=0.5),
            step=2,
        )
    with pytest.raises(ValueError, match="threshold must leave 6 connections or fewer, left 12"):
        update(
            PruningMethod(schedule=schedule, drop=threshold, grow=random_growth),
            matrices([1.0] * 4, [1.0] * 8, density=0.5),
            step=2,
        )


def test_methods_are_records():
    method = PruningMethod(grow=random_growth)
    assert method == PruningMethod(grow=random_growth)
    assert method.over(None) == method
    with pytest.raises(FrozenInstanceError):
        method.grow = None
    with pytest.raises(TypeError):
        PruningMethod(erdos_renyi)


def test_needs_gradient_by_any_slot():
    @reads_gradient
    def drop(connections, counts, state, generator): ...

    assert PruningMethod(grow=gradient_growth).needs_gradient
    assert PruningMethod(drop=drop).needs_gradient
    assert not PruningMethod(grow=random_growth).needs_gradient


def test_describes_every_slot():
    method = PruningMethod(
        schedule=CosineDrop(initial=0.5, every=3),
        drop=partial(threshold, start=0.1),
        grow=random_growth,
    )
    assert method.over(30).describe() == {
        "initial": "uniform",
        "schedule": "CosineDrop(every=3, begin=0, until=30, initial=0.5, final=0.005)",
        "drop": "threshold(start=0.1)",
        "grow": "random_growth",
        "redistribute": "keep_counts",
    }
    assert PruningMethod().describe()["grow"] == "None"
