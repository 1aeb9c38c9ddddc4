"""Candidates that are written differently and are the same, and spaces of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.pruning import catalogue
from lsh_native.search.candidate import ACTIVE, NAMES, Candidate
from lsh_native.search.interval import Interval
from lsh_native.search.space import Space

EVERYTHING = Space(method=tuple(ACTIVE), grow=("random", "gradient"))
CONTINUOUS = Space(drop_fraction=Interval(low=0.3, high=0.9))
CONDITIONAL = Space(
    method=("dynamic", "rigl", "gradual_magnitude"),
    density=Interval(low=0.2, high=0.5),
    learning_rate=Interval(low=1, high=40, log=True),
    batch_size=Interval(low=10, high=40, integer=True),
    controls={
        "rigl": {"drop_fraction": Interval(low=0.1, high=0.5), "every": (50, 100)},
        "gradual_magnitude": {"drop": ("magnitude", "global_magnitude")},
    },
)

WINNER = Candidate(
    initial="erdos_renyi",
    drop="global_magnitude",
    grow="random",
    redistribute="nonzeros",
    drop_fraction=0.7,
)


def test_the_published_space_has_144_candidates():
    space = Space()
    assert len(space) == 2 * 4 * 1 * 3 * 6 == 144
    assert len(set(space)) == len({candidate.identity for candidate in space}) == 144
    assert WINNER in space


def test_the_names_are_those_of_the_catalogue():
    assert set(ACTIVE) == set(NAMES["method"]) == set(catalogue.METHODS)
    published = catalogue.PUBLISHED_SPACE
    assert {name: getattr(Space(), name) for name in published} == published


@pytest.mark.parametrize("method", list(ACTIVE))
def test_the_catalogue_makes_every_candidate(method):
    for candidate in Space(method=(method,)):
        controls = candidate.to_dict()
        if "every" in catalogue.needed_controls(controls.pop("method")):
            controls["every"] = 100
        catalogue.method(method, **controls)


def test_inactive_fields_are_fixed():
    static = Candidate(method="static", initial="uniform", drop="set", drop_fraction=0.4)
    assert static == Candidate(method="static", initial="uniform")
    assert static.identity == Candidate(method="static", initial="uniform").identity
    assert static.to_dict() == {"method": "static", "initial": "uniform"}
    assert str(static) == "static uniform"


def test_identity_is_stable():
    # A store holds these digits; a change orphans every study there is.
    assert WINNER.identity == "917bb3ccca9f3bd7"
    assert Candidate(method="static", initial="uniform").identity == "2dead081e77e5e53"


def test_fractions_are_canonical():
    values = WINNER.to_dict()
    assert Candidate.from_dict({**values, "drop_fraction": 0.1 * 7}).identity == WINNER.identity
    assert Space(drop_fraction=(0.9, 0.1 * 3)).drop_fraction == (0.3, 0.9)


def test_a_space_of_several_methods():
    space = Space(method=("static", "dynamic", "gradual_magnitude"))
    assert len(space) == len(list(space)) == 2 + 144 + 1
    assert Candidate(method="rigl", initial="uniform") not in space
    assert Candidate(method="static", initial="erdos_renyi_kernel") not in space


@pytest.mark.parametrize("space", [Space(), EVERYTHING])
def test_encoding_is_one_to_one(space):
    cube = space.cube()
    points = set()
    for candidate in space:
        point = space.encode(candidate)
        assert point.keys() == cube.keys()
        for name, value in point.items():
            assert 0 <= value <= 1 if cube[name] == (0.0, 1.0) else value in cube[name]
        assert space.decode(point) == candidate
        points.add(tuple(point.values()))
    assert len(points) == len(space)


def test_what_a_method_can_be_told_is_active_with_it():
    space = Space(
        method=("static", "rigl"), density=(0.2, 0.4), controls={"rigl": {"every": (50, 100)}}
    )
    assert len(space) == len(set(space)) == 2 * 2 + 2 * 2 * 2
    told = Candidate.from_dict(
        {"method": "rigl", "initial": "uniform", "density": 0.2, "every": 50}
    )
    assert told in space
    assert told.controls == (("every", 50),)
    assert str(told) == "rigl uniform density 0.2 every 50"
    assert Candidate.from_dict(told.to_dict()) == told
    assert {told.identity} & {c.identity for c in space}
    assert Candidate(method="rigl", initial="uniform", density=0.2) not in space
    assert space.encode(told) != space.encode(replace(told, controls=(("every", 100),)))


def test_a_single_choice_has_no_dimension():
    assert "grow" not in Space().cube()
    assert Space().cube()["drop_fraction"] == (0.0, 1.0)
    assert Space(drop_fraction=(0.5,)).cube().keys() == {"initial", "drop", "redistribute"}


def test_decode_takes_the_nearest_choice():
    point = {**Space().encode(WINNER), "drop_fraction": 0.51}
    assert Space().decode(point).drop_fraction == 0.7
    assert Space().decode({**point, "drop_fraction": 0.0}).drop_fraction == 0.4


@given(seed=st.integers(0, 2**32 - 1))
def test_draws_lie_in_the_space_and_survive_json(seed):
    for space in (Space(), EVERYTHING, CONTINUOUS, CONDITIONAL):
        candidate = space.draw(np.random.default_rng(seed))
        assert candidate in space
        assert space.neighbour(candidate, np.random.default_rng(seed)) in space
        decoded, point = space.decode(space.encode(candidate)), space.encode(candidate)
        assert decoded.to_dict() == pytest.approx(candidate.to_dict())
        assert point.keys() == space.cube().keys()
        assert Candidate.from_dict(json.loads(json.dumps(candidate.to_dict()))) == candidate


@given(low=st.floats(1e-4, 1), ratio=st.floats(1.01, 1e4), unit=st.floats(0, 1), log=st.booleans())
def test_intervals_invert(low, ratio, unit, log):
    interval = Interval(low=low, high=low * ratio, log=log)
    value = interval.from_unit(unit)
    assert value in interval
    assert interval.to_unit(value) == pytest.approx(unit, abs=1e-9)


def test_the_middle_of_a_log_interval_is_geometric():
    assert Interval(low=1, high=100, log=True).from_unit(0.5) == pytest.approx(10)


@pytest.mark.parametrize("space", [Space(), EVERYTHING, CONTINUOUS, CONDITIONAL])
def test_spaces_survive_json(space):
    assert Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space


@given(seed=st.integers(0, 2**32 - 1))
def test_a_neighbour_differs_in_one_field(seed):
    generator = np.random.default_rng(seed)
    candidate = Space().draw(generator)
    near = Space().neighbour(candidate, generator)
    assert len(near.to_dict().items() - candidate.to_dict().items()) == 1
    assert near.to_dict().keys() == candidate.to_dict().keys()


def test_an_interval_cannot_be_counted():
    assert not CONTINUOUS.finite
    assert Space(method=("static",), drop_fraction=Interval(low=0.1, high=0.2)).finite
    with pytest.raises(ValueError, match="must list all choices"):
        len(CONTINUOUS)
    with pytest.raises(ValueError, match=r"got drop_fraction = Interval"):
        next(iter(CONTINUOUS))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "lottery"}, "method must be one of .*dynamic, .*, got 'lottery'"),
        ({"drop": "largest"}, "drop must be one of magnitude, set, .*, got 'largest'"),
        ({"drop": None}, "a dynamic candidate must have drop, got None"),
        ({"drop_fraction": 1.3}, r"drop_fraction must be in \[0, 1\), got 1.3"),
        ({"drop_fraction": float("nan")}, r"drop_fraction must be in \[0, 1\), got nan"),
        ({"death_rate": 0.5}, "controls of dynamic must be of .*, got death_rate"),
    ],
)
def test_bad_candidates(values, message):
    with pytest.raises(ValueError, match=message):
        Candidate.from_dict({**WINNER.to_dict(), **values})


def test_a_fraction_is_a_number():
    with pytest.raises(TypeError, match=r"drop_fraction must be a number, got '0\.5'"):
        Candidate.from_dict({**WINNER.to_dict(), "drop_fraction": "0.5"})
    with pytest.raises(TypeError, match="drop_fraction must be a number, got True"):
        Candidate.from_dict({**WINNER.to_dict(), "drop_fraction": True})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"drop": []}, "drop must list distinct choices, at least one"),
        ({"drop": ["set", "set"]}, "drop must list distinct choices"),
        ({"grow": ["momentum"]}, "grow must be one of random, gradient, .*, got 'momentum'"),
        ({"drop_fraction": [0.5, 1.0]}, r"drop_fraction must be in \[0, 1\), got 1.0"),
        ({"drop_fraction": {"low": 0.5, "high": 1.5}}, r"drop_fraction.high must be in \[0, 1\)"),
        ({"drop_fraction": {"low": 0.5, "high": 0.5}}, "finite low < high, got 0.5 and 0.5"),
        ({"drop_fraction": {"low": 0, "high": 0.5, "log": True}}, "low > 0, got 0"),
        ({"drop_fraction": {"from": 0}}, "an? interval must have only the fields"),
        ({"sparsity": [0.5]}, "a space must have only the fields .*, got sparsity"),
        ({"density": [0.0, 0.5]}, r"density must be in \(0, 1\], got 0.0"),
        ({"batch_size": {"low": 5, "high": 9}}, "batch_size must be searched over whole numbers"),
        ({"batch_size": [20.5]}, "batch_size must be a whole number of at least 1, got 20.5"),
        ({"controls": {"rigl": {"every": [5]}}}, "must be of a method of the space, dynamic, got"),
        ({"controls": {"dynamic": {"drop": ["set"]}}}, "controls must leave drop to the field"),
        ({"controls": {"dynamic": {"speed": [5]}}}, "controls of dynamic must be of .*, got speed"),
        ({"controls": {"dynamic": {"every": [0]}}}, "every must be"),
    ],
)
def test_bad_spaces(values, message):
    with pytest.raises(ValueError, match=message):
        Space.from_dict(values)


def test_choices_are_lists():
    with pytest.raises(TypeError, match="drop must be a list of choices, got 'set'"):
        Space(drop="set")
    with pytest.raises(TypeError, match="drop must be a list of names"):
        Space(drop=Interval(low=0, high=1))


def test_only_members_can_be_encoded():
    with pytest.raises(ValueError, match="must lie in the space, got static uniform"):
        Space().encode(Candidate(method="static", initial="uniform"))


def test_extremes_differ_in_one_field_and_hold_every_name_and_end():
    space = Space(
        method=("dynamic", "static"), batch_size=(4, 8, 16), density=Interval(low=0.1, high=0.5)
    )
    found = list(space.extremes())
    assert all(candidate in space for candidate in found)
    first, *others = [c.to_dict() for c in found if c.method == "dynamic"]
    assert all(sum(first[n] != other[n] for n in first) == 1 for other in others)
    seen = {value for c in (first, *others) for value in c.values()}
    assert {"uniform", "threshold", "nonzeros", 0.4, 0.9, 4, 16, 0.1, 0.5} <= seen
    assert 8 not in seen
