"""The figures of a study: which there are, what is drawn in them, what to look for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations

import numpy as np
from numpy.typing import NDArray

from lsh_native.report import plots
from lsh_native.report.final import Block
from lsh_native.report.plots import Curve, Lane, Point
from lsh_native.report.view import Role, StudyView, layers_of
from lsh_native.search.evidence import ENOUGH
from lsh_native.search.result import TrialSummary
from lsh_native.search.trial import REFERENCE, EpochRecord, SpectrumRecord
from lsh_native.training import perplexity

# Points of a spectrum that are drawn; more cannot be told apart.
_POINTS = 160
# Labels that fit at the end of curves, beside the dense reference's.
_LABELS = 4
# What the letters of gates stand for: an LSTM's, a GRU's, a recurrent highway network's.
_GATES: Mapping[str, str] = {
    **{"i": "input", "f": "forget", "g": "cell", "o": "output"},
    **{"r": "reset", "z": "update", "n": "new"},
    **{"h": "candidate", "t": "transform", "c": "carry"},
}
# Width of one of three drawings in a row.
_SMALL = 250


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Drawings that belong together.

    Args:
        name: A word that is unique among the figures of a page.
        caption: What to look for, in a sentence or two.
        panels: Title and SVG document of each drawing.
        wide: Whether the drawing takes the whole width, and scrolls where that is too little.
    """

    name: str
    caption: str
    panels: tuple[tuple[str, str], ...]
    wide: bool = False


def name_of(view: StudyView, number: int) -> str:
    """Return what a trial is called on the page."""
    if number == REFERENCE:
        return "dense"
    won = view.result.best if view.finished else None
    return f"#{number}{' found' if won is not None and won.trial.number == number else ''}"


def trajectory(view: StudyView) -> Figure | None:
    """Best validation perplexity so far against the epochs spent."""
    reference = view.epochs.get(REFERENCE, ())
    curves = []
    if reference:
        curves.append(_best_so_far(reference, start=0, label="dense", role=Role.DENSE))
    order = list(view.in_order())
    if order:
        records = [record for _, record in order]
        start = len(reference)
        curves.append(_best_so_far(records, start=start, label="sparse", role=Role.FOUND))
    if not curves:
        return None
    stages = (
        [sum(record.epoch <= end for record in records) for end in view.rung_epochs]
        if order
        else []
    )
    marks = [len(reference) + spent for spent in stages]
    return Figure(
        name="trajectory",
        caption=(
            "Every epoch counts, those of the dense reference first. Where the sparse line "
            "falls, the search found something better; dotted lines mark eliminations. "
            "Perplexities above twice the best are cut off."
        ),
        panels=(
            (
                "Best validation perplexity against epochs spent",
                plots.to_svg(plots.trajectory(curves, rungs=marks)),
            ),
        ),
    )


def survival(view: StudyView) -> Figure | None:
    """Which candidate survived to which elimination."""
    if not view.result.trials:
        return None
    lanes = [
        Lane(
            label=name_of(view, s.trial.number),
            role=view.role(s.trial),
            epochs=view.searched(s.trial),
            ranks=tuple((r.epoch, r.rank) for r in view.rungs if r.trial == s.trial.number),
        )
        for s in view.by_survival()
    ]
    axes = plots.survival(lanes, rungs=view.rung_epochs, total=view.total)
    return Figure(
        name="survival",
        caption=(
            "A lane is as long as its candidate trained; the number is its rank at an elimination, "
            "1 being the best. See whether those that finished were ranked high from the start or "
            "came close to being stopped."
        ),
        panels=(("Ranks of all candidates at each elimination", plots.to_svg(axes)),),
    )


