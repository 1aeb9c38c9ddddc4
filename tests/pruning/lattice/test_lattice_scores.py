"""Persistence, strict variants, unit and connection scores: by hand, symmetries, refusals."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from lsh_native.pruning.lattice import (
    AllOrNothingWarning,
    CyclicError,
    Irreducible,
    LatticeScore,
    Wire,
    density,
    irreducible_units,
    log_density,
    magnitude,
    persistence,
    unit_ranks,
    wiring,
)

NAMES = {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 4), "weight_ih_l1": (4, 4), "head": (5, 4)}

weights = st.tuples(st.integers(0, 8), st.integers(0, 8)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-6, 6))
)


# ------------------------------------------------------------------------------------- persistence


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (magnitude, [1.0, 0.8, 0.0]),
        (density, [1.0, 0.8, 0.0]),  # four of five entries are at least 1
        (log_density, [1.0, np.log(5) / np.log(6), 0.0]),
    ],
)
def test_persistence_by_hand(measure, expected):
    """Above 0.2 both first columns stand alone; below it the second one is full."""
    strengths = np.array([[1.0, 0.2, -1.0], [0.0, 1.0, 1.0]])
    assert persistence(strengths, measure=measure) == pytest.approx(expected, abs=1e-12)


@given(weights)
def test_persistence_by_definition(strengths):
    expected = np.zeros(strengths.shape[1])
    values = [0.0, *np.unique(np.abs(strengths[strengths != 0]))]
    for lower, value in pairwise(values):
        columns = (np.abs(strengths) >= value).T
        for m, column in enumerate(columns):
            larger = [c for c in columns if (c >= column).all() and (c > column).any()]
            meet = np.all(larger, axis=0) if larger else np.ones_like(column)
            if column.any() and not np.array_equal(meet, column):
                expected[m] += (value - lower) / values[-1]
    np.testing.assert_allclose(persistence(strengths, measure=magnitude, cuts=None), expected)


@given(weights, st.sampled_from([None, 3]), st.randoms())
def test_persistence_does_not_see_names_signs_or_scales(strengths, cuts, random):
    objects, attributes = (np.array(random.sample(range(n), n), dtype=int) for n in strengths.shape)
    score = persistence(strengths, cuts=cuts)
    assert np.array_equal(
        persistence(strengths[np.ix_(objects, attributes)], cuts=cuts), score[attributes]
    )
    signs = np.where(np.arange(strengths.size).reshape(strengths.shape) % 3, 1, -1)
    assert np.array_equal(persistence(strengths * signs, cuts=cuts), score)
    assert np.array_equal(persistence(np.expm1(np.abs(strengths)), cuts=cuts), score)
    assert (score >= 0).all()
    assert (score <= 1 + 1e-12).all()


def test_fewer_cuts_come_near_all():
    strengths = np.random.default_rng(0).random((60, 60)) ** 4
    exact = persistence(strengths, cuts=None)
    assert np.abs(persistence(strengths, cuts=64) - exact).max() < 0.05
    assert np.abs(persistence(strengths, cuts=512) - exact).max() < 0.01


def test_persistence_of_bools_is_irreducibility():
    context = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], dtype=bool)
    assert persistence(context).tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("given_weights", "error", "message"),
    [
        (np.array([[np.nan]]), ValueError, "weights must be finite, got nan"),
        (np.array([[np.inf]]), ValueError, "weights must be finite, got inf"),
        (np.zeros(3), ValueError, r"must have two dimensions, got shape \(3,\)"),
        (np.zeros((2, 2), dtype=int), TypeError, "must be bool or floating-point, got int64"),
    ],
)
def test_persistence_refuses(given_weights, error, message):
    with pytest.raises(error, match=message):
        persistence(given_weights)


def test_persistence_refuses_no_cuts():
    with pytest.raises(ValueError, match="cuts must be at least 1, got 0"):
        persistence(np.eye(2), cuts=0)


# --------------------------------------------------------------------------------- strict variants


def test_a_funnel_in_three_lattices():
    """0 and 1 feed 2 and 3 feed 4; 5 stands alone."""
    relation = np.zeros((6, 6), dtype=bool)
    relation[[0, 0, 1, 2, 3], [2, 3, 3, 4, 4]] = True
    assert np.flatnonzero(irreducible_units(relation, lattice="macneille")).tolist() == [1, 2, 3, 4]
    relation[4, 2] = True  # 2 and 4 become one
    kept = irreducible_units(relation, lattice="condensation")
    assert np.flatnonzero(kept).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(CyclicError, match="elements 2 and 4 reach each other; condensation"):
        irreducible_units(relation, lattice="macneille")
    kept = irreducible_units(relation, lattice="context")
    assert np.flatnonzero(kept).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("lattice", "of_pairs", "kept"), [("context", 0.25, "all"), ("condensation", 0.25, "none")]
)
def test_warns_where_a_lattice_tells_nothing(lattice, of_pairs, kept):
    relation = np.random.default_rng(0).random((128, 128)) < of_pairs
    with pytest.warns(AllOrNothingWarning, match=f"'{lattice}' keeps {kept} of 128 units"):
        irreducible_units(relation, lattice=lattice)


def test_strict_variants_do_not_see_names():
    random = np.random.default_rng(0)
    shuffle = random.permutation(40)
    relation = random.random((40, 40)) < 0.04
    for lattice, given_relation in (
        ("context", relation),
        ("condensation", relation),
        ("macneille", np.triu(relation, 1)),
    ):
        kept = irreducible_units(given_relation, lattice=lattice)
        assert 0 < kept.sum() < 40
        shuffled = given_relation[np.ix_(shuffle, shuffle)]
        assert np.array_equal(irreducible_units(shuffled, lattice=lattice), kept[shuffle])


def test_units_without_connections_are_not_kept():
    with pytest.warns(AllOrNothingWarning, match="keeps none of 3 units"):
        irreducible_units(np.zeros((3, 3), dtype=bool), lattice="macneille")


def test_one_cut_keeps_the_strongest():
    strengths = np.array([[0.9, 0.1, 0.0], [0.8, 0.0, 0.7]])
    assert Irreducible(density=0.5)(strengths).tolist() == [0.0, 0.0, 1.0]  # 0 is full, 1 empty
    assert Irreducible(density=1.0)(np.zeros((2, 2))).tolist() == [0.0, 0.0]


def test_refuses_lattices_and_densities():
    with pytest.raises(ValueError, match="lattice must be one of macneille, context, condensation"):
        irreducible_units(np.eye(2, dtype=bool), lattice="ideals")
    with pytest.raises(ValueError, match="lattice must be one of"):
        Irreducible(density=0.5, lattice="ideals")
    for wrong in (0.0, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"density must be in \(0, 1\]"):
            Irreducible(density=wrong)


# ------------------------------------------------------------------------- units and connections


def test_ranks_by_hand():
    ranks = unit_ranks(
        np.zeros((1, 4)),
        irreducibility=lambda _: np.array([2.0, 1.0, 2.0, 1.0]),
        centrality=lambda _: np.array([5.0, 9.0, 7.0, 9.0]),
    )
    assert ranks == pytest.approx([2 / 3, 1 / 3, 1, 1 / 3])


def test_wiring_of_a_stack():
    wires = wiring(NAMES)
    assert wires["weight_ih_l0"] == Wire(source="layer -1", target="layer 0", gates=2)
    assert wires["weight_hh_l0"] == Wire(source="layer 0", target="layer 0", gates=2)
    assert wires["weight_ih_l1"] == Wire(source="weight_ih_l1 in", target="weight_ih_l1 out")
    both = wiring({**NAMES, "weight_hh_l1": (4, 4), "weight_fb_l0": (8, 4)})
    assert both["weight_ih_l1"] == Wire(source="layer 0", target="layer 1")
    assert both["weight_fb_l0"] == Wire(source="layer 1", target="layer 0", gates=2)
    assert wiring({"a.weight_hh_l0": (2, 2)})["a.weight_hh_l0"].target == "a.layer 0"
    highway = wiring({"weight_ih_l0": (6, 2), "weight_hh_l0_d0": (6, 3), "weight_hh_l0_d1": (6, 3)})
    assert highway["weight_hh_l0_d1"] == Wire(source="layer 0", target="layer 0", gates=2)
    both_ways = wiring(
        {
            "weight_ih_l0_reverse": (8, 3),
            "weight_hh_l0_reverse": (8, 4),
            "weight_hh_l0": (8, 4),
            "weight_ih_l1": (8, 8),
            "weight_hh_l1": (8, 4),
        }
    )
    assert both_ways["weight_ih_l0_reverse"].target == "layer 0_reverse"
    assert both_ways["weight_ih_l1"] == Wire(source="weight_ih_l1 in", target="layer 1", gates=2)
    apart = wiring({"weight_hh_l0[0]": (3, 3), "weight_hh_l0[1]": (3, 3)})
    assert apart["weight_hh_l0[1]"] == Wire(source="layer 0", target="layer 0")


def test_wiring_of_a_projection():
    layer = nn.LSTM(3, 8, 2, bias=False, proj_size=3)  # 4 · 8 rows are no multiple of 3
    sizes = {name: tuple(weight.shape) for name, weight in layer.named_parameters()}
    wires = wiring(sizes)
    assert wires["weight_ih_l0"] == Wire(source="layer -1", target="layer 0 cells", gates=4)
    assert wires["weight_hh_l0"] == Wire(source="layer 0", target="layer 0 cells", gates=4)
    assert wires["weight_hr_l0"] == Wire(source="layer 0 cells", target="layer 0")
    assert wires["weight_ih_l1"] == Wire(source="layer 0", target="layer 1 cells", gates=4)
    random = np.random.default_rng(0)
    matrices = {name: random.random(size) for name, size in sizes.items()}
    for gates in (np.max, None):
        scores = LatticeScore(gates=gates).connections(matrices, wires)
        assert {name: score.shape for name, score in scores.items()} == sizes


def test_wiring_refuses():
    with pytest.raises(ValueError, match=r"those of matrices, kernel has shape \(2, 2, 3\)"):
        wiring({"kernel": (2, 2, 3)})
    with pytest.raises(ValueError, match="weight_ih_l0 must have a multiple of 4 rows, got 6"):
        wiring({"weight_hh_l0": (8, 4), "weight_ih_l0": (6, 3)})


def test_unit_scores_join_all_matrices_by_hand():
    """Strength alone, one gate: unit 1 is fed most, unit 0 feeds most."""
    score = LatticeScore(irreducibility=lambda strengths: np.zeros(strengths.shape[1]))
    matrices = {
        "weight_ih_l0": np.array([[1.0], [2.0]]),
        "weight_hh_l0": np.array([[1.0, 2], [4, 0]]),
    }
    wires = wiring({name: matrix.shape for name, matrix in matrices.items()})
    units = score.units(matrices, wires)
    fed, fed_back, feeding = [0.5, 1.0], [0.5, 1.0], [1.0, 0.5]
    assert units["layer 0", 0] == pytest.approx(np.mean([fed, fed_back, feeding], axis=0))
    assert units["layer -1", 0] == [1.0]
    connections = score.connections(matrices, wires)["weight_hh_l0"]
    # 0 to 1 and 1 to 0 have the same ends, so |w| decides
    assert connections == pytest.approx(np.array([[0.25, 0.5], [0.75, 1.0]]))


SCORES = {
    "lattice alone": LatticeScore(),
    "with magnitude": LatticeScore(power=1.0, ends=np.minimum, join=np.min),
    "gate by gate": LatticeScore(gates=None),
    "one cut": LatticeScore(irreducibility=Irreducible(density=0.1)),
}


def random_matrices(seed):
    random = np.random.default_rng(seed)
    return {name: random.gamma(1.0, size=shape) for name, shape in NAMES.items()}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_connection_scores_follow_a_renaming_of_units(score):
    matrices = random_matrices(0)
    wires = wiring(NAMES)
    shuffle = np.random.default_rng(1).permutation(4)
    rows = np.concatenate([shuffle, 4 + shuffle])
    renamed = matrices | {
        "weight_ih_l0": matrices["weight_ih_l0"][rows],
        "weight_hh_l0": matrices["weight_hh_l0"][np.ix_(rows, shuffle)],
    }
    scores, of_renamed = score.connections(matrices, wires), score.connections(renamed, wires)
    assert np.array_equal(of_renamed["weight_ih_l0"], scores["weight_ih_l0"][rows])
    assert np.array_equal(of_renamed["weight_hh_l0"], scores["weight_hh_l0"][np.ix_(rows, shuffle)])
    assert np.array_equal(of_renamed["head"], scores["head"])


def test_a_gate_of_its_own_is_scored_on_its_own():
    matrices, wires = random_matrices(0), wiring(NAMES)
    units = LatticeScore(gates=None).units(matrices, wires)
    first = {name: matrix[: len(matrix) // wires[name].gates] for name, matrix in matrices.items()}
    alone = LatticeScore(gates=None).units(first, wiring({n: m.shape for n, m in first.items()}))
    assert np.array_equal(units["target layer 0", 0], alone["target layer 0", 0])
    assert not np.array_equal(units["target layer 0", 0], units["target layer 0", 1])
