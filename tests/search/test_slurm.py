"""A study through submitit, whose local cluster stands in for Slurm."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from synthetic_runner import SyntheticRunner, make_study

from lsh_native.search.executors.job import (
    EpochMeasured,
    Faulted,
    Job,
    RunnerSource,
    Started,
)
from lsh_native.search.result import read_result
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.trial import State, Trial

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


def epochs_of(path):
    return path.read_text().count("EpochMeasured") if path.exists() else 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of submitit's
@pytest.mark.parametrize("stop", ["finish", "kill"])
def test_jobs_end_with_their_coordinator_or_with_the_next_one(tmp_path, monkeypatch, stop):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    from lsh_native.search.executors.slurm import Slurm

    cancelled = []

    def cancel(job, check=True):  # as scancel does, whoever has submitted the job
        cancelled.append(job.job_id)
        with suppress(ProcessLookupError):
            os.kill(int(job.job_id), signal.SIGINT)

    monkeypatch.setattr(submitit.LocalJob, "cancel", cancel)
    source = RunnerSource("synthetic_runner:make", {"folder": str(tmp_path), "pause": 0.5})
    candidate = next(iter(Space()))
    job = Job(trial=Trial(number=1, candidate=candidate, seed=0), until=20)
    first = Slurm(source, folder=tmp_path / "jobs", workers=2, cluster="local")
    first.submit(job)
    (followed,) = first._running
    while epochs_of(followed.path) < 2:
        time.sleep(0.05)
    if stop == "finish":
        heard = []
        first.finish(heard.append)
        kinds = [type(message) for message in heard]
        assert kinds[0] is Started
        assert kinds.count(EpochMeasured) >= 2
        assert heard[-1] == Faulted(number=1, state=State.WAITING, reason="interrupted")
        assert first.free == 2
    second = Slurm(source, folder=tmp_path / "jobs", workers=2, cluster="local")
    second.submit(replace(job, until=1))
    assert followed.handle.job_id in cancelled
    followed.handle._process.wait()
    assert [path.suffix for path in (tmp_path / "jobs").glob("messages-*.job")] == [".job"]
    second.close()
