"""Candidates side by side: how long they lived, what scores said of them, what they chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from lsh_native.report.plots.style import (
    MARGINS,
    PALETTE,
    ROLE_COLOURS,
    STYLE,
    WIDTH,
    canvas,
    line_style,
    mark_rungs,
    ticks,
)
from lsh_native.report.view import Role

# Of a drawing that a phone shows a part of, as wide as the page elsewhere; sizes in points.
_WIDE, _WIDE_TEXT = 700, 11.2
# What stands behind a label, so that no line runs through its letters.
_BEHIND = {"facecolor": PALETTE["paper"], "edgecolor": "none", "pad": 0.8}


@dataclass(frozen=True, kw_only=True)
class Lane:
    """The way of one trial through the eliminations.

    Args:
        label: Its name.
        role: How it ended.
        epochs: How far it came.
        ranks: Pairs of an epoch and its rank there.
    """

    label: str
    role: Role
    epochs: int
    ranks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Point:
    """A finished candidate: what a score said of it, and how it ended."""

    label: str
    role: Role
    score: float
    perplexity: float


@STYLE
def survival(
    lanes: Sequence[Lane], axes: Axes | None = None, *, rungs: Sequence[int], total: int
) -> Axes:
    """Draw a lane for each trial as long as it trained, with its rank at each elimination."""
    top, bottom = MARGINS[2:]
    axes = axes or canvas(height=19 * len(lanes) + top + bottom, left=64, right=14)[0]
    for row, lane in enumerate(lanes):
        style = line_style(lane.role)
        colour, width = style["color"], 2 * style["linewidth"]
        axes.plot([0, lane.epochs], [row, row], **{**style, "linewidth": width})
        if lane.role is Role.LOST:
            axes.plot(
                lane.epochs, row, color=colour, marker="x", markersize=6, zorder=4, clip_on=False
            )
        for epoch, rank in lane.ranks:
            axes.plot(
                epoch,
                row,
                color=colour,
                marker="o",
                markersize=15,
                markerfacecolor=PALETTE["paper"],
                markeredgewidth=1.2,
                zorder=3,
            )
            axes.text(epoch, row, str(rank), ha="center", va="center_baseline", zorder=4)
    axes.grid(visible=False)
    mark_rungs(axes, rungs)
    axes.set_xlim(0, 1.02 * total)
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.set_yticks(range(len(lanes)), [lane.label for lane in lanes])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(ticks(8, integer=True))
    axes.set_title("rank at each elimination")
    axes.set_xlabel("epoch")
    return axes


@STYLE
def score_against_final(
    points: Sequence[Point], axes: Axes | None = None, *, score: str = "score", width: int = WIDTH
) -> Axes:
    """Draw the final perplexity of finished candidates over what a score said of them before."""
    axes = axes or canvas(width=width, height=0.8 * width, right=24)[0]
    for point in points:
        colour = PALETTE[ROLE_COLOURS[point.role]]
        axes.plot(point.score, point.perplexity, color=colour, marker="o", markersize=6, zorder=3)
        axes.annotate(
            point.label,
            (point.score, point.perplexity),
            (6, 0),
            textcoords="offset points",
            va="center_baseline",
            bbox=_BEHIND if point.label else None,
            zorder=2.5,
        )
    axes.margins(0.22)
    axes.set_title("final validation perplexity")
    axes.set_xlabel(f"{score} (n = {len(points)})")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticks(4))
    return axes


@STYLE
def parallel(
    names: Sequence[str],
    columns: Sequence[Sequence[object]],
    reached: Sequence[float],
    roles: Sequence[Role],
    axes: Axes | None = None,
) -> Axes:
    """Draw a line for each candidate through its choices; the last axis is what it reached.

    Args:
        names: Of the parameters, one a column.
        columns: For each parameter its value for each candidate.
        reached: Perplexity of each candidate; lower stands lower.
        roles: What each candidate is.
        axes: Where to draw.
    """
    axes = axes or canvas(width=_WIDE, height=270, left=90, right=60, top=12)[0]
    places, heights = range(len(names) + 1), []
    for place, column in enumerate(columns):
        numbers = [value for value in column if isinstance(value, int | float)]
        if len(numbers) == len(column) and max(numbers) > min(numbers):
            low, span = min(numbers), max(numbers) - min(numbers)
            marks: dict[object, float] = {v: (v - low) / span for v in sorted(set(numbers))}
        else:
            choices = sorted({str(value) for value in column})
            marks = {c: (i + 0.5) / len(choices) for i, c in enumerate(choices)}
        heights.append([marks[v] if v in marks else marks[str(v)] for v in column])
        shown = list(marks.items())
        for value, height in shown if len(shown) <= 7 else (shown[0], shown[-1]):
            text = f"{value:.3g}" if isinstance(value, float) else str(value).replace("_", " ")
            axes.annotate(
                text,
                (place, height),
                (-4, 0),
                textcoords="offset points",
                ha="right",
                va="center_baseline",
                fontsize=_WIDE_TEXT,
                color=PALETTE["muted"],
                bbox=_BEHIND,
                zorder=4,
            )
    low, span = min(reached), (max(reached) - min(reached)) or 1.0
    heights.append([(value - low) / span for value in reached])
    generator = np.random.default_rng(0)
    order = sorted(range(len(reached)), key=lambda i: -reached[i])
    for index in order:
        jitter = 0.02 * generator.standard_normal(len(names))
        ys = [h[index] for h in heights]
        ys[:-1] = [y + j for y, j in zip(ys[:-1], jitter, strict=True)]
        axes.plot(list(places), ys, alpha=0.8, **line_style(roles[index]))
    for place in places:
        axes.axvline(place, color=PALETTE["faded"], linewidth=0.7, zorder=1)
    for value in (low, low + span):
        axes.annotate(
            f"{value:.1f}",
            (len(names), (value - low) / span),
            (5, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=_WIDE_TEXT,
        )
    lines = [name.replace(" ", "\n") for name in (*names, "perplexity")]  # side by side they fit
    axes.set_xticks(list(places), lines, fontsize=_WIDE_TEXT)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(names) + 0.05)
    axes.set_ylim(-0.06, 1.06)
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return axes


@STYLE
def pareto(points: Sequence[Point], axes: Axes | None = None, *, label: str) -> Axes:
    """Draw perplexity over a cost, `Point.score`, with the front of what nothing beats in both."""
    axes = score_against_final(points, axes, score=label)
    best, front = np.inf, []
    for point in sorted(points, key=lambda p: (p.score, p.perplexity)):
        if point.perplexity < best:
            best = point.perplexity
            front.append((point.score, point.perplexity))
    x, y = zip(*front, strict=True)
    axes.plot(x, y, drawstyle="steps-post", color=PALETTE["accent"], linewidth=1, zorder=2)
    return axes
