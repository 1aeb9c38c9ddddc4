"""When, and how much."""

import math

import pytest

from lsh_native.pruning.course import Cosine, Cubic, Linear, Pieces, at
from lsh_native.pruning.schedule import (
    CosineDrop,
    CubicDensity,
    Never,
    Once,
    Periodic,
    Rounds,
    Updates,
)


def due(schedule, steps):
    return [step for step in range(steps + 1) if schedule.due(step)]


def test_never():
    schedule = Never().over(None)
    assert due(schedule, 100) == []
    assert schedule.drop_fraction(5) == 0
    assert schedule.density(5, 0.3) == 0.3


def test_cosine_by_hand():
    schedule = CosineDrop(initial=0.8, final=0.2, every=10, until=40)
    assert due(schedule, 60) == [10, 20, 30]
    assert schedule.drop_fraction(0) == pytest.approx(0.8)
    assert schedule.drop_fraction(20) == pytest.approx(0.5)
    assert schedule.drop_fraction(10) == pytest.approx(0.2 + 0.6 * (1 + math.sqrt(0.5)) / 2)
    assert schedule.drop_fraction(40) == schedule.drop_fraction(400) == pytest.approx(0.2)
    assert schedule.density(20, 0.33) == 0.33


def test_cosine_from_a_later_start():
    schedule = CosineDrop(initial=0.8, final=0.2, every=10, begin=1, until=41)
    assert due(schedule, 60) == [11, 21, 31]
    assert schedule.drop_fraction(21) == pytest.approx(0.5)


def test_cubic_by_hand():
    schedule = CubicDensity(initial=1.0, every=4, begin=2, until=12)
    assert due(schedule, 30) == [6, 10, 12]
    assert schedule.density(0, 0.2) == schedule.density(2, 0.2) == 1.0
    assert schedule.density(7, 0.2) == pytest.approx(0.2 + 0.8 / 8)
    assert schedule.density(12, 0.2) == schedule.density(99, 0.2) == 0.2
    assert schedule.drop_fraction(6) == 0


def test_shares_become_steps():
    schedule = CubicDensity(every=4, begin=0.1, until=0.75).over(1000)
    assert (schedule.begin, schedule.until) == (100, 750)
    assert CosineDrop(initial=0.5, every=4).over(30).until == 30
    assert CosineDrop(initial=0.5, every=4, until=20).over(None).until == 20


def test_shares_need_the_number_of_steps():
    schedule = CosineDrop(initial=0.5, every=4)
    with pytest.raises(ValueError, match=r"steps must be given where a moment is a share, 1\.0"):
        schedule.over(None)
    for use in (schedule.due, schedule.drop_fraction):
        with pytest.raises(ValueError, match=r"shares must be made steps by over\(\) first"):
            use(4)


def test_cubic_refuses_to_rise():
    with pytest.raises(ValueError, match=r"at most the initial one, got 0\.6 and 0\.5"):
        CubicDensity(initial=0.5, every=1, until=9).density(3, 0.6)


@pytest.mark.parametrize("steps", [0, -5])
@pytest.mark.parametrize("schedule", [Never(), CosineDrop(initial=0.5, every=4)])
def test_refuses_trainings_without_steps(schedule, steps):
    with pytest.raises(ValueError, match=f"steps must be at least 1, got {steps}"):
        schedule.over(steps)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every": 0}, "every must be an int of at least 1 step, got 0"),
        ({"every": 2.5}, "every must be an int of at least 1 step, got 2.5"),
        ({"every": True}, "every must be an int of at least 1 step, got True"),
        ({"until": 1.5}, r"until must be an int of steps or a share in \[0.0, 1.0\], got 1.5"),
        ({"until": math.nan}, "until must be an int of steps or a share"),
        ({"begin": -1}, "begin must be an int of steps or a share"),
        ({"begin": "0"}, "begin must be an int of steps or a share"),
        ({"begin": 5, "until": 5}, "begin must be before until, got 5 and 5"),
        ({"begin": 0.5, "until": 0.2}, r"begin must be before until, got 0\.5 and 0\.2"),
    ],
)
def test_refuses_moments(values, message):
    with pytest.raises(ValueError, match=message):
        Periodic(**{"every": 1} | values)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.3, math.nan])
def test_refuses_fractions(fraction):
    with pytest.raises(
        ValueError, match=rf"initial drop fraction must be in \[0, 1\), got {fraction}"
    ):
        CosineDrop(initial=fraction, every=1)
    with pytest.raises(ValueError, match=r"final drop fraction must be in \[0, 1\)"):
        CosineDrop(initial=0.5, final=fraction, every=1)


@pytest.mark.parametrize("density", [-0.1, 1.1, math.nan])
def test_refuses_densities(density):
    with pytest.raises(ValueError, match=rf"initial density must be in \[0, 1\], got {density}"):
        CubicDensity(initial=density, every=1)


def test_a_fraction_and_a_density_together():
    schedule = Updates(fraction=Linear(0.8, 0.0), density_at_begin=1.0, every=4, until=10).over(20)
    assert due(schedule, 20) == [4, 8, 10]
    assert schedule.drop_fraction(5) == pytest.approx(0.4)
    assert schedule.drop_fraction(8) == pytest.approx(0.16)
    assert schedule.drop_fraction(10) == 0
    assert schedule.density(5, 0.2) == pytest.approx(0.2 + 0.8 / 8)
    assert schedule.density(10, 0.2) == 0.2
    assert Updates(fraction=0.3, every=4, until=10).density(5, 0.2) == 0.2


def test_once_and_rounds():
    once = Once(moment=0.5).over(10)
    assert due(once, 10) == [5]
    assert (once.density(4, 0.2), once.density(5, 0.2)) == (1.0, 0.2)
    assert Once(moment=0.0).over(10).moment == 1
    rounds = Rounds(keep=0.5, every=3, until=20).over(30)
    assert due(rounds, 30) == [3, 6, 9, 12, 15, 18]
    assert [rounds.density(step, 0.2) for step in (0, 3, 5, 6, 9, 25)] == [1, 0.5, 0.5, 0.25] + [
        0.2
    ] * 2


def test_courses():
    assert [Linear(1, 3)(p) for p in (0, 0.5, 1)] == [1, 2, 3]
    assert [Cosine(1, 0)(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [Cubic(1, 0.2)(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.3, 0.2])
    steps = Pieces((0.5, 3.0), (1.0, 1.0))
    assert [steps(p) for p in (0, 0.5, 0.6, 1)] == [3, 3, 1, 1]
    assert (at(0.5, 0.9), at(Linear(0, 1), 0.9)) == (0.5, 0.9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pieces((0.5, 1.0)), r"shares must ascend from above 0 to 1, got \[0.5\]"),
        (lambda: Pieces((0.7, 1.0), (0.2, 1.0)), "shares must ascend"),
        (lambda: at(math.nan, 0.0), "hyper-parameter must be finite, got nan at progress 0.0"),
        (lambda: Updates(fraction=Linear(0.5, 1.0), every=1), r"fraction must be in \[0, 1\), got"),
        (lambda: Updates(density_at_begin=2.0, every=1), "initial density must be in"),
        (lambda: Once(moment=1.5), "moment must be an int of steps or a share"),
        (lambda: Rounds(keep=1.0, every=1), r"keep must be in \(0, 1\), got 1.0"),
    ],
)
def test_refuses_courses_and_schedules(make, message):
    with pytest.raises(ValueError, match=message):
        make()
