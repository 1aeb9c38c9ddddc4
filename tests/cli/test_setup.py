"""From options to the parts of a study: rounds by their settings, and what they refuse."""

import pytest

from lsh_native.cli.search import _planned
from lsh_native.cli.setup import RungSettings, RunningSettings, check_running, make_rounds
from lsh_native.search.extras import EXTRAS, require


def rounds(name, total=30, **rungs):
    return make_rounds(name, total, RungSettings(**rungs))


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("elimination", {"kind": "elimination", "first": 10, "every": None}),
        ("insertion", {"kind": "elimination", "first": 10, "insertions": 2}),
        ("halving", {"kind": "halving", "first": 10, "factor": 3}),
        ("asha", {"kind": "asha", "first": 4, "factor": 3}),
        ("hyperband", {"kind": "hyperband", "first": 4, "factor": 3}),
        ("full", {"kind": "full", "total": 30}),
    ],
)
def test_rounds_as_they_are(name, default):
    values = rounds(name).to_dict()
    assert values.items() >= {"total": 30, **default}.items()
    if name == "elimination":
        assert values["survivors"] == "half_and_one"


def test_settings_reach_the_rounds():
    elimination = rounds("elimination", first=3, every=2, survivors=0.5)
    assert [(r.epoch, r.kept) for r in elimination.plan(16)] == [(3, 8), (5, 4), (7, 2), (9, 1)]
    assert elimination.to_dict()["survivors"] == "share_0.5"
    assert rounds("elimination", survivors=0.29).survivors(100) == 29
    assert rounds("insertion", insertions=5).to_dict()["insertions"] == 5
    assert rounds("asha", first=2, eta=4).to_dict().items() >= {"first": 2, "factor": 4}.items()


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("elimination", {"eta": 4}, r"rungs.eta must be left to .*\(halving, asha, hyperband\)"),
        ("halving", {"insertions": 4}, r"rungs.insertions must be left to .*\(insertion\)"),
        ("full", {"first": 4}, r"rungs.first must be left to .* got it for full"),
        ("halving", {"first": 31}, "first <= total, got first 31, total 30"),
    ],
)
def test_rounds_refuse_what_they_do_not_read(name, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        rounds(name, **settings)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"eta": 1}, "rungs.eta must be at least 2, got 1"),
        ({"survivors": 1.0}, r"rungs.survivors must be a share in \(0, 1\), got 1.0"),
        ({"first": 0}, "rungs.first must be at least 1, got 0"),
    ],
)
def test_rungs_out_of_range(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        RungSettings(**setting)


class Planned:
    """As much of a study as a plan needs."""

    def __init__(self, rounds, candidates, seeds=1):
        self.rounds, self.candidates, self.seeds = rounds, candidates, seeds


@pytest.mark.parametrize("name", ["elimination", "insertion"])
def test_the_epochs_of_a_plan(name):
    made = rounds(name)
    assert _planned(Planned(made, 12)) == (30 + made.epochs(12), True)
    assert _planned(Planned(made, 12, seeds=3)) == (30 + 3 * made.epochs(12), True)


def test_the_epochs_of_brackets_and_of_rounds_without_a_plan():
    brackets = rounds("hyperband", total=9, first=1).plan(13)
    assert [(r.epoch, r.entering, r.kept) for r in brackets] == [(1, 7, 2), (3, 2, 1), (3, 4, 1)]
    # Of thirteen candidates two are the third bracket, which has no rung.
    assert _planned(Planned(rounds("hyperband", total=9, first=1), 13)) == (
        9 + (7 * 1 + 2 * 2 + 6) + (4 * 3 + 6) + 2 * 9,
        True,
    )
    assert _planned(Planned(rounds("asha"), 10)) == (30 + 300, False)
    assert _planned(Planned(rounds("full"), 10)) == (30 + 300, True)


def test_an_address_is_of_a_ray_cluster():
    with pytest.raises(ValueError, match="address must be that of a Ray cluster, got one for loc"):
        check_running(RunningSettings(address="10.0.0.1:6379"))
    with pytest.raises(ValueError, match="silence must be above 0 seconds, got 0"):
        check_running(RunningSettings(silence=0))


@pytest.mark.parametrize("name", ["workers", "threads"])
@pytest.mark.parametrize("executor", ["local", "inline"])
def test_no_worker_and_no_thread_is_not_taken_for_the_default(name, executor):
    with pytest.raises(ValueError, match=f"running.{name} must be at least 1, got 0"):
        check_running(RunningSettings(executor=executor, **{name: 0}))


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_that_is_missing_is_named(extra, monkeypatch):
    monkeypatch.setattr("lsh_native.search.extras.find_spec", lambda package: None)
    with pytest.raises(
        ValueError, match=rf"must be installed: pip install 'lsh-native\[{extra}\]'"
    ):
        require(extra)
