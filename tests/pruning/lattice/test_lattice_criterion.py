"""Lattice scores as slots of a pruning method: counts, which connections, which chances."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lsh_native.nn import FeedbackRNN, SparseGRU, SparseLSTM, SparseRHN, SparseRNN
from lsh_native.pruning import CosineDrop, CubicDensity, DropLowest, Once, PruningMethod, method
from lsh_native.pruning.lattice import Irreducible, LatticeScore, lattice_drop, lattice_growth
from lsh_native.sparsity.connections import Connections
from lsh_native.sparsity.selection import NaNError
from lsh_native.sparsity.topology import Topology

BY_GATE = LatticeScore(gates=None)


def stack(hidden=6):
    torch.manual_seed(0)
    return SparseLSTM(5, hidden, num_layers=2)


def matrices(module):
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.dim() > 1}


def lattice_scores(weights, score=LatticeScore()):  # noqa: B008 - frozen
    live = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    return score(Connections(weights=weights, masks=live), live, torch.Generator())


@pytest.mark.parametrize("score", [LatticeScore(), BY_GATE, LatticeScore(power=1.0)])
def test_the_highest_scores_stay(score):
    weights = matrices(stack())
    scores = lattice_scores(weights, score=score)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    counts = {name: weight.numel() // 3 for name, weight in weights.items()}
    connections = Connections(weights=weights, masks=masks)
    kept, _ = DropLowest(score=score)(connections, counts, {}, torch.Generator())
    for name, mask in kept.items():
        assert int((~mask).sum()) == counts[name]
        assert scores[name][mask].min() >= scores[name][~mask].max()


def test_signs_do_not_matter():
    weights = matrices(stack())
    flipped = {name: -weight for name, weight in weights.items()}
    for name, scores in lattice_scores(weights).items():
        assert torch.equal(lattice_scores(flipped)[name], scores)


def test_without_magnitude_whole_units_stay():
    """Where both ends must be good, the connections left are those among the best units."""
    weight = {"weight_hh_l0": matrices(nn.RNN(3, 12))["weight_hh_l0"]}
    score = LatticeScore(ends=np.minimum)
    scores = lattice_scores(weight, score=score)["weight_hh_l0"]
    kept = scores >= scores.flatten().sort(descending=True).values[24]
    units = kept.any(0) | kept.any(1)
    assert int(units.sum()) == 5
    assert int(kept[units][:, units].sum()) == 25


def test_growth_prefers_good_ends():
    shape = (40, 40)
    torch.manual_seed(0)
    weight = torch.zeros(shape)
    weight[:20, :20] = torch.rand(20, 20)
    live = weight > 0.7
    connections = Connections(weights={"w": weight * live}, masks={"w": live})
    gained = {"w": 200}
    generator = torch.Generator().manual_seed(0)
    grown, _ = lattice_growth(connections, {"w": live}, gained, {}, generator)
    new = grown["w"] & ~live
    assert int(new.sum()) == 200
    assert not (live & ~grown["w"]).any()
    share_of_places = (~live[:20, :20]).sum() / (~live).sum()
    assert new[:20, :20].sum() / 200 > 1.5 * share_of_places
    again = torch.Generator().manual_seed(0)
    assert torch.equal(
        lattice_growth(connections, {"w": live}, gained, {}, again)[0]["w"], grown["w"]
    )


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_refuses_weights_that_are_no_numbers(broken):
    with pytest.raises(NaNError, match="weights of w must be finite"):
        lattice_scores({"w": torch.tensor([[broken]])})


@pytest.mark.parametrize(
    "make",
    [
        lambda schedule: PruningMethod(schedule=schedule, drop=lattice_drop),
        lambda schedule: PruningMethod(schedule=schedule, drop=DropLowest(score=BY_GATE)),
    ],
    ids=["gates together", "gate by gate"],
)
@pytest.mark.parametrize(
    "schedule",
    [Once(moment=4), CubicDensity(every=2, until=8)],
    ids=["one shot", "gradual"],
)
def test_prunes_a_stack_to_exactly_the_density(make, schedule):
    model = stack()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    topology = Topology(model, make(schedule), density=0.2, seed=0, steps=10)
    for _ in range(10):
        optimizer.zero_grad()
        model(torch.randn(3, 2, 5))[0].square().sum().backward()
        optimizer.step()
        topology.step(optimizer)
    size = sum(mask.numel() for mask in topology.masks().values())
    assert sum(topology.counts().values()) == round(0.2 * size)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SparseGRU(5, 6, num_layers=2, bidirectional=True),
        lambda: SparseRNN(5, 6, num_layers=2),
        lambda: SparseRHN(5, 6, 3),
        lambda: FeedbackRNN(5, 6, 3),
    ],
    ids=["GRU", "RNN", "RHN", "feedback"],
)
def test_prunes_other_stacks(make):
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = method("lattice", every=2, until=8, power=1.0)
    topology = Topology(model, made, density=0.2, seed=0, steps=10)
    for _ in range(10):
        optimizer.zero_grad()
        model(torch.randn(3, 2, 5))[0].square().sum().backward()
        optimizer.step()
        topology.step(optimizer)
    size = sum(mask.numel() for mask in topology.masks().values())
    assert sum(topology.counts().values()) == round(0.2 * size)


def test_a_growth_prior_in_a_dynamic_method():
    model = stack()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    made = PruningMethod(schedule=CosineDrop(initial=0.5, every=2), grow=lattice_growth)
    topology = Topology(model, made, density=0.3, seed=0, steps=10)
    before = topology.masks()
    count = sum(topology.counts().values())
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(3, 2, 5))[0].square().sum().backward()
        optimizer.step()
        topology.step(optimizer)
        assert sum(topology.counts().values()) == count
    assert any(not torch.equal(mask, before[name]) for name, mask in topology.masks().items())


def test_descriptions_are_the_same_everywhere():
    score = LatticeScore(irreducibility=Irreducible(density=0.1), power=1.0)
    described = PruningMethod(drop=DropLowest(score=score)).describe()["drop"]
    assert (
        "LatticeScore(irreducibility=Irreducible(density=0.1, lattice='context'), "
        "centrality=in_strength, gates=max, join=mean, ends=multiply, power=1.0)"
    ) in described
    assert PruningMethod(drop=lattice_drop).describe()["drop"] == "lattice_drop"