def over_epochs(view: StudyView) -> Figure | None:
    """Distance to the dense reference and validation perplexity over epochs."""
    if not any(view.epochs.values()):
        return None
    labelled = _labelled(view)
    distances, perplexities = [], []
    for summary in view.summaries:
        number, role = summary.trial.number, view.role(summary.trial)
        label = name_of(view, number) if number in labelled else ""
        measured = [(s.epoch, s.distance) for s in view.spectra[number] if s.distance is not None]
        if measured:
            x, y = zip(*measured, strict=True)
            distances.append(Curve(label=label, role=role, x=x, y=y))
        records = view.epochs[number]
        if records:
            perplexities.append(
                Curve(
                    label=label,
                    role=role,
                    x=[r.epoch for r in records],
                    y=[perplexity(r.valid_loss) for r in records],
                )
            )
    compare = ""
    if distances:
        distances.append(Curve(label="dense", role=Role.DENSE, x=(0, view.total), y=(0, 0)))
        compare = (
            "Compare distances only within one epoch: they change in size as training goes on. "
            "See whether the candidates that are near the dense reference above are also those "
            "that are low below. "
        )
    drawing = plots.over_epochs(distances, perplexities, rungs=view.rung_epochs, total=view.total)
    return Figure(
        name="epochs",
        caption=f"{compare}Perplexities above twice the best are cut off.",
        panels=(("Distance and validation perplexity over epochs", plots.to_svg(drawing)),),
    )


def compared_epochs(view: StudyView) -> list[int]:
    """Return the epochs at which candidates have a spectrum; without any, the reference's last."""
    compared = {s.epoch for t in view.result.trials for s in view.spectra[t.trial.number]}
    reference = sorted(s.epoch for s in view.spectra.get(REFERENCE, ()))
    return sorted(compared) or reference[-1:]


def spectra(view: StudyView, epoch: int) -> Figure | None:
    """Spectra of each layer at an epoch, of all trials that have one there."""
    records = {
        s.trial.number: record
        for s in view.summaries
        if (record := view.spectrum(s.trial.number, epoch)) is not None
    }
    if not records:
        return None
    labelled = _labelled(view)
    summaries = {s.trial.number: s for s in view.summaries}
    first = next(iter(records.values()))
    panels = []
    for layer in range(len(layers_of(first, first.exponents))):
        curves = [
            _spectrum_curve(view, summaries[number], record, layer, number in labelled)
            for number, record in records.items()
            if layer < len(layers_of(record, record.exponents))
        ]
        title = f"layer {layer + 1} after epoch {epoch}{_unit(first)}"
        axes = plots.spectrum(curves, title=title)
        panels.append(
            (f"Lyapunov exponents of layer {layer + 1} after epoch {epoch}", plots.to_svg(axes))
        )
    collapsed = sum(int(np.isneginf(record.exponents).sum()) for record in records.values())
    most = max(len(layer) for r in records.values() for layer in layers_of(r, r.exponents))
    thinned = f" {_POINTS} of {most} exponents are drawn." if most > _POINTS else ""
    gap = (
        f" {collapsed} exponents of minus infinity, of directions that the dynamics erase, are not "
        "drawn."
        if collapsed
        else ""
    )
    return Figure(
        name=f"spectra-{epoch}",
        caption=(
            f"After epoch {epoch}. A curve above that of the dense network contracts less in "
            f"that direction; bands are one standard error.{thinned}{gap}"
        ),
        panels=tuple(panels),
    )


def turnover(view: StudyView) -> Figure | None:
    """How the connections change over time: what is left of the first, what was ever tried."""
    labelled = _labelled(view)
    panels = []
    for name, title in (
        ("survival", "first connections still there, %"),
        ("explored", "weights connected so far, %"),
    ):
        curves = []
        for summary in view.by_survival()[::-1]:  # the best on top
            number = summary.trial.number
            seen = [r for r in view.epochs.get(number, ()) if name in r.details]
            if seen:
                curves.append(
                    Curve(
                        label=name_of(view, number) if number in labelled else "",
                        role=view.role(summary.trial),
                        x=[r.epoch for r in seen],
                        y=[100 * r.details[name] for r in seen],
                    )
                )
        if curves:
            axes = plots.turnover(curves, title=title, total=view.total)
            panels.append((f"Share of the {title.removesuffix(', %')}", plots.to_svg(axes)))
    if not panels:
        return None
    return Figure(
        name="turnover",
        caption=(
            "How much each candidate rewires. A line that levels off has stopped looking for "
            "other connections; a static one never starts."
        ),
        panels=tuple(panels),
    )


