"""Studies whose trials run in processes of their own, and what may happen to those."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from synthetic_runner import SyntheticRunner, make, make_study

from lsh_native.search.errors import DiskFullError, ReadOnlyStoreError, StoreError
from lsh_native.search.events import EpochDone, StudyInterrupted, TrialRetried
from lsh_native.search.executors.inline import Inline
from lsh_native.search.executors.job import (
    Done,
    EpochMeasured,
    Faulted,
    Job,
    RunnerSource,
    SpectrumMeasured,
    Started,
    Stepped,
    job_from_dict,
    job_to_dict,
    message_from_dict,
    message_to_dict,
)
from lsh_native.search.executors.local import Local, visible_devices
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.trial import EpochRecord, SpectrumRecord, State, Trial

pytestmark = pytest.mark.slow


def table(store):
    """What a study found, without when and where."""
    trials = [*store.trials(), *store.repeats()]
    return [
        (
            replace(trial, created="", started=None, ended=None, host="", crash="", retries=0),
            store.epochs(trial.number),
            store.distances(trial.number),
        )
        for trial in trials
    ] + [store.rungs(), store.scores()]


def local(folder, workers=2, **settings):
    limits = {name: settings.pop(name) for name in ("silence", "time_limit") if name in settings}
    source = RunnerSource("synthetic_runner:make", {"folder": str(folder), **settings})
    return Local(source, workers=workers, threads=1, **limits)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inline")
    with Store(folder / "study.db") as store:
        make_study(store, SyntheticRunner(folder)).run()
        return table(store)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(tmp_path, expected, workers):
    with Store(tmp_path / "study.db") as store:
        make_study(store, None, executor=local(tmp_path, workers)).run()
        assert table(store) == expected


def test_an_accident_costs_a_retry_and_nothing_else(tmp_path, expected):
    accidents = {"0.2": "SIGKILL", "1.1": "SIGSEGV", "3.2": "memory"}
    events = []
    with Store(tmp_path / "study.db") as store:
        study = make_study(store, None, executor=local(tmp_path, accidents=accidents))
        study.run(events.append)
        assert table(store) == expected
        assert [store.trial(number).retries for number in (0, 1, 2, 3)] == [1, 1, 0, 1]
        assert store.trial(1).crash == "its process crashed with SIGSEGV"
        assert store.trial(2).crash == ""
    retried = [event.trial.number for event in events if isinstance(event, TrialRetried)]
    assert sorted(retried) == [0, 1, 3]


def test_a_trial_that_fails_every_time_is_given_up_alone(tmp_path):
    accidents = {"2.1": "SIGKILL", "3.1": "SIGSEGV", "4.2": "memory", "5.1": "bug"}
    with Store(tmp_path / "study.db") as store:
        executor = local(tmp_path, accidents=accidents, always=True)
        assert make_study(store, None, executor=executor).run(retries=1).best.trial.number == 1
        for number, state, retries, reason in (
            (2, State.OUT_OF_MEMORY, 1, "its process was killed by signal 9, as the system does"),
            (3, State.FAILED, 1, "its process crashed with SIGSEGV"),
            (4, State.OUT_OF_MEMORY, 1, "no memory is left: nothing left"),
            (5, State.FAILED, 0, "KeyError: 'absent'"),
        ):
            lost = store.trial(number)
            assert (lost.state, lost.retries) == (state, retries)
            assert reason in lost.reason
            assert lost.host


@pytest.mark.parametrize(
    ("code", "kind", "mend"),
    [
        ("ENOSPC", DiskFullError, "make room and resume"),
        ("EDQUOT", DiskFullError, "make room and resume"),
        ("EROFS", ReadOnlyStoreError, "mend that and resume"),
        ("EIO", StoreError, "mend that and resume"),
    ],
)
@pytest.mark.parametrize("inline", [True, False])
def test_a_full_or_broken_disk_is_no_fault_of_a_trial(tmp_path, expected, code, kind, mend, inline):
    accidents = {"0.3": code, "3.2": code}  # once each, the reference first
    settings = {"folder": str(tmp_path), "accidents": accidents}

    def executor():
        if inline:
            return Inline(make(settings, None))
        return local(tmp_path, workers=1, accidents=accidents)

    with Store(tmp_path / "study.db") as store:
        for _ in accidents:
            with pytest.raises(kind, match=f"{tmp_path} on .*: the disk says no: {mend}"):
                make_study(store, None, executor=executor()).run()
            assert not any(t.state.lost or t.retries for t in store.trials())
        assert make_study(store, None, executor=executor()).run().best is not None
        assert table(store) == expected


def test_a_checkpoint_from_elsewhere_that_finds_no_room(tmp_path, expected):
    class Elsewhere(Inline):
        """Keeps checkpoints itself, as the coordinator's side of a cluster does."""

        def work(self, send):
            raise OSError(errno.ENOSPC, "No space left on device", "0000.safetensors")

    runner = SyntheticRunner(tmp_path)
    with Store(tmp_path / "study.db") as store:
        with pytest.raises(DiskFullError, match="No space left on device: make room"):
            make_study(store, None, executor=Elsewhere(runner)).run()
        make_study(store, runner).run()
        assert table(store) == expected


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"silence": 1.5}, "its worker gave no sign of life for 1.5 s"),
        ({"time_limit": 1.5}, "it took longer than the limit of 1.5 s"),
    ],
)
def test_a_worker_that_never_answers(tmp_path, limit, reason):
    with Store(tmp_path / "study.db") as store:
        executor = local(tmp_path, accidents={"2.2": "hang"}, always=True, **limit)
        study = make_study(store, None, executor=executor, candidates=3)
        assert study.run(retries=0).best is not None
        assert store.trial(2).state is State.FAILED
        assert store.trial(2).reason == reason


