"""`lsh-native status`: how far a study is, from another terminal if need be."""

from __future__ import annotations

from pathlib import Path

from lsh_native.cli.search import STORE
from lsh_native.report.tables import ABSENT, Table, budget_table, show_perplexity
from lsh_native.report.view import view_study
from lsh_native.search.result import StudyResult
from lsh_native.search.store import Store
from lsh_native.training import perplexity

__all__ = ["status"]


def status(study: Path) -> None:
    """Prints how far a study is: every trial, the best so far, and what it cost.

    Args:
        study: the study's folder.
    """
    with Store(study / STORE, read_only=True) as store:
        view = view_study(store)
    print(_trials(view.result).text())
    print()
    print(budget_table(view.result.budget, finished=view.finished).text())


def _trials(result: StudyResult) -> Table:
    """Every trial: how far it came, how good it was, and where it stands."""
    summaries = [*([result.reference] if result.reference else []), *result.trials]
    return Table(
        header=("trial", "epochs", "perplexity", "distance", "state", "pruning"),
        rows=tuple(
            (
                str(summary.trial.number),
                str(summary.trial.epochs),
                show_perplexity(perplexity(summary.best.valid_loss)) if summary.best else ABSENT,
                ABSENT if summary.distance is None else f"{summary.distance:.3f}",
                str(summary.trial.state),
                str(summary.trial.candidate or "dense reference"),
            )
            for summary in summaries
        ),
    )
