"""What stands in each section of a page about a study."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lsh_native.report import evidence as worth
from lsh_native.report import plots
from lsh_native.report.figures import Figure
from lsh_native.report.final import FinalTable
from lsh_native.report.gallery import gallery
from lsh_native.report.inline import inline
from lsh_native.report.markup import Markup, element, join
from lsh_native.report.tables import PART, Table, budget_table, comparison
from lsh_native.report.trial_tables import elimination_tables, scroll, swatch, trial_table, words
from lsh_native.report.view import Role, StudyView

_ROLES: Mapping[Role, str] = {
    Role.DENSE: "dense reference",
    Role.FOUND: "found: the best finisher",
    Role.FINISHED: "trained to the end",
    Role.RUNNING: "still in the search",
    Role.STOPPED: "stopped",
    Role.LOST: "diverged, failed or cancelled",
}


def sections(view: StudyView, table: FinalTable | None) -> Iterator[tuple[str, tuple[Markup, ...]]]:
    """Yield heading and content of each section; one with nothing to show has no content."""
    drawn = gallery(view, table)
    yield "Result", tuple(_result(view, table))
    yield "Cost", (*_cost(view), *_figures(drawn["Cost"]))
    yield "Candidates", tuple(_candidates(view, drawn["Candidates"]))
    yield "Training", tuple(_figures(drawn["Training"]))
    yield "Spectra", tuple(_spectra(drawn["Spectra"]))
    yield "Connections", tuple(_figures(drawn["Connections"]))
    yield "Scores", (*_scores(view), *_figures(drawn["Scores"]))
    yield "Evidence", tuple(_evidence(view, drawn["Evidence"]))
    yield "Choices", tuple(_figures(drawn["Choices"]))
    yield "Set-up", tuple(_setup(view))


def _result(view: StudyView, table: FinalTable | None) -> Iterator[Markup]:
    best = view.result.best
    if view.finished and best is not None and best.trial.candidate is not None:
        slots = best.trial.candidate.to_dict().items()
        how = ", ".join(f"{words(name)} {value}" for name, value in slots)
        yield element("p", f"The network found is candidate {best.trial.number}: {how}.")
    if table is not None:
        yield _table(comparison(table))


def _cost(view: StudyView) -> Iterator[Markup]:
    if view.result.budget.epochs:
        yield _table(budget_table(view.result.budget, finished=view.finished))


def _candidates(view: StudyView, drawn: Sequence[Figure]) -> Iterator[Markup]:
    if view.result.trials:
        yield _key(view)
        yield from _figures(drawn)
        yield from trial_table(view)


def _spectra(drawn: Sequence[Figure]) -> Iterator[Markup]:
    """Yield the spectra at the end and at the first elimination, then the others, folded."""
    if not drawn:
        return
    first, *between = drawn
    last = between.pop() if between else None
    yield from _figures(figure for figure in (last, first) if figure is not None)
    if between:
        yield element("details", element("summary", "Spectra between"), *_figures(between))


def _scores(view: StudyView) -> Iterator[Markup]:
    if view.rungs:
        yield element(
            "p",
            f"What each score said of each candidate at each elimination; smaller is better. "
            f"{view.score} decided who went on, above the line. The last column is the best "
            "validation perplexity of those that trained to the end.",
        )
        yield element("div", *elimination_tables(view), class_="eliminations")


def _evidence(view: StudyView, drawn: Sequence[Figure]) -> Iterator[Markup]:
    evidence = view.evidence
    if evidence is None:
        return
    yield element("p", element("strong", evidence.verdict))
    yield from _figures(drawn)
    if (replays := worth.replay_table(evidence)) is not None:
        yield _table(replays)
    for table in worth.rung_tables(evidence):
        summary = f"Every score {table.header[0]}"
        yield element("details", element("summary", summary), _table(table))
    for note in worth.NOTES:
        yield element("p", note, class_="note")


def _setup(view: StudyView) -> Iterator[Markup]:
    for heading, values in (("Configuration", view.configuration), ("Versions", view.versions)):
        rows = [
            element("tr", element("th", name, scope="row"), element("td", value))
            for name, value in _flat(values)
        ]
        if rows:
            yield element(
                "details", element("summary", heading), scroll(element("table", *rows), "pairs")
            )


def _figures(drawn: Iterable[Figure]) -> Iterator[Markup]:
    for figure in drawn:
        panels = [
            inline(svg, prefix=f"{figure.name}-{n}", label=label, colours=plots.PALETTE)
            for n, (label, svg) in enumerate(figure.panels, start=1)
        ]
        yield element(
            "figure",
            element("div", *panels, class_=f"panels {_layout(figure)}"),
            element("figcaption", figure.caption),
        )


def _layout(figure: Figure) -> str:
    return "wide" if figure.wide else f"of-{min(len(figure.panels), 3)}"


def _key(view: StudyView) -> Markup:
    """Return what the colours mean, of the roles that occur."""
    present = {view.role(s.trial) for s in view.summaries}
    return element(
        "p",
        *(element("span", swatch(role), text) for role, text in _ROLES.items() if role in present),
        class_="key",
    )


def _table(table: Table) -> Markup:
    head = element("tr", *(element("th", text, scope="col") for text in table.header))
    rows = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell) for cell in row[1:]),
            **({"class_": "part"} if row[0].startswith(PART) else {}),
        )
        for row in table.rows
    ]
    notes = [element("p", note, class_="note") for note in table.notes]
    return join((scroll(element("table", element("thead", head), element("tbody", *rows))), *notes))


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in sorted(values.items()):
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{path}{name}", text
