"""`lsh-native export`: a study in a form that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lsh_native.cli.search import STORE
from lsh_native.search import export as forms
from lsh_native.search.store import Store

__all__ = ["export"]


def export(
    study: Path,
    output: Path,
    what: Literal["trials", "epochs"] = "trials",
    form: Literal["csv", "jsonl", "optuna"] = "csv",
) -> None:
    """Writes a study as CSV, as JSON lines, or as a storage that `optuna-dashboard` shows.

    Args:
        study: the study's folder.
        output: file to write.
        what: a row for each trial, or for each epoch of each trial.
        form: of the file; `optuna` needs Optuna.
    """
    with Store(study / STORE, read_only=True) as store:
        if form == "optuna":
            forms.write_optuna(store, output)
        elif form == "csv":
            forms.write_csv(store, output, what)
        else:
            forms.write_jsonl(store, output, what)
    print(output)
