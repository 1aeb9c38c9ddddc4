"""The tables of trials on a page: all of them, and how each elimination went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lsh_native.report import figures, plots
from lsh_native.report.markup import Markup, element
from lsh_native.report.tables import ABSENT, show_count, show_perplexity
from lsh_native.report.view import Role, StudyView
from lsh_native.search.candidate import FIELDS
from lsh_native.search.result import TrialSummary
from lsh_native.training import perplexity


def trial_table(view: StudyView) -> Iterator[Markup]:
    """Yield the table of trials, and what all candidates have in common."""
    candidates = [s.trial.candidate.to_dict() for s in view.result.trials if s.trial.candidate]
    told = dict.fromkeys(name for candidate in candidates for name in candidate)
    fields = [name for name in ("method", *FIELDS) if name in told]
    names = [*fields, *sorted(told.keys() - {*fields})]  # controls come last
    values = {name: {str(c.get(name, ABSENT)) for c in candidates} for name in names}
    varying = [name for name in names if len(values[name]) > 1]
    common = [f"{words(name)} {values[name].pop()}" for name in names if name not in varying]
    if common:
        yield element("p", f"All candidates: {', '.join(common)}.", class_="note")
    numbers = ("epochs", "perplexity", "distance", "seconds")
    head = [
        _heading("#"),
        *(_heading(words(name), class_="word") for name in (*varying, "outcome")),
        *(_heading(name) for name in numbers),
    ]
    summaries = view.by_survival()
    distances = _aligned([s.distance for s in summaries])
    rows = [
        _trial_row(view, summary, varying, distance)
        for summary, distance in zip(summaries, distances, strict=True)
    ]
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    yield scroll(table, "sortable")


def _trial_row(
    view: StudyView, summary: TrialSummary, varying: Sequence[str], distance: str
) -> Markup:
    trial, best = summary.trial, summary.best
    values = trial.candidate.to_dict() if trial.candidate else {}
    role = view.role(trial)
    reached = perplexity(best.valid_loss) if best else None
    return element(
        "tr",
        element("th", figures.name_of(view, trial.number).split()[0], scope="row"),
        *(element("td", str(values.get(name, ABSENT)), class_="word") for name in varying),
        element("td", swatch(role), _outcome(role, trial.state), class_="word"),
        _number(trial.epochs, show_count(trial.epochs)),
        _number(reached, "" if reached is None else show_perplexity(reached)),
        _number(summary.distance, distance),
        _number(summary.seconds, show_count(summary.seconds)),
    )


def elimination_tables(view: StudyView) -> Iterator[Markup]:
    """Yield a table an elimination: what each score said, best first, and where the cut fell."""
    names = view.score_names
    final = {s.trial.number: s.best for s in view.finishers}
    roles = {s.trial.number: view.role(s.trial) for s in view.result.trials}
    head = element(
        "tr", *(element("th", text, scope="col") for text in ("", "rank", *names, "final"))
    )
    for epoch in view.rung_epochs:
        entered = [rung for rung in view.rungs if rung.epoch == epoch]
        columns = [
            _aligned([view.scores.get((rung.trial, epoch, name)) for rung in entered])
            for name in names
        ]
        rows = []
        for rung, *cells in zip(entered, *columns, strict=True):
            best = final.get(rung.trial)
            dot = swatch(roles.get(rung.trial, Role.STOPPED))
            rows.append(
                element(
                    "tr",
                    element("th", dot, f"#{rung.trial}", scope="row"),
                    *(element("td", text) for text in (str(rung.rank), *cells)),
                    element("td", show_perplexity(perplexity(best.valid_loss)) if best else ""),
                    class_="kept" if rung.kept else "gone",
                )
            )
        caption = element("caption", f"after epoch {epoch}")
        yield scroll(element("table", caption, element("thead", head), element("tbody", *rows)))


def swatch(role: Role) -> Markup:
    """Return a dot in the colour of a role."""
    return element("i", class_="swatch", style=f"background: var(--{plots.ROLE_COLOURS[role]})")


def scroll(table: Markup, class_: str = "") -> Markup:
    """Let a table that is wider than the screen scroll by itself."""
    return element("div", table, class_=f"scroll {class_}".strip(), tabindex="0")


def words(name: str) -> str:
    """Return the name of a field as words."""
    return name.replace("_", " ")


def _outcome(role: Role, state: str) -> str:
    return {Role.DENSE: "reference", Role.FOUND: "found"}.get(role, str(state))


def _heading(text: str, **attributes: str) -> Markup:
    """Return the head of a column by which a table can be sorted."""
    button = element("button", text, type="button")
    return element("th", button, scope="col", **attributes)


def _number(value: float | None, text: str) -> Markup:
    """Return a cell that is sorted by its number, not by its text."""
    return element("td", text, data_value="" if value is None else repr(value))


def _aligned(values: Sequence[float | None]) -> list[str]:
    """Return numbers of one column with as many decimals each, four digits in the largest."""
    present = [value for value in values if value is not None]
    largest = max((abs(value) for value in present), default=0.0)
    decimals = max(0, 3 - math.floor(math.log10(largest))) if largest else 0
    decimals = min(decimals, 6)
    while decimals and all(round(v, decimals) == round(v, decimals - 1) for v in present):
        decimals -= 1
    return ["" if value is None else f"{value:,.{decimals}f}" for value in values]
