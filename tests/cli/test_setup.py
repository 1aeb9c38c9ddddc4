"""From options to the parts of a study: rounds by their settings, and what they refuse."""

import sys
from types import SimpleNamespace

import pytest
import torch

from lsh_native.cli.search import _planned
from lsh_native.cli.setup import (
    RungSettings,
    RunningSettings,
    check_running,
    make_executor,
    make_rounds,
    moved,
)
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


@pytest.mark.parametrize(
    ("settings", "readers"),
    [
        ({"address": "10.0.0.1:6379"}, r"\(ray\), got it for local"),
        ({"partition": "long"}, r"\(slurm\), got it for local"),
        ({"executor": "inline", "workers": 2}, r"\(local, ray, slurm\), got it for inline"),
        ({"executor": "inline", "silence": 9.0}, r"\(local, ray, slurm\), got it for inline"),
        ({"executor": "inline", "time_limit": 9.0}, r"\(local, ray, slurm\), got it for inline"),
    ],
)
def test_an_executor_refuses_what_it_does_not_read(settings, readers):
    *_, name = settings
    told = f"running.{name} must be left to executors that read it {readers}"
    with pytest.raises(ValueError, match=told):
        check_running(RunningSettings(**settings))


def test_on_another_executor_its_settings_stay_behind():
    begun = RunningSettings(executor="slurm", workers=3, threads=2, account="lab", silence=9.0)
    assert moved(begun, "slurm") == begun
    assert moved(begun, "local") == RunningSettings(workers=3, threads=2, silence=9.0)
    assert moved(begun, "inline") == RunningSettings(executor="inline", threads=2)


def test_slurm_is_told_where_jobs_wait_and_how_long_they_last(monkeypatch):
    made = SimpleNamespace(Slurm=lambda source, **options: options)
    monkeypatch.setitem(sys.modules, "lsh_native.search.executors.slurm", made)
    running = RunningSettings(executor="slurm", partition="long", account="lab", job_minutes=90)
    options = make_executor(running, {"folder": "study/trials"}, None)
    said = {"slurm_partition": "long", "slurm_account": "lab", "timeout_min": 90}
    assert said.items() <= options.items()
    bare = make_executor(RunningSettings(executor="slurm"), {"folder": "study/trials"}, None)
    assert not said.keys() & bare.keys()


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device cuda must have a GPU and kernels for it, but "):
        check_running(RunningSettings(device="cuda"))


def test_no_silence_is_refused():
    with pytest.raises(ValueError, match="silence must be above 0 seconds, got 0"):
        check_running(RunningSettings(silence=0))


@pytest.mark.parametrize(
    ("name", "executor"), [("workers", "local"), ("threads", "local"), ("threads", "inline")]
)
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
