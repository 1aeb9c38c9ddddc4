"""Shapes of masks, and what is said where a matrix or a density does not fit one."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from lsh_native.nn import SparseRHN
from lsh_native.pruning import (
    Balanced,
    Blocks,
    CubicDensity,
    DropLowest,
    FanIn,
    Gates,
    GroupLasso,
    NofM,
    PruningMethod,
    Units,
    dead_units,
    global_magnitude,
    magnitude,
    method,
    set_drop,
    threshold,
)
from lsh_native.pruning.groups import _highest_of_each
from lsh_native.pruning.units import unit_norm
from lsh_native.sparsity.connections import Connections
from lsh_native.sparsity.selection import NaNError
from lsh_native.sparsity.topology import Topology

LAST = CubicDensity(every=1, until=2)


def matrix(*rows, density=0.5):
    weights = torch.tensor(rows)
    return Connections(
        weights={"a": weights}, masks={"a": torch.ones_like(weights) > 0}, density=density
    )


def shrunk(structure, there, drop=magnitude):
    made = PruningMethod(schedule=LAST, structure=structure, drop=drop)
    return made.update(there, 2, {}, torch.Generator())[0]["a"].int().tolist()


def test_blocks_stay_whole_and_rank_by_their_largest():
    there = matrix([1.0, 2.0, 5.0], [0.0, -4.0, 0.0], [3.0, 0.0, 0.0], [2.0, 0.0, 0.5])
    # largest of the 2 × 1 blocks: 1 4 5 / 3 0 0.5
    expected = [[0, 1, 1], [0, 1, 1], [1, 0, 0], [1, 0, 0]]
    for drop in (magnitude, global_magnitude, set_drop):
        assert shrunk(Blocks(rows=2), there, drop) == expected
    assert shrunk(Blocks(rows=2, columns=3), there) == [[1] * 3] * 2 + [[0] * 3] * 2


def test_two_of_four():
    there = matrix([1.0, -4.0, 2.0, 3.0, 9.0, 9.0, 9.0, 9.0])
    assert shrunk(NofM(n=2, width=4), there) == [[0, 1, 0, 1, 1, 1, 0, 0]]


def test_numbers_that_cannot_be_equal_differ_by_one():
    there = matrix([4.0, 3, 2, 1], [1.0, 2, 3, 4], [1.0, 1, 1, 2], density=7 / 12)
    assert shrunk(FanIn(), there) == [[1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    # groups of two from left to right: the first of six holds two
    assert shrunk(Balanced(width=2), there) == [[1, 1, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]]


def test_a_structure_is_named_where_it_does_not_fit():
    for structure, message in [
        ({"rows": 4}, "rows and columns of weight must be multiples of 4 and 1 .* got 6 and 5"),
        ({"rows": 2, "columns": 2}, "multiples of 2 and 2 to hold whole blocks, got 6 and 5"),
    ]:
        made = PruningMethod(structure=Blocks(**structure))
        with pytest.raises(ValueError, match=message):
            Topology(nn.Linear(5, 6), made, density=0.5, seed=0)
    for structure, message in [
        (NofM(n=2, width=4), "columns of weight must be a multiple of 4 .* got 5"),
        (Gates(gates=4, include=("*",)), "rows of weight must be a multiple of its 4 gates, got 6"),
    ]:
        with pytest.raises(ValueError, match=message):
            Topology(nn.Linear(5, 6), PruningMethod(structure=structure), density=0.5, seed=0)


GATED = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1, partial(SparseRHN, depth=2): 2}


@pytest.mark.parametrize(("layer", "gates"), GATED.items(), ids=["LSTM", "GRU", "RNN", "RHN"])
def test_every_gate_of_a_layer_keeps_its_share(layer, gates):
    model = nn.ModuleDict({"layer": layer(4, 6), "decoder": nn.Linear(6, 5)})
    make = partial(Topology, model, density=0.5, seed=0)
    if gates == 1:
        with pytest.raises(ValueError, match=r"weight_ih_l0 must have at least 2 gates .*, got 1"):
            make(method("static", structure="gates"))
    else:
        masks = make(method("static", structure="gates")).masks()
        recurrent = [mask for name, mask in masks.items() if "layer" in name]
        assert len(recurrent) >= 2
        for mask in recurrent:
            assert len({int(part.sum()) for part in mask.chunk(gates)}) == 1
    with pytest.raises(ValueError, match=f"gates must be {gates}, those of .*, got 5"):
        make(PruningMethod(structure=Gates(gates=5)))


def test_gates_are_given_where_shapes_do_not_tell():
    include = ["weight_ih*"]
    with pytest.raises(
        ValueError, match=r"gates must be given .* how many weight_ih_l0 has, got N"
    ):
        Topology(
            nn.LSTM(4, 6), PruningMethod(structure=Gates()), density=0.5, seed=0, include=include
        )
    given = PruningMethod(structure=Gates(gates=4))
    topology = Topology(nn.LSTM(4, 6), given, density=0.5, seed=0, include=include)
    assert [int(part.sum()) for part in topology.masks()["weight_ih_l0"].chunk(4)] == [12] * 4


def test_the_density_that_a_structure_reaches_is_named():
    with pytest.raises(
        ValueError, match=r"density must be 0\.5, the only one that 2 of 4 reaches, got 0\.33"
    ):
        Topology(nn.Linear(8, 6), method("static", structure="2:4"), density=0.33, seed=0)


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ("2:4", "the mask of weight must keep 2 of each 4"),
        ("block_4", "mask of weight must hold whole blocks of 4 x 1"),
        ("fan_in", "groups of weight must hold equal numbers .* to within one, got 2 to 6"),
    ],
)
def test_a_mask_that_a_structure_forbids_is_refused(structure, message):
    topology = Topology(nn.Linear(8, 8), method("static", structure=structure), density=0.5, seed=0)
    state = topology.state_dict()
    topology.load_state_dict(state)
    forbidden = torch.zeros(8, 8, dtype=torch.bool)
    forbidden[0, :6] = forbidden[1:, :2] = True
    before = topology.masks()["weight"].clone()
    with pytest.raises(ValueError, match=message):
        topology.load_state_dict(state | {"mask.weight": forbidden})
    assert torch.equal(topology.masks()["weight"], before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blocks(rows=0), "a block must have a row and a column"),
        (lambda: NofM(n=5, width=4), r"n must be in \[0, m\], got 5 and 4"),
        (lambda: NofM(n=1), "n must be in"),
        (lambda: FanIn(ablate=1.0), r"ablate must be in \[0, 1\)"),
        (lambda: Balanced(width=0), "width of a group must be at least 1, got 0"),
        (lambda: Gates(gates=1), "gates must be at least 2, got 1"),
    ],
)
def test_refuses_structures(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_groups_choose_by_scores_alone():
    there = matrix([1.0, 2.0])
    with pytest.raises(ValueError, match="must have a drop by score, got"):
        shrunk(FanIn(), there, threshold)
    made = PruningMethod(
        schedule=LAST, structure=FanIn(), grow=lambda c, s, n, state, g: (s, state)
    )
    with pytest.raises(ValueError, match="must have a growth by score, got"):
        made.update(there, 2, {}, torch.Generator())


def test_the_highest_of_each_group():
    values = torch.tensor([[1.0, math.inf, 1.0, -math.inf], [0.0, -0.0, 0.0, 5.0]])
    among = torch.tensor([[True, True, True, True], [True, True, True, False]])
    chosen = _highest_of_each(values, among, torch.tensor([2, 2]))
    assert chosen.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    with pytest.raises(ValueError, match=r"every group must have room .*, 1 are left over"):
        _highest_of_each(values, among, torch.tensor([2, 4]))
    with pytest.raises(NaNError):
        _highest_of_each(values * math.nan, among, torch.tensor([1, 1]))


# ---------------------------------------------------------------------------------------- units


def two_layers(weight=1.0):
    """Two layers of two units and two gates, and a decoder."""
    shapes = {
        "rnn.weight_ih_l0": (4, 3),
        "rnn.weight_hh_l0": (4, 2),
        "rnn.weight_ih_l1": (4, 2),
        "rnn.weight_hh_l1": (4, 2),
        "decoder.weight": (5, 2),
    }
    return {name: torch.full(shape, weight) for name, shape in shapes.items()}


def test_where_units_stand():
    sizes = {name: weight.shape for name, weight in two_layers().items()}
    assert Units(gates=2).layers(sizes) == {
        "rnn.weight_hh_l0": [
            ("rnn.weight_hh_l0", 0),
            ("rnn.weight_ih_l0", 0),
            ("rnn.weight_hh_l0", 1),
            ("rnn.weight_ih_l1", 1),
        ],
        "rnn.weight_hh_l1": [
            ("rnn.weight_hh_l1", 0),
            ("rnn.weight_ih_l1", 0),
            ("rnn.weight_hh_l1", 1),
            ("decoder.weight", 1),
        ],
    }
    with pytest.raises(ValueError, match=r"units need a matrix weight_hh_l… of 4 gates, got \["):
        Units(gates=4).layers(sizes)


def test_the_weakest_unit_goes_whole():
    weights = two_layers()
    for name, axis in Units(gates=2).layers({n: w.shape for n, w in weights.items()})[
        "rnn.weight_hh_l1"
    ]:
        places = (slice(None), 0) if axis else (slice(None, None, 2), slice(None))
        weights[name][places] *= 0.5  # unit 0 of the upper layer
    masks = {name: torch.ones_like(weight) > 0 for name, weight in weights.items()}
    there = Connections(weights=weights, masks=masks)
    units = Units(gates=2)
    scores = unit_norm(there, masks, torch.Generator(), units=units)
    # 2 · 2 of the rows of each matrix, 2 more of its column, 5 of the decoder
    assert sum(int((score == 0).sum()) for score in scores.values()) == 15
    drop = DropLowest(score=lambda c, m, g: scores, overall=True)
    counts = dict.fromkeys(masks, 3)
    survivors, _ = drop(there, counts, {}, torch.Generator())
    assert dead_units(survivors, units) == {"rnn.weight_hh_l0": 0, "rnn.weight_hh_l1": 1}
    assert survivors["decoder.weight"].int().tolist() == [[0, 1]] * 5


def test_group_lasso_by_hand():
    weights = {"weight_hh_l0": torch.tensor([[3.0]]), "decoder.weight": torch.tensor([[4.0]])}
    masks = {name: weight != 0 for name, weight in weights.items()}
    there = Connections(weights=weights, masks=masks)
    lasso = GroupLasso(shrink=math.sqrt(9 + 9 + 16) / 2, units=Units(gates=1))
    moved, _ = lasso.follow(there, 1, {}, torch.Generator())
    # the recurrent weight stands in a row and in a column of its unit
    assert moved["weight_hh_l0"].item() == pytest.approx(0.75)
    assert moved["decoder.weight"].item() == pytest.approx(2.0)
