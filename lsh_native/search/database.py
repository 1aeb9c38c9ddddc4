"""The SQLite file under a study: whose it is, one writer, whole transactions, errors with names."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from lsh_native.search import schema
from lsh_native.search.errors import (
    CorruptStoreError,
    DiskFullError,
    LockedStoreError,
    NewerStoreError,
    NotAStoreError,
    OlderStoreError,
    ReadOnlyStoreError,
    StoreError,
)
from lsh_native.search.lock import lock
from lsh_native.search.schema import Row

Connection = sqlite3.Connection

# How long to wait for a program that holds SQLite's own lock, such as one that makes a copy.
_BUSY_SECONDS = 10.0


class Database:
    """An open file: a writer holds the lock beside it, a reader only looks.

    Args:
        path: The file; a writer creates it where there is none, or an empty one.
        read_only: Whether to look only.

    Raises:
        StoreError: One of its named kinds, if the file cannot be used.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = None if read_only else lock(path)
        try:
            self._connection = _connect(path, read_only=read_only)
            try:
                fresh = self._recognise()
                if read_only and fresh:
                    raise NotAStoreError(f"{path} must hold a study, got an empty file")
                if not read_only:
                    self._make_durable(fresh=fresh)
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Release the file and the lock."""
        self._connection.close()
        self._unlock()

    def query(self, sql: str, parameters: Row = ()) -> list[Row]:
        """Return the rows of a statement that only reads."""
        with _named(self.path):
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Do all of what is done inside, durably, or nothing of it."""
        with _named(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _recognise(self) -> bool:
        """Check whose file it is and that it is whole; return whether it is a new one."""
        ((owner,),) = self.query("PRAGMA application_id")
        ((version,),) = self.query("PRAGMA user_version")
        ((tables,),) = self.query("SELECT count(*) FROM sqlite_master")
        if not owner and not tables:
            return True
        if owner != schema.APPLICATION_ID:
            raise NotAStoreError(
                f"{self.path} must be a study of lsh_native, got the SQLite file of another program"
            )
        if version < schema.VERSION and self._lock is None:
            raise OlderStoreError(
                f"{self.path} must have schema version {schema.VERSION}, got {version}: "
                "resume the study once to bring it up to date"
            )
        if version > schema.VERSION:
            raise NewerStoreError(
                f"{self.path} must have schema version {schema.VERSION} at most, got {version}: "
                "use a newer lsh_native"
            )
        ((health,),) = self.query("PRAGMA quick_check(1)")
        if health != "ok":
            raise CorruptStoreError(f"{self.path} is damaged: {' '.join(health.split())}")
        return False

    def _make_durable(self, *, fresh: bool) -> None:
        self.query("PRAGMA journal_mode = WAL")
        self.query("PRAGMA synchronous = FULL")
        self.query("PRAGMA foreign_keys = ON")
        if fresh:
            with self.transaction() as connection:
                for statement in schema.TABLES.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        ((version,),) = self.query("PRAGMA user_version")
        for older in range(version, schema.VERSION):
            with self.transaction() as connection:
                for statement in schema.UPGRADES[older]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {older + 1}")

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    options = "mode=rwc"
    if read_only:
        if not path.is_file():
            raise StoreError(f"there must be a study at {path}, got no such file")
        # Where nothing can be written, SQLite reads a write-ahead file only if told that none is.
        bare = not path.with_name(f"{path.name}-wal").exists()
        frozen = bare and not os.access(path.parent, os.W_OK)
        options = "mode=ro&immutable=1" if frozen else "mode=ro"
    with _named(path):
        return sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?{options}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
        )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give SQLite's errors the names of `search.errors`."""
    try:
        yield
    except sqlite3.Error as error:
        kind, sentence = _SENTENCES.get(
            # The low byte of an extended code is the plain code.
            getattr(error, "sqlite_errorcode", 0) & 0xFF,
            (StoreError, f"cannot be used: {error}"),
        )
        raise kind(f"{path} {sentence}") from error


_SENTENCES: Mapping[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_NOTADB: (NotAStoreError, "must be a study, got a file that is not SQLite"),
    sqlite3.SQLITE_CORRUPT: (CorruptStoreError, "is damaged: its pages contradict each other"),
    sqlite3.SQLITE_FULL: (
        DiskFullError,
        "has no room to grow: free some disk space and resume; all that was stored is safe",
    ),
    sqlite3.SQLITE_READONLY: (
        ReadOnlyStoreError,
        "must be writable, with its folder, got read-only access",
    ),
    sqlite3.SQLITE_BUSY: (LockedStoreError, "is locked by another program: wait for it or end it"),
}
