"""A study that is killed at any moment, and run again, ends as if nothing had happened."""

import math
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress

import kill_study
import pytest
from synthetic_runner import SyntheticRunner, make_study

from lsh_native.search.database import Database
from lsh_native.search.rounds import Elimination
from lsh_native.search.store import Store

pytestmark = pytest.mark.slow

# LSH_KILLS=200 is the long form.
KILLS = int(os.environ.get("LSH_KILLS", "8"))

COLUMNS = {
    "study": "configuration, hash, versions",
    "trial": "number, kind, candidate, identity, seed, state, reason",
    "epoch": "*",
    "spectrum": "*",
    "score": "*",
    "rung": "*",
}


def everything(folder):
    """All that the file of a study holds, except when it happened."""
    connection = sqlite3.connect(folder / "study.db")
    try:
        return {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)
            for table, columns in COLUMNS.items()
        }
    finally:
        connection.close()


class Crash(BaseException):
    """A kill that the test survives."""


class Clock:
    """Raises `Crash` at one tick."""

    def __init__(self, crash_at=math.inf):
        self.ticks = 0
        self.crash_at = crash_at

    def __call__(self):
        self.ticks += 1
        if self.ticks == self.crash_at:
            raise Crash


class TickingDatabase(Database):
    """Ticks before and after each commit; does not wait for the disk.

    A kill of the process, other than one of the machine, loses nothing that the system was handed.
    """

    clock = Clock()

    def query(self, sql, parameters=()):
        return super().query(sql.replace("synchronous = FULL", "synchronous = OFF"), parameters)

    @contextmanager
    def transaction(self):
        with super().transaction() as connection:
            yield connection
            self.clock()
        self.clock()


def run(folder, clock):
    """Run a study, two of whose candidates diverge, and return the epochs that were trained."""
    TickingDatabase.clock = clock
    folder.mkdir(exist_ok=True)
    runner = SyntheticRunner(
        folder,
        tick=clock,
        nan=lambda trial, epoch: (trial.number, epoch) == (2, 2),
        faulty=lambda trial, epoch: (trial.number, epoch) == (3, 1),
    )
    with suppress(Crash), Store(folder / "study.db") as store:
        make_study(store, runner, rounds=Elimination(total=3, first=1)).run()
    return Counter(runner.trained)


@pytest.fixture
def undisturbed(tmp_path, monkeypatch):
    monkeypatch.setattr("lsh_native.search.store.Database", TickingDatabase)
    clock = Clock()
    trained = run(tmp_path / "undisturbed", clock)
    return everything(tmp_path / "undisturbed"), trained, clock.ticks


def test_a_kill_at_every_write_and_every_step_of_training(tmp_path, undisturbed):
    expected, trained, ticks = undisturbed
    assert ticks > 100
    for crash_at in range(1, ticks + 1):
        folder = tmp_path / str(crash_at)
        clock = Clock(crash_at)
        before = run(folder, clock)
        assert clock.ticks == crash_at
        after = run(folder, Clock())
        assert everything(folder) == expected, f"killed at tick {crash_at}"
        assert sum((before + after - trained).values()) <= 1, "more than the epoch in flight"


@pytest.mark.parametrize("seed", range(5))
def test_many_kills(tmp_path, undisturbed, seed):
    expected, trained, _ = undisturbed
    generator = random.Random(seed)
    total, kills = Counter(), 0
    while True:
        clock = Clock(generator.randrange(10, 30))
        total += run(tmp_path / "killed", clock)
        if clock.ticks < clock.crash_at:
            break
        kills += 1
    assert kills > 3
    assert everything(tmp_path / "killed") == expected
    assert sum((total - trained).values()) <= kills


def test_kill_9_of_coordinator_and_workers(tmp_path):
    killed = tmp_path / "killed"
    killed.mkdir()
    done = subprocess.run(
        [sys.executable, kill_study.__file__, killed, str(KILLS), "0"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    coordinators, workers, studies = map(int, done.stdout.split())
    print(f"{coordinators} kills of coordinators, {workers} of workers, {studies} studies")
    assert coordinators + workers >= KILLS
    for folder in (tmp_path, *(killed / str(number + 1) for number in range(studies))):
        # Whatever was going on, the file is whole and can be read at once.
        if folder != tmp_path:
            with Store(folder / "study.db", read_only=True) as store:
                store.trials()
        with Store(folder / "study.db") as store:
            make_study(store, SyntheticRunner(folder)).run()
        assert everything(folder) == everything(tmp_path)
