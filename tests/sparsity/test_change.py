"""What is said of an update, by hand and through the hook of a topology."""

import torch
from torch import nn

from lsh_native.pruning import dead_units, method
from lsh_native.sparsity.change import Change
from lsh_native.sparsity.topology import Topology


def masks(*rows):
    return {"lstm.weight_hh_l0": torch.tensor(rows, dtype=torch.bool)}


def test_measures_by_hand():
    change = Change(
        step=7,
        before=masks([1, 1], [0, 0], [0, 1], [1, 0]),
        after=masks([1, 0], [0, 0], [0, 1], [1, 1]),
        first=masks([0, 0], [1, 1], [0, 0], [1, 1]),
        explored=masks([1, 1], [1, 1], [0, 1], [1, 1]),
    )
    assert change.jaccard() == 3 / 5
    assert change.survival() == 2 / 4
    assert change.explored_share() == 7 / 8
    assert change.gate_densities() == {"lstm.weight_hh_l0": [0.25, 0.75]}
    assert change.empty_rows() == {"lstm.weight_hh_l0": 1}
    assert change.empty_columns() == {"lstm.weight_hh_l0": 0}


def test_observers_see_every_update():
    model = nn.LSTM(4, 4)
    topology = Topology(model, method("set", every=2), density=0.3, seed=0, steps=99)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    topology.observe(seen.append)
    first, live = topology.masks(), topology.masks()
    explored = {name: mask.clone() for name, mask in live.items()}
    for step in range(1, 10):
        model.zero_grad()
        model(torch.ones(2, 3, 4))[0].square().sum().backward()
        optimizer.step()
        assert topology.step(optimizer) == (step % 2 == 0)
        assert len(seen) == step // 2
        if step % 2 == 0:
            change = seen[-1]
            assert change.step == step
            for name, mask in topology.masks().items():
                explored[name] |= mask
                assert torch.equal(change.before[name], live[name])
                assert torch.equal(change.after[name], mask)
                assert torch.equal(change.first[name], first[name])
                assert torch.equal(change.explored[name], explored[name])
            live = topology.masks()
    assert 0 < seen[-1].survival() < 1
    assert seen[-1].explored_share() > 0.3


def test_dead_units():
    weights = {
        "weight_ih_l0": torch.ones(4, 3) > 0,
        "weight_hh_l0": torch.zeros(4, 1) > 0,
        "decoder.weight": torch.zeros(2, 1) > 0,
    }
    assert dead_units(weights) == {"weight_hh_l0": 1}  # nothing reads it
    weights["decoder.weight"] = torch.ones(2, 1) > 0
    assert dead_units(weights) == {"weight_hh_l0": 0}
    weights["weight_ih_l0"] = torch.zeros(4, 3) > 0
    assert dead_units(weights) == {"weight_hh_l0": 1}  # it reads nothing
