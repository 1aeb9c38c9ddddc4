"""The tables of a study, and how a record becomes a row and a row a record."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsh_native.search.candidate import Candidate
from lsh_native.search.trial import EpochRecord, SpectrumRecord, State, Trial

APPLICATION_ID = int.from_bytes(b"LSHN", "big")
"""Stands in the header of the file and says whose it is."""

VERSION = 3
"""Version of the tables below."""

TABLES = """
CREATE TABLE study (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    configuration TEXT NOT NULL,
    hash          TEXT NOT NULL,
    versions      TEXT NOT NULL,
    created       TEXT NOT NULL,
    finished      TEXT
);
CREATE TABLE trial (
    number    INTEGER PRIMARY KEY,
    kind      TEXT NOT NULL,
    candidate TEXT,
    identity  TEXT,
    seed      INTEGER NOT NULL,
    state     TEXT NOT NULL,
    reason    TEXT NOT NULL DEFAULT '',
    created   TEXT NOT NULL,
    started   TEXT,
    ended     TEXT,
    repeats   INTEGER REFERENCES trial,
    retries   INTEGER NOT NULL DEFAULT 0,
    host      TEXT NOT NULL DEFAULT '',
    crash     TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX never_twice ON trial (identity) WHERE kind = 'candidate';
CREATE TABLE epoch (
    trial      INTEGER NOT NULL REFERENCES trial,
    epoch      INTEGER NOT NULL,
    train_loss REAL NOT NULL,
    valid_loss REAL NOT NULL,
    density    REAL NOT NULL,
    tokens     INTEGER NOT NULL,
    seconds    REAL NOT NULL,
    details    TEXT NOT NULL,
    PRIMARY KEY (trial, epoch)
);
CREATE TABLE spectrum (
    trial           INTEGER NOT NULL REFERENCES trial,
    epoch           INTEGER NOT NULL,
    part            INTEGER NOT NULL DEFAULT 0,
    shape           TEXT NOT NULL,
    exponents       BLOB NOT NULL,
    standard_errors BLOB,
    conventions     TEXT NOT NULL,
    seconds         REAL NOT NULL,
    distance        REAL,
    PRIMARY KEY (trial, epoch, part)
);
CREATE TABLE score (
    trial INTEGER NOT NULL REFERENCES trial,
    epoch INTEGER NOT NULL,
    name  TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (trial, epoch, name)
);
CREATE TABLE rung (
    round INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    trial INTEGER NOT NULL REFERENCES trial,
    rank  INTEGER NOT NULL,
    kept  INTEGER NOT NULL,
    PRIMARY KEY (round, trial)
);
"""

_SPECTRUM_2 = TABLES[TABLES.index("CREATE TABLE spectrum") : TABLES.index("CREATE TABLE score")]

UPGRADES: Mapping[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE study ADD COLUMN finished TEXT",
        "ALTER TABLE trial ADD COLUMN repeats INTEGER REFERENCES trial",
        "ALTER TABLE trial ADD COLUMN retries INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE trial ADD COLUMN host TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE spectrum RENAME TO spectrum_1",
        _SPECTRUM_2.strip().rstrip(";"),
        "INSERT INTO spectrum SELECT trial, epoch, 0, shape, exponents, standard_errors, "
        "conventions, seconds, distance FROM spectrum_1",
        "DROP TABLE spectrum_1",
    ),
    2: ("ALTER TABLE trial ADD COLUMN crash TEXT NOT NULL DEFAULT ''",),
}
"""By version, the statements that make the next version of it."""

TRIAL_COLUMNS = (
    "number, candidate, seed, state, reason, created, started, ended, repeats, retries, host, crash"
)
EPOCH_COLUMNS = "epoch, train_loss, valid_loss, density, tokens, seconds, details"
SPECTRUM_COLUMNS = "epoch, part, shape, exponents, standard_errors, conventions, seconds, distance"

Row = tuple[Any, ...]


def to_json(value: Any) -> str:
    """Return canonical JSON: the same text for the same value.

    Raises:
        ValueError: If a number is not finite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def trial_from_row(row: Row, epochs: int) -> Trial:
    """Rebuild a trial from `TRIAL_COLUMNS` and the number of its epochs."""
    number, candidate, seed, state, reason, *rest = row
    created, started, ended, repeats, retries, host, crash = rest
    return Trial(
        number=number,
        candidate=None if candidate is None else Candidate.from_dict(dict(json.loads(candidate))),
        seed=seed,
        state=State(state),
        reason=reason,
        epochs=epochs,
        repeats=repeats,
        retries=retries,
        host=host,
        crash=crash,
        created=created,
        started=started,
        ended=ended,
    )


def epoch_to_row(record: EpochRecord) -> Row:
    """Return `EPOCH_COLUMNS`."""
    return (
        record.epoch,
        record.train_loss,
        record.valid_loss,
        record.density,
        record.tokens,
        record.seconds,
        to_json(dict(record.details)),
    )


def epoch_from_row(row: Row) -> EpochRecord:
    """Rebuild a record from `EPOCH_COLUMNS`."""
    names = EPOCH_COLUMNS.split(", ")
    values: dict[str, Any] = dict(zip(names, row, strict=True))
    return EpochRecord(**{**values, "details": json.loads(values["details"])})


def spectrum_to_row(record: SpectrumRecord) -> Row:
    """Return `SPECTRUM_COLUMNS`; arrays as little-endian float64, compressed."""
    return (
        record.epoch,
        record.part,
        to_json(list(record.exponents.shape)),
        _pack(record.exponents),
        None if record.standard_errors is None else _pack(record.standard_errors),
        to_json(dict(record.conventions)),
        record.seconds,
        record.distance,
    )


def spectrum_from_row(row: Row) -> SpectrumRecord:
    """Rebuild a record from `SPECTRUM_COLUMNS`."""
    epoch, part, shape, exponents, standard_errors, conventions, seconds, distance = row
    sizes = json.loads(shape)
    return SpectrumRecord(
        epoch=epoch,
        part=part,
        exponents=_unpack(exponents, sizes),
        standard_errors=None if standard_errors is None else _unpack(standard_errors, sizes),
        conventions=json.loads(conventions),
        seconds=seconds,
        distance=distance,
    )


def differences(stored: Mapping[str, Any], given: Mapping[str, Any], path: str = "") -> list[str]:
    """Name every key at which two configurations differ, with both values."""
    found = []
    for key in sorted({*stored, *given}):
        here, there = given.get(key, _ABSENT), stored.get(key, _ABSENT)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            found += differences(there, here, f"{path}{key}.")
        elif here != there:
            found.append(f"{path}{key} is {_show(there)} there and {_show(here)} here")
    return found


_ABSENT = object()


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value)


def _pack(array: NDArray[np.float64]) -> bytes:
    return zlib.compress(np.ascontiguousarray(array, dtype="<f8").tobytes())


def _unpack(blob: bytes, shape: list[int]) -> NDArray[np.float64]:
    return np.frombuffer(zlib.decompress(blob), dtype="<f8").astype(np.float64).reshape(shape)
