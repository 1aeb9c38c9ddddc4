"""A study on a Ray cluster of two nodes, one of which is killed in the middle."""

import os
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
from lsh_native.training import Recipe

ray = pytest.importorskip("ray")
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


def table(store):
    return [
        (
            replace(trial, created="", started=None, ended=None, host="", retries=0, reason=""),
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
    source = RunnerSource("test_ray:make", {"folder": str(tmp_path / "trials")})
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
