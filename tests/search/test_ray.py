"""Studies on Ray clusters: a node that is killed, a worker that hangs, who can reach the ports."""

import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_runner import make_study

from lsh_native.data import generate_corpus
from lsh_native.search.events import EpochDone, TrialRetried
from lsh_native.search.executors.inline import Inline
from lsh_native.search.executors.job import RunnerSource
from lsh_native.search.spectral import spectrum_distance
from lsh_native.search.store import Store
from lsh_native.search.training_runner import SpectrumSettings, TrainingRunner
from lsh_native.search.trial import REFERENCE, State
from lsh_native.training import Recipe

# This before Ray: it asks for tokens, which Ray must hear of as it is loaded.
ray = pytest.importorskip("lsh_native.search.executors.ray").ray
os.environ.setdefault("RAY_AUTH_TOKEN", 64 * "1")
pytestmark = pytest.mark.filterwarnings("default")


def make(settings, on_step):
    """The runner of a worker: a tiny network on a tiny text."""
    return TrainingRunner(
        corpus=generate_corpus(seed=0, train_tokens=20000),
        recipe=Recipe(model={"hidden_size": 8, "embedding_size": 8}, epochs=4),
        density=0.3,
        folder=Path(settings["folder"]),
        spectrum_settings=SpectrumSettings(steps=10, state_warmup=5, tangent_warmup=5),
        on_step=on_step,
    )


class Slow:
    """A runner that rests after every epoch, and never comes back from one trial."""

    def __init__(self, runner, pause=0.0, hangs=None):
        self.runner, self.pause, self.hangs = runner, pause, hangs
        self.spectrum = runner.spectrum

    def run(self, trial, until, record):
        def and_rest(epoch):
            record(epoch)
            time.sleep(self.pause)

        if trial.number == self.hangs:
            time.sleep(60)
        self.runner.run(trial, until, and_rest)


def make_slow(settings, on_step):
    own = {name: settings[name] for name in ("pause", "hangs") if name in settings}
    return Slow(make(settings, on_step), **own)


def table(store):
    return [
        (
            replace(
                trial, created="", started=None, ended=None, host="", crash="", retries=0, reason=""
            ),
            [(e.epoch, e.train_loss, e.valid_loss) for e in store.epochs(trial.number)],
            store.distances(trial.number),
        )
        for trial in store.trials()
    ] + [store.rungs(), store.scores()]


def study_of(store, executor):
    from lsh_native.search.rounds import Elimination

    return make_study(
        store,
        None,
        executor=executor,
        rounds=Elimination.spread(4),
        distance=spectrum_distance,
        candidates=4,
    )


@pytest.fixture
def expected(tmp_path):
    folder = tmp_path / "inline"
    folder.mkdir()
    with Store(folder / "study.db") as store:
        study_of(store, Inline(make({"folder": folder}, None))).run()
        return table(store)


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """Makes executors on clusters of their own."""
    from lsh_native.search.executors.ray import RayCluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    made = []

    def alone(function="make", workers=1, settings=None, **limits):
        source = RunnerSource(
            f"test_ray:{function}", {"folder": str(tmp_path / "trials"), **(settings or {})}
        )
        made.append(RayCluster(source, workers=workers, **limits))
        return made[-1]

    yield alone
    for executor in made:
        executor.close()


def reached(host, port):
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_a_cluster_started_here_listens_on_this_machine_alone(alone):
    alone()
    (node,) = ray.nodes()
    gcs = int(ray.get_runtime_context().gcs_address.rpartition(":")[2])
    for port in (gcs, node["NodeManagerPort"], node["ObjectManagerPort"]):
        assert reached("127.0.0.1", port)
        assert not reached("127.0.0.2", port), "it listens on more than the one address"


def test_a_ray_that_cannot_be_kept_to_this_machine_starts_nothing(alone, monkeypatch):
    monkeypatch.delattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER")
    with pytest.raises(ConnectionError, match=f"Ray {ray.__version__} cannot be kept"):
        alone()
    assert not ray.is_initialized()


def test_an_executor_that_was_closed_starts_the_same_cluster_anew(alone, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(ray, "init", lambda *a, init=ray.init, **k: (started.append(k), init(**k)))
    with Store(tmp_path / "study.db") as store:
        study = study_of(store, alone())
        study.run()
        assert not ray.is_initialized()
        study.gather_evidence(1)
        assert sum(trial.epochs == 4 for trial in store.trials()) > 3
        assert store.trial(REFERENCE).state is State.COMPLETE
    assert len(started) == 2
    assert started[0] == started[1]
    assert started[0]["include_dashboard"] is False


def test_a_worker_that_never_answers_costs_its_trial(alone, tmp_path):
    with Store(tmp_path / "study.db") as store:
        executor = alone("make_slow", workers=2, settings={"hangs": 2}, silence=15)
        study_of(store, executor).run(retries=0)
        lost = store.trial(2)
        assert (lost.state, lost.reason) == (
            State.FAILED,
            "its worker gave no sign of life for 15 s",
        )
        assert sum(trial.state is State.FAILED for trial in store.trials()) == 1


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    cluster = Cluster()
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000, include_dashboard=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_node_is_lost_and_nothing_else(tmp_path, cluster, expected):
    from lsh_native.search.executors.ray import RayCluster

    second = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    settings = {"folder": str(tmp_path / "trials"), "pause": 1.0}
    source = RunnerSource("test_ray:make_slow", settings)
    events, removed = [], []

    def on_event(event):
        events.append(event)
        if removed or not isinstance(event, EpochDone) or event.record.epoch < 2:
            return
        if ray.available_resources().get("CPU", 0) == 0:  # both nodes are at work
            removed.append(second)
            cluster.remove_node(second, allow_graceful=False)

    with Store(tmp_path / "study.db") as store:
        study = study_of(store, RayCluster(source))
        assert study.executor.free == 2
        result = study.run(on_event)
        assert result.best is not None
        assert table(store) == expected
    assert removed
    assert any(isinstance(event, TrialRetried) for event in events)
