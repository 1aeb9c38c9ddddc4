"""What is written comes back, and every bad file is named."""

import errno
import math
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lsh_native.search import database, lock, schema
from lsh_native.search.errors import (
    ConfigurationError,
    CorruptStoreError,
    DiskFullError,
    LockedStoreError,
    NewerStoreError,
    NotAStoreError,
    OlderStoreError,
    ReadOnlyStoreError,
    StoreError,
)
from lsh_native.search.rounds import Rung
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.trial import (
    REPEAT,
    EpochRecord,
    RungRecord,
    ScoreRecord,
    SpectrumRecord,
    State,
)

CANDIDATES = list(Space())


def epoch_record(epoch, **changes):
    values = {
        "epoch": epoch,
        "train_loss": 5.5,
        "valid_loss": 1 / 3,
        "density": 0.33,
        "tokens": 1000,
        "seconds": 0.25,
        "details": {"density": {"weight_hh_l0": [0.25, 0.5]}},
    }
    return EpochRecord(**{**values, **changes})


def spectrum_record(epoch, **changes):
    values = {
        "epoch": epoch,
        "exponents": np.array([[-0.1, -1 / 3], [-2.0, -np.inf]]),
        "standard_errors": np.full((2, 2), 0.01),
        "conventions": {"state": "full", "base": 2},
        "seconds": 1.5,
        "distance": 0.1,
    }
    return SpectrumRecord(**{**values, **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


@pytest.fixture
def store(path):
    with Store(path) as store:
        store.add_trial(0, None, 10)
        for number in (1, 2, 3):
            store.add_trial(number, CANDIDATES[number], 10 + number)
        yield store


def test_trials(store):
    reference, first, *_ = store.trials()
    assert (reference.number, reference.kind, reference.candidate) == (0, "dense", None)
    assert (first.number, first.kind, first.candidate) == (1, "candidate", CANDIDATES[1])
    assert (first.seed, first.state, first.epochs) == (11, State.WAITING, 0)
    assert store.trial(1) == first
    with pytest.raises(LookupError, match="there must be a trial 7"):
        store.trial(7)


def test_states_note_when(store):
    store.set_state(1, State.RUNNING)
    running = store.trial(1)
    assert running.state is State.RUNNING
    assert running.started >= running.created
    assert running.ended is None
    store.set_state(1, State.WAITING)
    store.set_state(1, State.RUNNING)
    assert store.trial(1).started == running.started
    store.set_state(1, State.DIVERGED, "the training loss is nan after epoch 3")
    ended = store.trial(1)
    assert ended.ended >= running.started
    assert ended.reason == "the training loss is nan after epoch 3"
    store.set_state(1, State.DIVERGED, "again")
    assert store.trial(1) == ended


def test_the_reason_of_a_crash_outlives_the_retry(store):
    store.begin_trial(1, "here")
    store.retry_trial(1, "its process crashed with SIGSEGV")
    store.retry_trial(1, "it hung")
    store.begin_trial(1, "there")
    store.set_state(1, State.COMPLETE)
    assert (store.trial(1).retries, store.trial(1).crash) == (2, "it hung")
    assert store.trial(1).reason == ""


def test_candidates_are_cancelled_all_or_none(store):
    store.add_trial(REPEAT + 1, CANDIDATES[1], 9, repeats=1)
    store.set_state(3, State.DIVERGED)
    for numbers, message in (
        ([1, 0], "trial 0 must be a candidate of .*, got the dense reference"),
        ([1, 7], "trial 7 must be a candidate of .*, got none of that number"),
        ([1, REPEAT + 1], "must be a candidate of .*, got none of that number"),
        ([1, 3], "trial 3 must not be lost already, got one that diverged"),
    ):
        with pytest.raises(ValueError, match=message):
            store.cancel(numbers)
        assert store.trial(1).state is State.WAITING
    store.cancel([1])
    assert store.trial(1).state is store.trial(REPEAT + 1).state is State.CANCELLED
    assert store.lost == {1, 3, REPEAT + 1}
    store.begin_trial(1, "here")
    assert store.trial(1).state is State.CANCELLED


def test_the_lost_are_known_after_every_write(store, path):
    store.add_trial(REPEAT + 1, CANDIDATES[1], 9, repeats=1)
    assert store.lost == set()
    store.set_state(2, State.DIVERGED)
    store.set_state(REPEAT + 1, State.OUT_OF_MEMORY)
    store.set_state(3, State.STOPPED)
    with Store(path, read_only=True) as reader:
        assert reader.lost == store.lost == {2, REPEAT + 1}
        store.set_state(1, State.FAILED)
        assert reader.lost == store.lost == {1, 2, REPEAT + 1}
    store.set_state(2, State.WAITING)
    assert store.lost == {1, REPEAT + 1}
    with pytest.raises(StoreError):
        store.close_rung(Rung(round=1, epoch=1, entering=2, kept=0), [3, 3], {}, "twice")
    assert store.lost == {1, REPEAT + 1}


def test_epochs_come_back_bit_for_bit(store, path):
    assert store.add_epoch(1, epoch_record(1))
    assert store.add_epoch(1, epoch_record(2, valid_loss=math.nextafter(0.1, 1)))
    with Store(path, read_only=True) as reader:
        assert reader.epochs(1) == (
            epoch_record(1),
            epoch_record(2, valid_loss=math.nextafter(0.1, 1)),
        )
        assert reader.trial(1).epochs == 2
        assert reader.epochs(2) == ()


def test_an_epoch_that_comes_again_changes_nothing(store):
    store.add_epoch(1, epoch_record(1))
    assert not store.add_epoch(1, epoch_record(1, seconds=99.0))
    assert store.epochs(1) == (epoch_record(1),)


def test_epochs_come_in_order(store):
    with pytest.raises(ValueError, match="epoch 1 of trial 1 must come next, got 2"):
        store.add_epoch(1, epoch_record(2))


@pytest.mark.parametrize("name", ["train_loss", "valid_loss"])
@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_losses_are_finite(store, name, loss):
    with pytest.raises(ValueError, match="losses must be finite"):
        store.add_epoch(1, epoch_record(1, **{name: loss}))
    assert store.epochs(1) == ()


def test_spectra_come_back_bit_for_bit(store, path):
    store.add_spectrum(1, spectrum_record(3))
    store.add_spectrum(1, spectrum_record(5, standard_errors=None, distance=None))
    store.add_spectrum(1, spectrum_record(3, exponents=np.ones((2, 2))))
    with Store(path, read_only=True) as reader:
        first, second = reader.spectra(1)
        assert_array_equal(first.exponents, spectrum_record(3).exponents)
        assert_array_equal(first.standard_errors, spectrum_record(3).standard_errors)
        assert first.conventions == {"state": "full", "base": 2}
        assert (first.epoch, first.seconds, first.distance) == (3, 1.5, 0.1)
        assert (second.epoch, second.standard_errors, second.distance) == (5, None, None)
        assert reader.distances(1) == {3: 0.1}
        assert reader.has_spectrum(1, 5)
        assert not reader.has_spectrum(2, 5)
        assert reader.spectrum_seconds() == {(1, 3): 1.5, (1, 5): 1.5}
        with pytest.raises(LookupError, match="there must be a spectrum of trial 1 at epoch 4"):
            reader.spectrum(1, 4)


def test_measurements_are_what_was_known_at_the_rung(store):
    for number in (1, 2):
        for epoch in (1, 2, 3):
            store.add_epoch(number, epoch_record(epoch, valid_loss=number + 1 / epoch))
    store.add_spectrum(0, spectrum_record(2))
    store.add_spectrum(1, spectrum_record(2, distance=0.5))
    assert [store.measurement(number, 2) is None for number in (0, 3)] == [True, True]
    assert store.measurement(2, 2).spectrum is store.measurement(2, 2).distance is None
    measurement = store.measurement(1, 2)
    assert (measurement.number, measurement.candidate) == (1, CANDIDATES[1])
    assert [record.valid_loss for record in measurement.epochs] == [2.0, 1.5]
    assert measurement.distance == 0.5


def test_a_rung(store):
    rung = Rung(round=1, epoch=3, entering=3, kept=2)
    scores = {"loss": {1: 3.0, 2: 1.0, 3: 2.0}, "own": {1: math.nan, 2: 0.0, 3: math.inf}}
    store.close_rung(rung, [2, 3, 1], scores, reason="not among the best 2")
    assert store.rungs() == tuple(
        RungRecord(round=1, epoch=3, trial=trial, rank=rank, kept=rank < 3)
        for rank, trial in enumerate([2, 3, 1], start=1)
    )
    assert [store.trial(n).state for n in (1, 2, 3)] == ["stopped", "waiting", "waiting"]
    assert store.trial(1).reason == "not among the best 2"
    assert store.scores()[:3] == tuple(
        ScoreRecord(trial=trial, epoch=3, name=name, value=value)
        for trial, name, value in [(1, "loss", 3.0), (1, "own", None), (2, "loss", 1.0)]
    )


def test_a_rung_is_all_or_nothing(store):
    rung = Rung(round=1, epoch=3, entering=3, kept=1)
    with pytest.raises(StoreError, match="FOREIGN KEY constraint failed"):
        store.close_rung(rung, [1, 99], {"loss": {1: 0.0}}, reason="")
    assert store.rungs() == store.scores() == ()


def test_no_candidate_twice(store):
    with pytest.raises(StoreError, match=r"study\.db cannot be used: UNIQUE constraint failed"):
        store.add_trial(4, CANDIDATES[1], 14)


CONFIGURATION = {"data": "ptb", "model": {"hidden": 96, "layers": 2}, "search": {"seed": 1}}


def test_the_same_study_goes_on(path):
    with Store(path) as store:
        assert store.configuration == {}
        assert store.begin(CONFIGURATION, {"torch": "2.13.0"})
    with Store(path) as store:
        assert not store.begin(dict(reversed(CONFIGURATION.items())), {"torch": "2.14.0"})
        assert store.configuration == CONFIGURATION
        assert store.versions == {"torch": "2.13.0"}


def test_another_study_is_refused_with_every_difference(path):
    with Store(path) as store:
        store.begin(CONFIGURATION, {})
        other = {"model": {"hidden": 128, "layers": 2, "tied": True}, "search": {"seed": 1}}
        with pytest.raises(ConfigurationError) as caught:
            store.begin(other, {})
    assert str(caught.value) == (
        f"{path} holds a study of another configuration: "
        'data is "ptb" there and absent here; '
        "model.hidden is 96 there and 128 here; "
        "model.tied is absent there and true here"
    )


def test_a_configuration_is_finite(path):
    with Store(path) as store, pytest.raises(ValueError, match="not JSON compliant"):
        store.begin({"learning_rate": math.nan}, {})


def test_the_file_says_whose_it_is(store, path):
    with sqlite3.connect(path) as connection:
        pragma = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version", "journal_mode")
        }
    connection.close()
    assert pragma == {
        "application_id": 0x4C53484E,
        "user_version": schema.VERSION,
        "journal_mode": "wal",
    }


def test_writes_are_synchronous(store):
    assert store._database.query("PRAGMA synchronous") == [(2,)]
    assert store._database.query("PRAGMA foreign_keys") == [(1,)]


def test_a_new_file_that_was_killed_before_its_first_write(path):
    path.touch()
    with pytest.raises(NotAStoreError, match="must hold a study, got an empty file"):
        Store(path, read_only=True)
    with Store(path) as store:
        assert store.trials() == ()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_not_sqlite(path, read_only):
    path.write_text("epoch,loss\n1,5.4\n" * 100)
    before = path.read_bytes()
    with pytest.raises(NotAStoreError, match="must be a study, got a file that is not SQLite"):
        Store(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True])
