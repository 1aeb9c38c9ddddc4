"""All that a study knows, in one SQLite file that survives a kill at any moment.

Each write is one transaction, on disk when it returns. A record that is there already stays as it
is, so an epoch that is trained again after a kill is neither lost nor counted twice.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from lsh_native.search import schema
from lsh_native.search.candidate import Candidate
from lsh_native.search.database import Connection, Database
from lsh_native.search.errors import ConfigurationError, CorruptStoreError
from lsh_native.search.schema import EPOCH_COLUMNS, SPECTRUM_COLUMNS, TRIAL_COLUMNS, Row, to_json
from lsh_native.search.trial import (
    EpochRecord,
    Measurement,
    Rung,
    RungRecord,
    ScoreRecord,
    SpectrumRecord,
    State,
    Trial,
)

_T = TypeVar("_T")


class Store:
    """A study's file: one writer at a time, any number of readers.

    Args:
        path: The file; a writer creates it, its folder must exist. On a local disk.
        read_only: Open an existing study without the writer's lock.

    Raises:
        StoreError: One of its named kinds, if the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._database = Database(self.path, read_only=read_only)
        # Nobody else writes, so what was read of a trial holds until it is written to.
        self._read: dict[int, Trial] | None = None if read_only else {}
        self._lost: frozenset[int] | None = None  # likewise, until a trial is lost

    def close(self) -> None:
        """Release the file and the writer's lock; a closed store stays closed."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, configuration: Mapping[str, Any], versions: Mapping[str, str]) -> bool:
        """Write down what the study is, or check that it is still the same.

        Args:
            configuration: Everything that decides the result, as JSON values.
            versions: Of the software that started it; another version may go on.

        Returns:
            Whether the study is new.

        Raises:
            ConfigurationError: If the file holds a study of another configuration; the message
                lists each difference.
        """
        text = to_json(configuration)
        digest = hashlib.sha256(text.encode()).hexdigest()
        rows = self._database.query("SELECT hash FROM study")
        if not rows:
            with self._database.transaction() as connection:
                connection.execute(
                    "INSERT INTO study VALUES (1, ?, ?, ?, ?, NULL)",
                    (text, digest, to_json(dict(versions)), _now()),
                )
            return True
        if rows != [(digest,)]:
            found = schema.differences(self.configuration, json.loads(text))
            raise ConfigurationError(
                f"{self.path} holds a study of another configuration: {'; '.join(found)}"
            )
        return False

    @property
    def configuration(self) -> dict[str, Any]:
        """What `begin` wrote down; empty before."""
        return self._study_json("configuration")

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the software that started the study."""
        return self._study_json("versions")

    @property
    def finished(self) -> bool:
        """Whether the search has come to its end; evidence may still be gathered."""
        return bool(self._database.query("SELECT 1 FROM study WHERE finished IS NOT NULL"))

    def finish(self) -> None:
        """Note that the search has come to its end."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE study SET finished = ? WHERE finished IS NULL", (_now(),))

    def add_trial(
        self, number: int, candidate: Candidate | None, seed: int, *, repeats: int | None = None
    ) -> None:
        """Add a waiting trial.

        Args:
            number: Its number, a new one.
            candidate: How it is pruned; None for the dense reference.
            seed: Of everything random in its training.
            repeats: The trial that it trains again with another seed.
        """
        text = None if candidate is None else to_json(candidate.to_dict())
        identity = None if candidate is None else candidate.identity
        kind = Trial(number=number, candidate=candidate, seed=seed, repeats=repeats).kind
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO trial (number, kind, candidate, identity, seed, state, created, "
                "repeats) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, kind, text, identity, seed, State.WAITING, _now(), repeats),
            )

    def begin_trial(self, number: int, host: str) -> None:
        """Note that a trial runs, and where; one that has ended keeps its state."""
        ended = self.trial(number).state.ended
        with self._writing(number) as connection:
            if not ended:
                self._set_state(connection, number, State.RUNNING, "")
            connection.execute(
                "UPDATE trial SET host = ? WHERE number = ? AND host != ?", (host, number, host)
            )

    def retry_trial(self, number: int, reason: str) -> None:
        """Note that a trial has to be begun anew, and why; the last reason stays readable."""
        with self._writing(number) as connection:
            connection.execute(
                "UPDATE trial SET retries = retries + 1, crash = ? WHERE number = ?",
                (reason, number),
            )

    def set_state(self, number: int, state: State, reason: str = "") -> None:
        """Move a trial to another state; when it starts and ends is noted."""
        with self._writing(number) as connection:
            self._set_state(connection, number, state, reason)

    def revive_trial(self, number: int) -> None:
        """Let a lost trial wait again, as if it had never been begun anew; epochs stay."""
        with self._writing(number) as connection:
            self._set_state(connection, number, State.WAITING, "")
            connection.execute("UPDATE trial SET retries = 0 WHERE number = ?", (number,))

    def cancel(self, numbers: Sequence[int]) -> None:
        """Take candidates out of the search by hand, with their repeats: all of them or none.

        Raises:
            ValueError: If one is no candidate, or is lost already.
        """
        trials = {trial.number: trial for trial in self.trials()}
        for number in numbers:
            if number not in trials or trials[number].kind != "candidate":
                got = "the dense reference" if number in trials else "none of that number"
                raise ValueError(f"trial {number} must be a candidate of {self.path}, got {got}")
            if trials[number].state.lost:
                raise ValueError(
                    f"trial {number} must not be lost already, got one that {trials[number].state}"
                )
        repeats = [t.number for t in self.repeats() if t.repeats in numbers and not t.state.lost]
        with self._writing(*numbers, *repeats) as connection:
            for number in (*numbers, *repeats):
                self._set_state(connection, number, State.CANCELLED, "it was taken out by hand")

    def add_epoch(self, number: int, record: EpochRecord) -> bool:
        """Record an epoch, unless it is recorded already.

        Returns:
            Whether it was new.

        Raises:
            ValueError: If an epoch before it is missing, or a loss is not finite.
        """
        if not abs(record.train_loss) + abs(record.valid_loss) < float("inf"):
            raise ValueError(
                f"losses must be finite, got {record.train_loss} and {record.valid_loss}"
            )
        with self._writing(number) as connection:
            ((last,),) = connection.execute(
                "SELECT coalesce(max(epoch), 0) FROM epoch WHERE trial = ?", (number,)
            )
            if record.epoch <= last:
                return False
            if record.epoch > last + 1:
                raise ValueError(
                    f"epoch {last + 1} of trial {number} must come next, got {record.epoch}"
                )
            connection.execute(
                f"INSERT INTO epoch (trial, {EPOCH_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, *schema.epoch_to_row(record)),
            )
        return True

    def add_spectrum(self, number: int, record: SpectrumRecord) -> None:
        """Record a spectrum, unless there is one for the epoch already."""
        with self._database.transaction() as connection:
            connection.execute(
                f"INSERT OR IGNORE INTO spectrum (trial, {SPECTRUM_COLUMNS}) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (number, *schema.spectrum_to_row(record)),
            )

    def set_distance(self, number: int, epoch: int, distance: float) -> None:
        """Complete a spectrum that was recorded before the reference's."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE spectrum SET distance = ? WHERE trial = ? AND epoch = ? AND part = 0",
                (distance, number, epoch),
            )

    def close_rung(
        self,
        rung: Rung,
        ranking: Sequence[int],
        scores: Mapping[str, Mapping[int, float]],
        reason: str,
    ) -> None:
        """Record an elimination and stop those behind the best `rung.kept`, all at once.

        Args:
            rung: Which elimination.
            ranking: Numbers of the trials, best first.
            scores: By name of the score, its value for each trial; NaN where it has none.
            reason: Why the others stopped.
        """
        with self._writing(*ranking) as connection:
            connection.executemany(
                "INSERT INTO score (trial, epoch, name, value) VALUES (?, ?, ?, ?)",
                [
                    (number, rung.epoch, name, value if math.isfinite(value) else None)
                    for name, values in scores.items()
                    for number, value in values.items()
                ],
            )
            for index, number in enumerate(ranking):
                kept = index < rung.kept
                connection.execute(
                    "INSERT INTO rung (round, epoch, trial, rank, kept) VALUES (?, ?, ?, ?, ?)",
                    (rung.round, rung.epoch, number, index + 1, kept),
                )
                if not kept:
                    self._set_state(connection, number, State.STOPPED, reason)

    def trial(self, number: int) -> Trial:
        """Return one trial.

        Raises:
            LookupError: If there is none of that number.
        """
        if self._read and number in self._read:
            return self._read[number]
        for trial in self._trials("WHERE number = ?", (number,)):
            if self._read is not None:
                self._read[number] = trial
            return trial
        raise LookupError(f"there must be a trial {number} in {self.path}, got none")

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials by number, without repeats; the first is the dense reference."""
        return self._trials("WHERE repeats IS NULL ORDER BY number")

    def repeats(self) -> tuple[Trial, ...]:
        """Return the trials that train another one again with another seed."""
        return self._trials("WHERE repeats IS NOT NULL ORDER BY number")

    @property
    def lost(self) -> frozenset[int]:
        """Numbers of the trials that nothing can be learnt from, repeats among them."""
        if self._lost is not None:
            return self._lost
        lost = [state for state in State if state.lost]
        rows = self._database.query(
            f"SELECT number FROM trial WHERE state IN ({', '.join('?' * len(lost))})", tuple(lost)
        )
        numbers = frozenset(number for (number,) in rows)
        if self._read is not None:
            self._lost = numbers
        return numbers

    def epochs(self, number: int) -> tuple[EpochRecord, ...]:
        """Return the epochs of a trial, first to last."""
        rows = self._database.query(
            f"SELECT {EPOCH_COLUMNS} FROM epoch WHERE trial = ? ORDER BY epoch", (number,)
        )
        return tuple(self._parse(schema.epoch_from_row, row) for row in rows)

    def spectrum(self, number: int, epoch: int, part: int = 0) -> SpectrumRecord:
        """Return the spectrum of a trial at an epoch.

        Raises:
            LookupError: If there is none.
        """
        for spectrum in self._spectra("trial = ? AND epoch = ? AND part = ?", number, epoch, part):
            return spectrum
        raise LookupError(
            f"there must be a spectrum of trial {number} at epoch {epoch} in {self.path}, got none"
        )

    def has_spectrum(self, number: int, epoch: int, part: int = 0) -> bool:
        """Return whether there is a spectrum of a trial at an epoch."""
        return bool(
            self._database.query(
                "SELECT 1 FROM spectrum WHERE trial = ? AND epoch = ? AND part = ?",
                (number, epoch, part),
            )
        )

    def spectra(self, number: int) -> tuple[SpectrumRecord, ...]:
        """Return the spectra of a trial along the text that all share, first to last."""
        return self._spectra("trial = ? AND part = 0", number)

    def token_spectra(self, epoch: int) -> dict[tuple[int, int], SpectrumRecord]:
        """Return the spectra at an epoch, by trial and part, of trials that have several parts."""
        rows = self._database.query(
            "SELECT trial, part FROM spectrum WHERE epoch = ? AND trial IN "
            "(SELECT trial FROM spectrum WHERE epoch = ? AND part > 0) ORDER BY trial, part",
            (epoch, epoch),
        )
        return {(trial, part): self.spectrum(trial, epoch, part) for trial, part in rows}

    def without_distance(self, epoch: int) -> tuple[int, ...]:
        """Return the trials whose spectrum at an epoch waits for the reference's."""
        rows = self._database.query(
            "SELECT trial FROM spectrum JOIN trial ON trial.number = spectrum.trial "
            "WHERE epoch = ? AND part = 0 AND distance IS NULL AND kind != 'dense' "
            "ORDER BY trial",
            (epoch,),
        )
        return tuple(number for (number,) in rows)

    def distances(self, number: int) -> dict[int, float]:
        """Return the distance of a trial's spectra to the reference, by epoch."""
        return dict(
            self._database.query(
                "SELECT epoch, distance FROM spectrum WHERE trial = ? AND part = 0 "
                "AND distance IS NOT NULL ORDER BY epoch",
                (number,),
            )
        )

    def spectrum_seconds(self) -> dict[tuple[int, int], float]:
        """Return the seconds that spectra took, by trial and epoch."""
        rows = self._database.query("SELECT trial, epoch, seconds FROM spectrum WHERE part = 0")
        return {(trial, epoch): seconds for trial, epoch, seconds in rows}

    def measurement(self, number: int, epoch: int) -> Measurement | None:
        """Return what scores may know of a trial at an epoch, None where it is not complete."""
        candidate = self.trial(number).candidate
        epochs = tuple(record for record in self.epochs(number) if record.epoch <= epoch)
        if candidate is None or len(epochs) < epoch:
            return None
        found = self._spectra("trial = ? AND epoch = ? AND part = 0", number, epoch)
        return Measurement(
            number=number,
            candidate=candidate,
            epochs=epochs,
            distance=found[0].distance if found else None,
            spectrum=found[0] if found else None,
        )

    def rungs(self) -> tuple[RungRecord, ...]:
        """Return all eliminations by round and rank."""
        rows = self._database.query(
            "SELECT round, epoch, trial, rank, kept FROM rung ORDER BY round, rank"
        )
        return tuple(
            RungRecord(round=round_, epoch=epoch, trial=trial, rank=rank, kept=bool(kept))
            for round_, epoch, trial, rank, kept in rows
        )

    def scores(self) -> tuple[ScoreRecord, ...]:
        """Return what each score said of each trial at each rung."""
        rows = self._database.query(
            "SELECT trial, epoch, name, value FROM score ORDER BY epoch, trial, name"
        )
        return tuple(
            ScoreRecord(trial=trial, epoch=epoch, name=name, value=value)
            for trial, epoch, name, value in rows
        )

    @contextmanager
    def _writing(self, *numbers: int) -> Iterator[Connection]:
        """Write to trials, all or nothing; what was read of them holds no longer."""
        try:
            with self._database.transaction() as connection:
                yield connection
        finally:
            if self._read:
                for number in numbers:
                    self._read.pop(number, None)

    def _study_json(self, column: str) -> dict[str, Any]:
        rows = self._database.query(f"SELECT {column} FROM study")
        return self._parse(lambda row: json.loads(row[0]), rows[0]) if rows else {}

    def _trials(self, condition: str, parameters: Row = ()) -> tuple[Trial, ...]:
        count = "(SELECT count(*) FROM epoch WHERE epoch.trial = number)"
        rows = self._database.query(
            f"SELECT {count}, {TRIAL_COLUMNS} FROM trial {condition}", parameters
        )
        return tuple(self._parse(lambda r: schema.trial_from_row(r[1:], r[0]), row) for row in rows)

    def _spectra(self, condition: str, *parameters: int) -> tuple[SpectrumRecord, ...]:
        rows = self._database.query(
            f"SELECT {SPECTRUM_COLUMNS} FROM spectrum WHERE {condition} ORDER BY epoch, part",
            parameters,
        )
        return tuple(self._parse(schema.spectrum_from_row, row) for row in rows)

    def _parse(self, rebuild: Callable[[Row], _T], row: Row) -> _T:
        try:
            return rebuild(row)
        except (ValueError, TypeError, KeyError, zlib.error) as error:
            raise CorruptStoreError(f"{self.path} is damaged: {error}") from error

    def _set_state(self, connection: Connection, number: int, state: State, reason: str) -> None:
        if state.lost or (self._lost and number in self._lost):
            self._lost = None
        now = _now()
        connection.execute(
            "UPDATE trial SET state = ?, reason = ?, started = coalesce(started, ?), ended = ? "
            "WHERE number = ? AND state != ?",
            (
                state,
                reason,
                now if state is State.RUNNING else None,
                now if state.ended else None,
                number,
                state,
            ),
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