def density(blocks: Sequence[Block]) -> Figure:
    """Density of each matrix and gate of the network that was found."""
    blocks = [replace(block, gate=_GATES.get(block.gate, block.gate)) for block in blocks]
    return Figure(
        name="density",
        caption=(
            "Share of the connections that were kept, in per cent, by matrix and by gate. Bars "
            "beyond the line hold more than their share of the connections."
        ),
        panels=(("Density of each matrix and gate", plots.to_svg(plots.density(blocks))),),
    )


def scores(view: StudyView) -> Figure | None:
    """What each score said of the finished candidates at the first elimination, and their end."""
    if not view.rung_epochs:
        return None
    epoch = view.rung_epochs[0]
    panels, sentences = [], []
    for name in view.score_names:
        points = list(_points(view, epoch, name))
        if not points:
            continue
        score = f"{name} after epoch {epoch}"
        axes = plots.score_against_final(points, score=score, width=_SMALL)
        panels.append((f"Final validation perplexity against {score}", plots.to_svg(axes)))
        sentences.append(f"{name} {_pairs(points)}")
    if not panels:
        return None
    count = len(view.finishers)
    if count < ENOUGH:
        verdict = (
            f"Only {count} {'candidate' if count == 1 else 'candidates'} finished: nothing can be "
            f"concluded about any score from fewer than {ENOUGH}."
        )
    else:
        verdict = (
            f"{count} candidates finished. Pairs of them that the score puts in the order of their "
            f"final perplexity, half of them by chance: {'; '.join(sentences)}. These are the "
            "candidates that the search kept, not a random sample."
        )
    return Figure(
        name="scores",
        caption=(
            f"Final validation perplexity, the best of all epochs, over what each score said after "
            f"epoch {epoch}; finished candidates only. {verdict}"
        ),
        panels=tuple(panels),
    )


def _best_so_far(records: Sequence[EpochRecord], *, start: int, label: str, role: Role) -> Curve:
    best = list(accumulate((perplexity(r.valid_loss) for r in records), min))
    spent = range(start + 1, start + len(records) + 1)
    return Curve(label=f"{label} {best[-1]:.1f}", role=role, x=spent, y=best)


def _labelled(view: StudyView) -> set[int]:
    """Return the trials that are named in drawings: the reference and the best finishers."""
    return {REFERENCE, *(s.trial.number for s in view.finishers[:_LABELS])}


def _spectrum_curve(
    view: StudyView, summary: TrialSummary, record: SpectrumRecord, layer: int, labelled: bool
) -> Curve:
    exponents = layers_of(record, record.exponents)[layer]
    shown = np.unique(np.linspace(0, len(exponents) - 1, _POINTS).round().astype(int))
    error: NDArray[np.float64] | None = None
    if record.standard_errors is not None and labelled:
        error = layers_of(record, record.standard_errors)[layer][shown]
    return Curve(
        label=name_of(view, summary.trial.number) if labelled else "",
        role=view.role(summary.trial),
        x=shown + 1,
        y=exponents[shown],
        error=error,
    )


def _unit(record: SpectrumRecord) -> str:
    convention = record.conventions.get("convention", record.conventions)
    base = convention.get("base") if hasattr(convention, "get") else None
    return {"nat": ", nats per step", "2": ", bits per step"}.get(str(base), "")


def _points(view: StudyView, epoch: int, name: str) -> Iterator[Point]:
    for summary in view.finishers:
        number = summary.trial.number
        score = view.scores.get((number, epoch, name))
        if score is not None and summary.best is not None:
            yield Point(
                label=f"#{number}" if len(view.finishers) < ENOUGH else "",
                role=view.role(summary.trial),
                score=score,
                perplexity=perplexity(summary.best.valid_loss),
            )


def _pairs(points: Sequence[Point]) -> str:
    """Say how many pairs a score puts in the order of their final perplexity."""
    signs = [
        np.sign(a.score - b.score) * np.sign(a.perplexity - b.perplexity)
        for a, b in combinations(points, 2)
    ]
    apart = [sign for sign in signs if sign]
    return f"{sum(sign > 0 for sign in apart)} of {len(apart)}"
