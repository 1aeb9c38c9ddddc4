"""Names to methods, and what is said to a wrong one."""

import re
from dataclasses import fields
from itertools import product
from pathlib import Path

import pytest

from lsh_native import pruning
from lsh_native.pruning import METHODS, PUBLISHED_SPACE, CosineDrop, method
from lsh_native.pruning.criterion import global_magnitude, gradient_growth, magnitude, random_growth
from lsh_native.pruning.redistribution import keep_counts, nonzeros
from lsh_native.pruning.schedule import Never
from lsh_native.sparsity import mask
from lsh_native.sparsity.mask import erdos_renyi, erdos_renyi_kernel

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "pruning.md"


@pytest.mark.skipif(not GUIDE.is_file(), reason="needs the source tree")
def test_the_guide_names_what_there_is():
    rows = re.findall(r"^\| (`.*?) \|.*?\| (.*) \|$", GUIDE.read_text("utf-8"), re.MULTILINE)
    slots = {row[0].strip("`"): re.findall(r"`([A-Za-z]\w*)", row[1]) for row in rows[:9]}
    home = {"initial": mask}
    assert all(
        hasattr(home.get(slot, pruning), name)
        for slot, names in slots.items()
        for name in names
        if (slot, name) != ("shrink", "drop")
    )
    assert slots.keys() == {slot.name for slot in fields(pruning.PruningMethod)}
    listed = {name for row in rows[9:] for name in re.findall(r"`(\w+)`", row[0])}
    assert listed == METHODS.keys()


def test_dynamic():
    made = method(
        "dynamic",
        initial="erdos_renyi",
        drop="global_magnitude",
        redistribute="nonzeros",
        drop_fraction=0.7,
        every=1327,
    )
    assert made.initial is erdos_renyi
    assert made.drop is global_magnitude
    assert made.grow is random_growth
    assert made.redistribute is nonzeros
    assert made.schedule == CosineDrop(initial=0.7, final=0.005, every=1327, until=1.0)


def test_rigl():
    made = method("rigl")
    assert made.initial is erdos_renyi_kernel
    assert (made.drop, made.grow, made.redistribute) == (magnitude, gradient_growth, keep_counts)
    assert made.schedule == CosineDrop(initial=0.3, final=0.0, every=100, until=0.75)
    assert made.needs_gradient


def test_static_and_gradual_magnitude():
    assert method("static").schedule == Never()
    gradual = method("gradual_magnitude", every=10, until=100)
    assert gradual.grow is None
    assert gradual.over(None).schedule.density(0, 0.2) == 1


def test_the_published_space_has_144_points_and_all_are_methods():
    points = [
        method("dynamic", every=10, **dict(zip(PUBLISHED_SPACE, values, strict=True)))
        for values in product(*PUBLISHED_SPACE.values())
    ]
    assert len({str(point.describe()) for point in points}) == 144


@pytest.mark.parametrize(
    ("name", "controls", "message"),
    [
        (
            "rigel",
            {},
            "method must be one of dense, static, dynamic, .*, rigl, .*, got 'rigel'",
        ),
        (
            "static",
            {"drop": "set"},
            "controls of static must be of initial, first, structure, got drop",
        ),
        ("dynamic", {}, "method dynamic must be told every"),
        (
            "dynamic",
            {"every": 1, "drop": "SET"},
            "drop must be one of magnitude, set, .*, got 'SET'",
        ),
        ("dynamic", {"every": 1, "grow": "momentum"}, "grow must be one of random, gradient"),
        ("dynamic", {"every": 1, "redistribute": 3}, "redistribute must be one of none, magnitude"),
        (
            "dynamic",
            {"every": 1, "redistribute": []},
            "redistribute must be one of none, magnitude",
        ),
        ("static", {"initial": "er"}, "initial must be one of uniform, erdos_renyi, erdos_renyi_k"),
        ("gradual_magnitude", {"drop": "threshold"}, "one of magnitude, set, global_magnitude"),
        ("dynamic", {"every": 1, "drop_fraction": 1.3}, r"drop fraction must be in \[0, 1\)"),
    ],
)
def test_refuses(name, controls, message):
    with pytest.raises(ValueError, match=message):
        method(name, **controls)


def test_catalogue_is_read_only():
    with pytest.raises(TypeError):
        METHODS["mine"] = METHODS["static"]
