"""Every figure of a study, by the section of the page that it stands in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lsh_native.report import choices, figures
from lsh_native.report import evidence as worth
from lsh_native.report.figures import Figure
from lsh_native.report.final import FinalTable
from lsh_native.report.view import StudyView


def gallery(view: StudyView, table: FinalTable | None = None) -> Mapping[str, tuple[Figure, ...]]:
    """Return the figures that there is something to draw in, by section.

    Args:
        view: of the study, which may be unfinished.
        table: the final numbers, if the study has ended.
    """
    sections = {
        "Cost": _cost(view),
        "Candidates": (figures.survival(view),),
        "Training": (figures.over_epochs(view),),
        "Spectra": (figures.spectra(view, epoch) for epoch in figures.compared_epochs(view)),
        "Connections": _connections(view, table),
        "Scores": () if view.evidence else (figures.scores(view),),
        "Evidence": _evidence(view),
        "Choices": _choices(view),
    }
    return {
        section: tuple(figure for figure in drawn if figure is not None)
        for section, drawn in sections.items()
    }


def every_figure(view: StudyView, table: FinalTable | None = None) -> Iterator[Figure]:
    """Yield the figures of all sections, one after the other."""
    for drawn in gallery(view, table).values():
        yield from drawn


def _cost(view: StudyView) -> Iterator[Figure | None]:
    if view.result.budget.epochs:
        yield figures.trajectory(view)


def _connections(view: StudyView, table: FinalTable | None) -> Iterator[Figure | None]:
    yield figures.turnover(view)
    if table is not None and table.found is not None:
        yield figures.density(table.found.blocks)


def _evidence(view: StudyView) -> Iterator[Figure | None]:
    if view.evidence is not None:
        yield worth.against_end(view, view.evidence)
        yield worth.rivals(view.evidence)


def _choices(view: StudyView) -> Iterator[Figure | None]:
    if len(view.result.trials) > 1:
        yield choices.importance(view)
        yield choices.coordinates(view)
        yield choices.pareto(view)