def test_a_foreign_file_is_left_alone(path, read_only):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE studies (study_id INTEGER)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NotAStoreError, match="got the SQLite file of another program"):
        Store(path, read_only=read_only)
    assert path.read_bytes() == before
    assert not path.with_name("study.db-wal").exists()


def test_a_newer_schema(store, path):
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(NewerStoreError, match="schema version 3 at most, got 99: use a newer"):
        Store(path)


FIRST = """
CREATE TABLE study (id INTEGER PRIMARY KEY CHECK (id = 1), configuration TEXT NOT NULL,
    hash TEXT NOT NULL, versions TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE trial (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, candidate TEXT, identity TEXT,
    seed INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    created TEXT NOT NULL, started TEXT, ended TEXT);
CREATE TABLE spectrum (trial INTEGER NOT NULL REFERENCES trial, epoch INTEGER NOT NULL,
    shape TEXT NOT NULL, exponents BLOB NOT NULL, standard_errors BLOB,
    conventions TEXT NOT NULL, seconds REAL NOT NULL, distance REAL, PRIMARY KEY (trial, epoch));
"""
"""The tables of version 1 that changed since."""


def test_an_older_schema_is_brought_up_to_date(store, path):
    store.add_spectrum(2, spectrum_record(3))
    expected = [store.trials(), store.spectra(2)]
    store.close()
    with sqlite3.connect(path) as connection:
        names = [line.split("(")[0].split()[-1] for line in FIRST.split("CREATE")[1:]]
        for name in names:
            connection.execute(f"ALTER TABLE {name} RENAME TO {name}_new")
        for statement in FIRST.split(";"):
            connection.execute(statement)
        for name in names:
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({name})"))
            connection.execute(f"INSERT INTO {name} SELECT {columns} FROM {name}_new")
        connection.execute("PRAGMA foreign_keys = OFF")
        for name in names[::-1]:
            connection.execute(f"DROP TABLE {name}_new")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(OlderStoreError, match="schema version 3, got 1: resume the study once"):
        Store(path, read_only=True)
    with Store(path) as upgraded:
        assert upgraded.trials() == expected[0]
        assert upgraded.spectrum(2, 3).distance == 0.1
        assert not upgraded.finished
        assert upgraded._database.query("PRAGMA user_version") == [(schema.VERSION,)]
        assert upgraded._database.query("PRAGMA foreign_key_check") == []


