"""`lsh-native status`: how far a study is, from another terminal if need be."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from rich.live import Live
from rich.text import Text

from lsh_native.cli.files import STORE
from lsh_native.report.tables import ABSENT, Table, budget_table, show_perplexity
from lsh_native.report.view import view_study
from lsh_native.search.lock import is_locked
from lsh_native.search.result import StudyResult
from lsh_native.search.store import Store
from lsh_native.search.trial import State
from lsh_native.training import perplexity

__all__ = ["status"]


def status(study: Path, watch: bool = False, every: float = 2.0) -> None:
    """Prints how far a study is: every trial, the best so far, and what it cost.

    Args:
        study: the study's folder.
        watch: keep showing it until the study has ended, with or without a result, or Ctrl-C is
            pressed.
        every: seconds between two looks.
    """
    if not 0 < every < float("inf"):
        raise ValueError(f"every must be above 0 and finite, got {every}")
    if not watch:
        print(_page(study)[0])
        return
    with suppress(KeyboardInterrupt), Live(auto_refresh=False) as live:
        ended = False
        while not ended:
            text, ended = _page(study)
            live.update(Text(text), refresh=True)
            if not ended:
                time.sleep(every)


def _page(study: Path) -> tuple[str, bool]:
    """What there is to say, and whether nothing more will come."""
    with Store(study / STORE, read_only=True) as store:
        view = view_study(store)
        reference = view.result.reference
        # One that nobody finished has no result, and without its reference none ever comes.
        ended = store.finished or (reference is not None and reference.trial.state.lost)
    parts = [_trials(view.result, going=is_locked(study / STORE)).text(), view.status()]
    if not view.finished and view.best_so_far():
        parts.append(view.best_so_far())
    parts.append(budget_table(view.result.budget, finished=view.finished).text())
    return "\n\n".join(parts), view.finished or ended


def _standing(state: State, *, going: bool) -> str:
    return "cut short" if state is State.RUNNING and not going else str(state)


def _trials(result: StudyResult, *, going: bool) -> Table:
    """Every trial: how far it came, how good it was, and where it stands.

    Args:
        result: of the study.
        going: whether a coordinator works on it; without one no trial runs, whatever the store says
            since the last was killed.
    """
    summaries = [*([result.reference] if result.reference else []), *result.trials]
    return Table(
        header=("trial", "epochs", "perplexity", "distance", "state", "pruning"),
        rows=tuple(
            (
                str(summary.trial.number),
                str(summary.trial.epochs),
                show_perplexity(perplexity(summary.best.valid_loss)) if summary.best else ABSENT,
                ABSENT if summary.distance is None else f"{summary.distance:.3f}",
                _standing(summary.trial.state, going=going),
                str(summary.trial.candidate or "dense reference"),
            )
            for summary in summaries
        ),
    )
