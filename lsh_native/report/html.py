"""One self-contained page about a study: opens offline, on a phone and in print."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from lsh_native.report import figures, plots
from lsh_native.report.figures import Figure
from lsh_native.report.final import FinalTable
from lsh_native.report.inline import inline
from lsh_native.report.markup import Markup, element, join
from lsh_native.report.tables import (
    ABSENT,
    Table,
    budget_table,
    comparison,
    headline,
    perplexity,
    show_count,
    show_perplexity,
)
from lsh_native.report.view import Role, StudyView, view_study
from lsh_native.search.result import TrialSummary
from lsh_native.search.space import FIELDS
from lsh_native.search.store import Store

_ROLES: Mapping[Role, str] = {
    Role.DENSE: "dense reference",
    Role.FOUND: "found: the best finisher",
    Role.FINISHED: "trained to the end",
    Role.RUNNING: "still in the search",
    Role.STOPPED: "stopped",
    Role.LOST: "diverged or failed",
}


def write_report(
    path: str | os.PathLike[str],
    store: Store,
    *,
    table: FinalTable | None = None,
    title: str = "Search for a sparse network",
) -> Path:
    """Write the page about a study, whole or not at all.

    Args:
        path: The file; one that is there is replaced.
        store: The study, finished or not.
        table: The final table; without it the page shows what the store knows.
        title: What the search was about, such as the name of the corpus.

    Returns:
        The path.

    Raises:
        OSError: If the file cannot be written; what was there stays.
        StoreError: If the store cannot be read.
    """
    path = Path(path)
    page = render(view_study(store), table=table, title=title)
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def render(view: StudyView, *, table: FinalTable | None = None, title: str = "") -> str:
    """Return the page about a study; the same study gives the same text."""
    sections = [
        section
        for section in (
            _section("Result", *_result(view, table)),
            _section("Cost", *_cost(view)),
            _section("Candidates", *_candidates(view)),
            _section("Training", *_figures(figures.over_epochs(view))),
            _section("Spectra", *_spectra(view)),
            _section("Connections", *_connections(table)),
            _section("Scores", *_scores(view)),
            _section("Set-up", *_setup(view)),
        )
        if section
    ]
    body = element(
        "body",
        element("main", *_header(view, table, title), *sections),
        element("script", Markup(_asset("page.js"))),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{_head(title)}\n{body}\n</html>\n'


def _head(title: str) -> Markup:
    script = base64.b64encode(hashlib.sha256(_asset("page.js").encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'"
    light = "".join(f"--{name}:{colour};" for name, colour in plots.PALETTE.items())
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(f":root{{{light}}}\n{_asset('page.css')}")),
    )


def _header(view: StudyView, table: FinalTable | None, title: str) -> Iterator[Markup]:
    """Yield what was found, how far the study is, and what to know before trusting it."""
    yield element("p", title, class_="kicker")
    sentence = _headline(view, table)
    status = view.status()
    yield element("h1", sentence or status)
    if sentence:
        yield element("p", status, class_="status")
    facts = [f"{view.total} epochs in the full schedule"] if view.result.reference else []
    if view.result.trials:
        facts.append(f"judged by {view.score}")
    if view.result.reference is not None:
        facts.append(f"started {view.result.reference.trial.created[:16].replace('T', ' ')} UTC")
    if facts:
        yield element("p", " · ".join(facts), class_="facts")
    warnings = [element("li", warning) for warning in view.warnings()]
    if warnings:
        yield element("aside", element("h2", "Caveats"), element("ul", *warnings))


def _headline(view: StudyView, table: FinalTable | None) -> str:
    if table is not None and table.found is not None:
        return headline(
            density=table.found.density,
            perplexity=table.found.valid_perplexity,
            dense_perplexity=table.dense.valid_perplexity,
        )
    best, reference = view.result.best, view.result.reference
    if not view.finished or best is None or best.best is None or not (reference and reference.best):
        return ""
    return headline(
        density=best.best.density,
        perplexity=perplexity(best.best.valid_loss),
        dense_perplexity=perplexity(reference.best.valid_loss),
    )


def _result(view: StudyView, table: FinalTable | None) -> Iterator[Markup]:
    best = view.result.best
    if view.finished and best is not None and best.trial.candidate is not None:
        slots = best.trial.candidate.to_dict().items()
        words = ", ".join(f"{_words(name)} {value}" for name, value in slots)
        yield element("p", f"Candidate {best.trial.number} was found: {words}.")
    if table is not None:
        yield _table(comparison(table))


def _cost(view: StudyView) -> Iterator[Markup]:
    if view.result.budget.epochs:
        yield _table(budget_table(view.result.budget, finished=view.finished))
        yield from _figures(figures.trajectory(view))


def _candidates(view: StudyView) -> Iterator[Markup]:
    if view.result.trials:
        yield _key(view)
        yield from _figures(figures.survival(view))
        yield from _trials(view)


def _spectra(view: StudyView) -> Iterator[Markup]:
    """Yield the spectra at the end and at the first elimination, then the others, folded."""
    compared = {s.epoch for t in view.result.trials for s in view.spectra[t.trial.number]}
    reference = {s.epoch for s in view.spectra.get(0, ())}
    epochs = sorted(compared or set(sorted(reference)[-1:]))
    shown = sorted({epochs[0], epochs[-1]}, reverse=True) if epochs else []
    for epoch in shown:
        yield from _figures(figures.spectra(view, epoch))
    others = [
        figure
        for epoch in epochs
        if epoch not in shown and (figure := figures.spectra(view, epoch)) is not None
    ]
    if others:
        summary = element("summary", f"Spectra at {len(others)} more eliminations")
        yield element("details", summary, *_figures(*others))


def _connections(table: FinalTable | None) -> Iterator[Markup]:
    if table is not None and table.found is not None:
        yield from _figures(figures.density(table.found.blocks))


def _scores(view: StudyView) -> Iterator[Markup]:
    if view.rungs:
        yield element(
            "p",
            f"What each score said of each candidate at each elimination; smaller is better. "
            f"{view.score} decided who went on, above the line. The last column is the validation "
            "perplexity at the end of the full schedule.",
        )
        yield element("div", *_eliminations(view), class_="eliminations")
        yield from _figures(figures.scores(view))


def _setup(view: StudyView) -> Iterator[Markup]:
    for heading, values in (("Configuration", view.configuration), ("Versions", view.versions)):
        rows = [
            element("tr", element("th", name, scope="row"), element("td", value))
            for name, value in _flat(values)
        ]
        if rows:
            yield element(
                "details", element("summary", heading), _scroll(element("table", *rows), "pairs")
            )


def _section(heading: str, *content: Markup) -> Markup:
    if not content:
        return Markup()
    name = heading.lower()
    return element("section", element("h2", heading), *content, id_=name)


def _figures(*drawn: Figure | None) -> Iterator[Markup]:
    for figure in drawn:
        if figure is not None:
            panels = [
                inline(svg, prefix=f"{figure.name}-{n}", label=label, colours=plots.PALETTE)
                for n, (label, svg) in enumerate(figure.panels, start=1)
            ]
            yield element(
                "figure",
                element("div", *panels, class_=f"panels of-{min(len(panels), 3)}"),
                element("figcaption", figure.caption),
            )


def _key(view: StudyView) -> Markup:
    """Return what the colours mean, of the roles that occur."""
    present = {view.role(s.trial) for s in view.summaries}
    return element(
        "p",
        *(element("span", _swatch(role), text) for role, text in _ROLES.items() if role in present),
        class_="key",
    )


def _table(table: Table) -> Markup:
    head = element("tr", *(element("th", text, scope="col") for text in table.header))
    rows = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell) for cell in row[1:]),
            **({"class_": "part"} if row[0].startswith("of which") else {}),
        )
        for row in table.rows
    ]
    notes = [element("p", note, class_="note") for note in table.notes]
    return join(
        (_scroll(element("table", element("thead", head), element("tbody", *rows))), *notes)
    )


def _trials(view: StudyView) -> Iterator[Markup]:
    """Yield the table of trials, and what all candidates have in common."""
    candidates = [s.trial.candidate.to_dict() for s in view.result.trials if s.trial.candidate]
    names = [name for name in ("method", *FIELDS) if any(name in c for c in candidates)]
    values = {name: {str(c.get(name, ABSENT)) for c in candidates} for name in names}
    varying = [name for name in names if len(values[name]) > 1]
    common = [f"{_words(name)} {values[name].pop()}" for name in names if name not in varying]
    if common:
        yield element("p", f"All candidates: {', '.join(common)}.", class_="note")
    numbers = ("epochs", "best perplexity", "last distance", "seconds")
    head = [
        _heading("#"),
        *(_heading(_words(name), class_="word") for name in (*varying, "outcome")),
        *(_heading(name) for name in numbers),
    ]
    summaries = view.by_survival()
    distances = _aligned([s.distance for s in summaries])
    rows = [
        _trial_row(view, summary, varying, distance)
        for summary, distance in zip(summaries, distances, strict=True)
    ]
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    yield _scroll(table, "sortable")


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
        element("td", _swatch(role), _outcome(role, trial.state), class_="word"),
        _number(trial.epochs, show_count(trial.epochs)),
        _number(reached, "" if reached is None else show_perplexity(reached)),
        _number(summary.distance, distance),
        _number(summary.seconds, show_count(summary.seconds)),
    )


def _eliminations(view: StudyView) -> Iterator[Markup]:
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
            swatch = _swatch(roles.get(rung.trial, Role.STOPPED))
            rows.append(
                element(
                    "tr",
                    element("th", swatch, f"#{rung.trial}", scope="row"),
                    *(element("td", text) for text in (str(rung.rank), *cells)),
                    element("td", show_perplexity(perplexity(best.valid_loss)) if best else ""),
                    class_="kept" if rung.kept else "gone",
                )
            )
        yield element(
            "table",
            element("caption", f"after epoch {epoch}"),
            element("thead", head),
            element("tbody", *rows),
        )


def _aligned(values: Sequence[float | None]) -> list[str]:
    """Return numbers of one column with as many decimals each, four digits in the largest."""
    present = [value for value in values if value is not None]
    largest = max((abs(value) for value in present), default=0.0)
    decimals = max(0, 3 - math.floor(math.log10(largest))) if largest else 0
    decimals = min(decimals, 6)
    while decimals and all(round(v, decimals) == round(v, decimals - 1) for v in present):
        decimals -= 1
    return ["" if value is None else f"{value:,.{decimals}f}" for value in values]


def _number(value: float | None, text: str) -> Markup:
    """Return a cell that is sorted by its number, not by its text."""
    return element("td", text, data_value="" if value is None else repr(value))


def _outcome(role: Role, state: str) -> str:
    return {Role.DENSE: "reference", Role.FOUND: "found"}.get(role, str(state))


def _heading(text: str, **attributes: str) -> Markup:
    """Return the head of a column by which a table can be sorted."""
    button = element("button", text, type="button")
    return element("th", button, scope="col", **attributes)


def _swatch(role: Role) -> Markup:
    return element("i", class_=f"swatch {role}")


def _scroll(table: Markup, class_: str = "") -> Markup:
    """Let a table that is wider than the screen scroll by itself."""
    return element("div", table, class_=f"scroll {class_}".strip(), tabindex="0")


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in sorted(values.items()):
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{path}{name}", text


def _words(name: str) -> str:
    return name.replace("_", " ")


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