def test_the_second_schema_is_brought_up_to_date(store, path):
    store.retry_trial(2, "it crashed")
    expected = store.trials()
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE trial DROP COLUMN crash")
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(OlderStoreError, match="schema version 3, got 2: resume the study once"):
        Store(path, read_only=True)
    with Store(path) as upgraded:
        assert upgraded.trials() == tuple(replace(trial, crash="") for trial in expected)
        upgraded.retry_trial(3, "it hung")
        assert upgraded.trial(3).crash == "it hung"


def fill(store):
    for epoch in range(1, 30):
        store.add_epoch(1, epoch_record(epoch, details={"note": f"{epoch:02}" * 500}))


@pytest.mark.parametrize("read_only", [False, True])
def test_a_corrupted_file(store, path, read_only):
    fill(store)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 : len(content) // 2] = os.urandom(len(content) // 2 - 4096)
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError, match="is damaged"):
        Store(path, read_only=read_only)


def test_a_truncated_file(store, path):
    fill(store)
    store.close()
    path.write_bytes(path.read_bytes()[:-8192])
    with pytest.raises(CorruptStoreError, match="is damaged"):
        Store(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE spectrum SET exponents = x'00'",
        "UPDATE spectrum SET shape = '[3, 3]'",
        "UPDATE spectrum SET conventions = '{'",
    ],
)
def test_a_corrupted_spectrum(store, path, damage):
    store.add_spectrum(1, spectrum_record(3))
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    with Store(path) as store, pytest.raises(CorruptStoreError, match="is damaged"):
        store.spectra(1)


