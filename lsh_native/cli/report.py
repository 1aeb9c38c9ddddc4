"""`lsh-native report`: writes the report of a study anew, finished or not."""

from __future__ import annotations

from pathlib import Path

from lsh_native.cli.search import STORE
from lsh_native.report.finish import read_table, write_report
from lsh_native.search.store import Store

__all__ = ["report"]


def report(study: Path) -> None:
    """Writes report.html of a study from what is stored so far.

    Args:
        study: the study's folder.
    """
    with Store(study / STORE, read_only=True) as store:
        path = write_report(store, study, read_table(store, study))
    print(path)
