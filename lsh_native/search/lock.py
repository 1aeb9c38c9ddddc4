"""The lock of a study's one coordinator, with what can go wrong named as of a study."""

from __future__ import annotations

import errno
from pathlib import Path

from lsh_native.search.errors import (
    DiskFullError,
    LockedStoreError,
    ReadOnlyStoreError,
    StoreError,
)
from lsh_native.training.lock import LockedError, is_locked, take_lock

__all__ = ["is_locked", "lock"]


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
        return take_lock(path)
    except LockedError as error:
        raise LockedStoreError(
            f"{path} must have one coordinator, but process {error.holder} works on it: wait for "
            "it or end it"
        ) from error
    except OSError as error:
        raise _named(error, path) from error


def _named(error: OSError, path: Path) -> StoreError:
    if error.errno == errno.ENOSPC:
        return DiskFullError(f"{path} must have room beside it, but the disk is full")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ReadOnlyStoreError(f"{path} must lie in a folder that can be written")
    return StoreError(f"{path} cannot be used: {error.strerror}")
