"""A study that is resumed runs as it was begun, but for what is said anew and for its budget."""

import json
from functools import wraps

import pytest

from lsh_native.cli import resume as command
from lsh_native.cli.files import CONFIGURATION, STORE
from lsh_native.cli.main import main
from lsh_native.cli.setup import RunningSettings


@pytest.fixture
def searched(monkeypatch):
    """Makes a folder a study that was begun so; gives the running settings of each search of it."""
    called = []

    @wraps(command.search)
    def search(**options):
        called.append(options["running"])

    def begin(folder, running):
        (folder / CONFIGURATION).write_text(json.dumps({"candidates": 2, "running": running}))
        (folder / STORE).touch()
        return called

    monkeypatch.setattr(command, "search", search)
    return begin


def test_running_settings_are_those_of_the_search(tmp_path, searched):
    begun = {"workers": 1, "threads": 3, "silence": 30.0, "max_epochs": 5}
    called = searched(tmp_path, begun)
    assert main(["resume", str(tmp_path), "--running.workers=2", "--running.max_seconds=60"]) == 0
    (running,) = called
    assert (running.workers, running.threads, running.silence) == (2, 3, 30.0)
    assert (running.max_epochs, running.max_seconds) == (None, 60.0)


def test_what_is_said_holds_where_it_is_the_default_too(tmp_path, searched):
    begun = {"executor": "ray", "device": "cuda", "silence": 30.0, "retries": 9, "workers": 3}
    called = searched(tmp_path, begun)
    said = {"executor": "local", "device": "cpu", "silence": 900.0, "retries": 2}
    options = [f"--running.{name}={value}" for name, value in said.items()]
    assert main(["resume", str(tmp_path), *options]) == 0
    assert main(["evidence", str(tmp_path), "--candidates=1", "--running.retries=2"]) == 0
    assert called[0] == RunningSettings(workers=3)
    assert called[1] == RunningSettings(**{**begun, "retries": 2})


def test_an_address_is_left_with_its_cluster(tmp_path, searched):
    begun = {"executor": "ray", "address": "10.0.0.1:6379"}
    called = searched(tmp_path, begun)
    assert main(["resume", str(tmp_path)]) == 0
    assert main(["resume", str(tmp_path), "--running.executor=inline"]) == 0
    assert [running.address for running in called] == ["10.0.0.1:6379", None]
