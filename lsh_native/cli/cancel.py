"""`lsh-native cancel`: takes candidates out of a search by hand."""

from __future__ import annotations

from pathlib import Path

from lsh_native.cli.files import STORE
from lsh_native.search.errors import LockedStoreError, StoreError
from lsh_native.search.store import Store

__all__ = ["cancel"]


def cancel(study: Path, trials: list[int]) -> None:
    """Takes candidates out of a search that is stopped; `resume` goes on without them.

    Args:
        study: the study's folder.
        trials: their numbers, as `status` shows them.
    """
    path = study / STORE
    if not path.is_file():
        raise StoreError(f"there must be a study at {path}, got no such file")
    try:
        store = Store(path)
    except LockedStoreError as error:
        raise LockedStoreError(
            f"{error}; a candidate is cancelled while nobody works on its study: stop it with "
            "Ctrl-C first and resume it after"
        ) from error
    with store:
        store.cancel(trials)
    print(f"Cancelled: {', '.join(map(str, trials))}. `lsh-native resume {study}` goes on without.")
