"""One self-contained page about a study: opens offline, on a phone and in print."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from lsh_native.report import plots
from lsh_native.report.final import FinalTable
from lsh_native.report.markup import Markup, element
from lsh_native.report.sections import sections
from lsh_native.report.tables import headline
from lsh_native.report.view import StudyView, view_study
from lsh_native.search.score import Score
from lsh_native.search.store import Store
from lsh_native.training import perplexity, replace_file

TITLE = "Search for a sparse network"
"""What stands above a page that was given no title."""


def write_report(
    path: str | os.PathLike[str],
    store: Store,
    *,
    table: FinalTable | None = None,
    title: str = TITLE,
    scores: Mapping[str, Score] | None = None,
) -> Path:
    """Write the page about a study, whole or not at all.

    Args:
        path: The file; one that is there is replaced.
        store: The study, finished or not.
        table: The final table; without it the page shows what the store knows.
        title: What the search was about, such as the name of the corpus.
        scores: Scores of the study's own to judge; see `view_study`.

    Returns:
        The path.

    Raises:
        OSError: If the file cannot be written; what was there stays.
        StoreError: If the store cannot be read.
    """
    path = Path(path)
    page = render(view_study(store, scores), table=table, title=title)
    replace_file(path, page.encode())
    return path


def render(view: StudyView, *, table: FinalTable | None = None, title: str = TITLE) -> str:
    """Return the page about a study; the same study gives the same text."""
    content = [
        element("section", element("h2", heading), *parts, id_=heading.lower())
        for heading, parts in sections(view, table)
        if parts
    ]
    body = element(
        "body",
        element("main", *_header(view, table, title), *content),
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
    below = status if sentence else view.best_so_far()
    if below:
        yield element("p", below, class_="status")
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


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