@pytest.mark.parametrize(
    ("listed", "devices"),
    [(None, ["0", "1"]), ("2,3", ["2", "3"]), ("GPU-ab, MIG-cd,5", ["GPU-ab", "MIG-cd"])],
)
def test_workers_get_the_devices_that_their_coordinator_sees(
    tmp_path, monkeypatch, listed, devices
):
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_devices(2) == devices
    source = RunnerSource("test_executors:make_seeing", {"folder": str(tmp_path)})
    with Store(tmp_path / "study.db") as store:
        executor = Local(source, workers=2, threads=1, devices=visible_devices(2))
        make_study(store, None, executor=executor).run()
    seen = {path.read_text() for path in tmp_path.glob("sees-*")}
    assert seen == set(devices)


def make_seeing(settings, on_step):
    """A runner whose worker writes down which devices it may use."""
    folder = settings["folder"]
    with open(f"{folder}/sees-{os.getpid()}", "w") as file:
        file.write(os.environ["CUDA_VISIBLE_DEVICES"])
    return make(settings, on_step)


def test_a_hung_worker_is_found_while_another_one_talks(tmp_path):
    source = RunnerSource("test_executors:make_talking", {"folder": str(tmp_path)})
    candidate = next(iter(Space()))
    executor = Local(source, workers=2, threads=1, silence=3)
    heard = []
    for number in (1, 2):
        executor.submit(Job(trial=Trial(number=number, candidate=candidate, seed=0), until=1))
    deadline = time.monotonic() + 40
    while not any(isinstance(m, Faulted) for m in heard) and time.monotonic() < deadline:
        executor.work(heard.append)
    executor.close()
    (fault,) = (m for m in heard if isinstance(m, Faulted))
    assert (fault.number, fault.reason) == (2, "its worker gave no sign of life for 3 s")


def make_talking(settings, on_step):
    """A runner that tells of steps for ever in one trial, and of nothing in another."""
    runner = make(settings, on_step)

    def run(trial, until, record):
        for step in range(600):
            time.sleep(0.1)
            if trial.number == 1:
                on_step(trial, 1, step, 600, 1.0)

    runner.run = run
    return runner


def test_workers_end_with_their_coordinator(tmp_path, expected):
    script = (
        "import sys, time; from pathlib import Path; from synthetic_runner import make_study;"
        "from lsh_native.search.store import Store; from test_executors import local;"
        "folder = Path(sys.argv[1]);"
        "make_study(Store(folder / 'study.db'), None, executor=local(folder, pause=0.3))"
        ".run(lambda event: print(event, flush=True))"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with process:
        while "EpochDone" not in process.stdout.readline():
            assert process.poll() is None
        children = workers_of(process.pid)
        assert children
        process.kill()
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{child}") for child in children):
        assert time.monotonic() < deadline, "a worker outlived its coordinator"
        time.sleep(0.05)
    with Store(tmp_path / "study.db") as store:
        make_study(store, SyntheticRunner(tmp_path)).run()
        assert table(store) == expected


def workers_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return children.read().split()


@pytest.fixture
def ctrl_c_interrupts():
    """Also where the tests run in the background of a shell, which has its jobs ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_ctrl_c_lets_epochs_end_and_the_study_goes_on_later(tmp_path, expected):
    interrupted = []

    def interrupt(event):
        if isinstance(event, StudyInterrupted):
            interrupted.append(event)
        if isinstance(event, EpochDone) and event.trial.number == 1:
            threading.Timer(0.0, os.kill, [os.getpid(), signal.SIGINT]).start()

    with Store(tmp_path / "study.db") as store:
        study = make_study(store, None, executor=local(tmp_path, pause=0.2))
        with pytest.raises(KeyboardInterrupt):
            study.run(interrupt)
        states = {trial.state for trial in store.trials()}
        assert not states & {State.FAILED, State.RUNNING}
        assert len(interrupted) == 1
        make_study(store, SyntheticRunner(tmp_path)).run()
        assert table(store) == expected


def test_jobs_and_messages_survive_json():
    trial = Trial(number=3, candidate=next(iter(Space())), seed=5, state=State.RUNNING, epochs=2)
    for job in (
        Job(trial=trial, until=4, parts=(0, 2)),
        Job(trial=replace(trial, candidate=None), until=4),
    ):
        assert job_from_dict(job_to_dict(job)) == job
    epoch = EpochRecord(
        epoch=1,
        train_loss=1 / 3,
        valid_loss=0.1,
        density=0.3,
        tokens=5,
        seconds=0.5,
        details={"rate": 2},
    )
    for message in (
        Started(number=3, host="here"),
        Stepped(number=3, epoch=1, step=2, steps=9, loss=4.5),
        EpochMeasured(number=3, record=epoch),
        Done(number=3),
        Faulted(number=3, state=State.FAILED, reason="it crashed", retry=True),
        Faulted(number=3, state=State.WAITING, reason="the disk is full", disk=28),
    ):
        assert message_from_dict(message_to_dict(message)) == message
    spectrum = SpectrumRecord(epoch=2, exponents=np.array([[-0.1], [-np.inf]]), part=1)
    message = message_from_dict(message_to_dict(SpectrumMeasured(number=3, record=spectrum)))
    np.testing.assert_array_equal(message.record.exponents, spectrum.exponents)
    assert (message.record.part, message.record.epoch) == (1, 2)


@pytest.mark.parametrize("name", ["workers", "threads"])
def test_numbers_of_workers(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Local(RunnerSource("a:b"), **{"workers": 1, name: 0})
