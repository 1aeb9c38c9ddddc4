"""`lsh-native report`: writes the report of a study anew, finished or not."""

from __future__ import annotations

from pathlib import Path

from lsh_native.cli.evidence import scores_at_hand
from lsh_native.cli.files import STORE
from lsh_native.report.finish import read_table, write_figures, write_report
from lsh_native.search.store import Store

__all__ = ["report"]


def report(study: Path, figures: Path | None = None) -> None:
    """Writes report.html of a study from what is stored so far.

    Args:
        study: the study's folder.
        figures: a folder for the page's figures as SVG files.
    """
    with Store(study / STORE, read_only=True) as store:
        scores_at_hand(store)  # what cannot be imported is said before anything is drawn
        table = read_table(store, study)
        print(write_report(store, study, table))
        if figures is not None:
            for path in write_figures(store, figures, table):
                print(path)