@pytest.mark.parametrize(
    "damage", ["state = 'asleep'", 'candidate = \'{"method": "lottery"}\'', "candidate = '[]'"]
)
def test_a_corrupted_trial(store, path, damage):
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE trial SET {damage} WHERE number = 1")
    connection.close()
    with Store(path) as store, pytest.raises(CorruptStoreError, match="is damaged"):
        store.trials()


def test_one_coordinator_at_a_time(store, path):
    with pytest.raises(LockedStoreError, match=f"but process {os.getpid()} works on it"):
        Store(path)
    Store(path, read_only=True).close()
    store.close()
    Store(path).close()


def test_a_reader_sees_whether_somebody_works_on_it(path):
    assert not lock.is_locked(path)
    with Store(path):
        assert lock.is_locked(path)
        with Store(path, read_only=True):
            assert lock.is_locked(path)
    assert not lock.is_locked(path)


def test_the_lock_ends_with_its_process(path):
    script = (
        "import os, sys; from lsh_native.search.store import Store; Store(sys.argv[1]); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", script, path], env=environment, check=False)
    Store(path).close()


def test_another_program_holds_the_file(store, path, monkeypatch):
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    store.close()
    with Store(path) as store:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockedStoreError, match="is locked by another program"):
            store.set_state(1, State.RUNNING)
        other.rollback()
        other.close()
        store.set_state(1, State.RUNNING)


