"""A study through submitit, whose local cluster stands in for Slurm."""

import os

import pytest
from synthetic_runner import SyntheticRunner, make_study

from lsh_native.search.executors.job import RunnerSource
from lsh_native.search.result import read_result
from lsh_native.search.store import Store
from lsh_native.search.trial import State

submitit = pytest.importorskip("submitit")


def test_a_study_through_submitit(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    from lsh_native.search.executors.slurm import Slurm

    inline = tmp_path / "inline"
    inline.mkdir()
    with Store(inline / "study.db") as store:
        expected = make_study(store, SyntheticRunner(inline), candidates=2).run()
    source = RunnerSource(
        "synthetic_runner:make", {"folder": str(tmp_path), "accidents": {"1.2": "bug"}}
    )
    with Store(tmp_path / "study.db") as store:
        executor = Slurm(source, folder=tmp_path / "jobs", workers=3, cluster="local")
        study = make_study(store, None, executor=executor, candidates=2)
        study.run()
        lost, finished = store.trial(1), read_result(store).trials[1]
        assert (lost.state, lost.reason) == (State.FAILED, "KeyError: 'absent'")
        assert finished.best == expected.trials[1].best
    assert not list((tmp_path / "jobs").glob("messages-*"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of submitit's
@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"silence": 2}, "its worker gave no sign of life for 2 s"),
        ({"time_limit": 2}, "it took longer than the limit of 2 s"),
    ],
)
def test_a_job_that_never_answers_costs_its_trial(tmp_path, monkeypatch, limit, reason):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    from lsh_native.search.executors.slurm import Slurm

    source = RunnerSource(
        "synthetic_runner:make", {"folder": str(tmp_path), "accidents": {"2.1": "hang"}}
    )
    with Store(tmp_path / "study.db") as store:
        executor = Slurm(source, folder=tmp_path / "jobs", workers=3, cluster="local", **limit)
        study = make_study(store, None, executor=executor, candidates=2)
        assert study.run(retries=0).best.trial.number == 1
        assert (store.trial(2).state, store.trial(2).reason) == (State.FAILED, reason)
