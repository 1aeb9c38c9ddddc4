"""One writer at a time: a lock that the system releases however the process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from lsh_native.search.errors import (
    DiskFullError,
    LockedStoreError,
    ReadOnlyStoreError,
    StoreError,
)


def lock(path: Path) -> int:
    """Take the writer's lock of a study; closing the descriptor releases it.

    The lock lies in a file beside the study, because closing a descriptor of the study's own file
    would drop the locks that SQLite holds on it.

    Raises:
        LockedStoreError: If another process, or this one, holds it.
        ReadOnlyStoreError: If the folder cannot be written.
        DiskFullError: If there is no room for the file.
        StoreError: If the file cannot be opened for another reason.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _take(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        raise _named(error, path) from error
    return descriptor


def is_locked(path: Path) -> bool:
    """Return whether a writer works on a study; a reader may ask."""
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


def _take(descriptor: int, path: Path) -> None:
    for left in reversed(range(10)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if not left:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace")
                raise LockedStoreError(
                    f"{path} must have one coordinator, but process {holder} works on it: wait for "
                    "it or end it"
                ) from error
            time.sleep(0.01)  # who only asks holds it for a moment
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def _named(error: OSError, path: Path) -> StoreError:
    if error.errno == errno.ENOSPC:
        return DiskFullError(f"{path} must have room beside it, but the disk is full")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ReadOnlyStoreError(f"{path} must lie in a folder that can be written")
    return StoreError(f"{path} cannot be used: {error.strerror}")