def test_a_reader_cannot_write(store, path):
    with (
        Store(path, read_only=True) as reader,
        pytest.raises(ReadOnlyStoreError, match="must be writable"),
    ):
        reader.set_state(1, State.RUNNING)


def test_a_full_disk_loses_nothing(store):
    store.add_epoch(1, epoch_record(1))
    ((pages,),) = store._database.query("PRAGMA page_count")
    store._database.query(f"PRAGMA max_page_count = {pages}")
    big = epoch_record(2, details={"note": "x" * 100_000})
    with pytest.raises(DiskFullError, match="has no room to grow: free some disk space"):
        store.add_epoch(1, big)
    assert store.epochs(1) == (epoch_record(1),)
    store._database.query(f"PRAGMA max_page_count = {pages + 100}")
    store.add_epoch(1, big)
    assert store.trial(1).epochs == 2


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (errno.ENOSPC, DiskFullError, "but the disk is full"),
        (errno.EACCES, ReadOnlyStoreError, "must lie in a folder that can be written"),
        (errno.EROFS, ReadOnlyStoreError, "must lie in a folder that can be written"),
        (errno.EIO, StoreError, "cannot be used: Input/output error"),
    ],
)
def test_the_lock_cannot_be_written(path, monkeypatch, code, kind, message):
    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(kind, match=message):
        Store(path)


def test_there_is_no_folder(tmp_path):
    with pytest.raises(StoreError, match="cannot be used: No such file or directory"):
        Store(tmp_path / "absent" / "study.db")


def test_there_is_no_study(path):
    with pytest.raises(StoreError, match=r"there must be a study at .*study\.db, got no such file"):
        Store(path, read_only=True)
    assert not path.exists()


def test_a_study_in_a_folder_that_cannot_be_written(store, path, monkeypatch):
    store.close()
    monkeypatch.setattr(database.os, "access", lambda *arguments: False)
    with Store(path, read_only=True) as reader:
        assert len(reader.trials()) == 4


def test_an_odd_name(tmp_path):
    path = tmp_path / "a study?#%20 é.db"
    with Store(path) as store:
        store.begin(CONFIGURATION, {})
    assert path.exists()
    with Store(str(path), read_only=True) as reader:
        assert reader.configuration == CONFIGURATION


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (epoch_record, {"epoch": 0}, "epoch must be at least 1, got 0"),
        (epoch_record, {"seconds": math.nan}, "seconds must be finite and at least 0, got nan"),
        (epoch_record, {"seconds": -1.0}, r"seconds must be finite and at least 0, got -1\.0"),
        (epoch_record, {"tokens": -1}, "tokens must be at least 0, got -1"),
        (epoch_record, {"density": 1.5}, r"density must be in \[0, 1\], got 1.5"),
        (epoch_record, {"density": math.nan}, r"density must be in \[0, 1\], got nan"),
        (epoch_record, {"details": {"rate": math.inf}}, "not JSON compliant"),
        (spectrum_record, {"epoch": 0}, "epoch must be at least 1, got 0"),
        (spectrum_record, {"exponents": np.array([])}, "at least one exponent"),
        (spectrum_record, {"standard_errors": np.ones(3)}, r"shape \(2, 2\) .* got \(3,\)"),
    ],
)
def test_bad_records(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**{"epoch": 1, **changes})


def test_differences_are_found_anywhere():
    stored = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": {"f": 1}}
    assert schema.differences(stored, stored) == []
    assert schema.differences(stored, {"b": {"c": [2, 1]}, "e": 3, "a": 1}) == [
        "b.c is [1, 2] there and [2, 1] here",
        "b.d is null there and absent here",
        'e is {"f": 1} there and 3 here',
    ]
