"""One writer at a time: locks that the system releases however the process ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["LockedError", "is_locked", "lone_writer", "opened_alone", "take_lock"]


class LockedError(OSError):
    """Another process, or this one, holds a lock.

    Args:
        path: what it was to write alone.
        holder: its process, where that is known.
    """

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"{path} must have one writer, but process {holder} works on it: wait for it or end it"
        )
        self.holder = holder


def take_lock(path: Path) -> int:
    """Take the writer's lock of a file; closing the descriptor releases it.

    The lock lies in a file beside it, which may be replaced and read meanwhile.

    Raises:
        LockedError: Another process, or this one, holds it.
        OSError: The lock's file cannot be opened.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(path: Path) -> bool:
    """Return whether a writer works on a file; a reader may ask."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def lone_writer(path: Path) -> Iterator[None]:
    """Holds the writer's lock of a file; see `take_lock`."""
    descriptor = take_lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def opened_alone(path: Path) -> Iterator[BinaryIO]:
    """A new file that nobody else writes; one that a killed writer left is taken over.

    Who finds another at it waits, and then looks anew what has that name.
    """
    while True:
        with open(path, "ab") as file:  # emptied only when it is ours
            with suppress(OSError):  # a disk without locks is no reason to write nothing
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _has_name(file.fileno(), path):
                continue
            file.truncate(0)
            yield file
            return


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _take(descriptor: int, path: Path) -> None:
    for left in reversed(range(10)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if not left:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace")
                raise LockedError(path, holder) from error
            time.sleep(0.01)  # who only asks holds it for a moment
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
