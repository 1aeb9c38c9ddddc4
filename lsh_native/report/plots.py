"""Drawings of plain data with matplotlib, each on an Axes of its own or one that is handed in.

A colour stands for a role, the same in every drawing, and no drawing needs a legend.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from lsh_native.report.final import Block
from lsh_native.report.view import Role

PALETTE: Mapping[str, str] = MappingProxyType(
    {
        "paper": "#ffffff",
        "ink": "#1c2127",
        "muted": "#5d6873",
        "rule": "#dfe3e8",
        "faded": "#b6bec7",
        "accent": "#0b5cad",
        "tint": "#79aedd",
        "lost": "#c4510a",
    }
)
"""Colours by name; told apart by lightness as well as by hue."""

ROLE_COLOURS: Mapping[Role, str] = MappingProxyType(
    {
        Role.STOPPED: "faded",
        Role.LOST: "lost",
        Role.RUNNING: "muted",
        Role.FINISHED: "tint",
        Role.DENSE: "ink",
        Role.FOUND: "accent",
    }
)
"""The colour of each role, by name; what comes later is drawn above."""

_WIDTHS: Mapping[Role, float] = {
    Role.STOPPED: 0.8,
    Role.LOST: 0.8,
    Role.RUNNING: 1.0,
    Role.FINISHED: 1.5,
    Role.DENSE: 1.5,
    Role.FOUND: 1.9,
}

WIDTH = 420
"""Of a drawing, in points; text is 10 of them high."""

_MARGINS = (46, 70, 24, 34)  # left, right, top, bottom

_STYLE = rc_context(
    {
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "text.color": PALETTE["ink"],
        "text.parse_math": False,
        "axes.labelcolor": PALETTE["muted"],
        "axes.titlecolor": PALETTE["ink"],
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.edgecolor": PALETTE["faded"],
        "axes.facecolor": "none",
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "grid.color": PALETTE["rule"],
        "grid.linewidth": 0.6,
        "xtick.color": PALETTE["faded"],
        "xtick.labelcolor": PALETTE["muted"],
        "xtick.major.size": 3,
        "xtick.major.width": 0.7,
        "ytick.color": PALETTE["faded"],
        "ytick.labelcolor": PALETTE["muted"],
        "ytick.major.size": 0,
        "figure.facecolor": "none",
        "lines.solid_capstyle": "round",
        "svg.fonttype": "none",
        "svg.hashsalt": "lsh_native",
    }
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A line to draw.

    Args:
        label: What stands at its end; empty for nothing.
        role: What it shows, which decides how it looks.
        x: Increasing numbers.
        y: As many numbers; those that are not finite leave a gap.
        error: Standard errors of y, or None.
    """

    label: str = ""
    role: Role
    x: ArrayLike
    y: ArrayLike
    error: ArrayLike | None = None


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


@_STYLE
def spectrum(
    curves: Sequence[Curve], axes: Axes | None = None, *, title: str = "", width: int = WIDTH
) -> Axes:
    """Draw the exponents of one layer over their index, with a band of one standard error."""
    axes = axes or _canvas(width=width, height=0.64 * width)[0]
    for curve in curves:
        x, y = _xy(curve)
        style = _line(curve.role)
        if curve.error is not None:
            error = np.asarray(curve.error, dtype=np.float64)
            axes.fill_between(
                x, y - error, y + error, color=style["color"], alpha=0.2, linewidth=0, zorder=1.9
            )
        axes.plot(x, y, **style)
    axes.margins(x=0, y=0.05)
    axes.set_title(title)
    axes.set_xlabel("index of the exponent")
    axes.xaxis.set_major_locator(_ticks(6, integer=True))
    _end_labels(axes, curves)
    return axes


@_STYLE
def convergence(
    curves: Sequence[Curve], axes: Axes | None = None, *, title: str = "", width: int = WIDTH
) -> Axes:
    """Draw running estimates over the steps that were averaged; a band is what they end in."""
    axes = axes or _canvas(width=width, height=0.64 * width)[0]
    for curve in curves:
        x, y = _xy(curve)
        style = _line(curve.role)
        if curve.error is not None:
            error = float(np.asarray(curve.error, dtype=np.float64))
            axes.axhspan(y[-1] - error, y[-1] + error, color=style["color"], alpha=0.2, linewidth=0)
        axes.plot(x, y, **style)
    axes.margins(x=0, y=0.08)
    axes.set_xlim(0, None)
    axes.set_title(title)
    axes.set_xlabel("time steps averaged")
    axes.xaxis.set_major_locator(_ticks(6, integer=True))
    _end_labels(axes, curves)
    return axes


@_STYLE
def over_epochs(
    distances: Sequence[Curve], perplexities: Sequence[Curve], *, rungs: Sequence[int], total: int
) -> Figure:
    """Draw distances to the dense reference above validation perplexities, over the same epochs.

    Without distances there are perplexities alone.
    """
    *uppers, lower = _canvas(height=450 if distances else 250, rows=2 if distances else 1, top=36)
    for upper in uppers:
        for curve in distances:
            x, y = _xy(curve)
            style = _line(curve.role)
            marker = "" if curve.role is Role.DENSE else "o"
            upper.plot(x, y, marker=marker, markersize=2 * style["linewidth"], **style)
        largest = float(_finite(distances).max(initial=0.0)) or 1.0
        upper.set_ylim(-0.04 * largest, 1.06 * largest)
        upper.set_title("distance to the dense reference")
        upper.tick_params(labelbottom=False)
    for curve in perplexities:
        lower.plot(*_xy(curve), **_line(curve.role))
    _cap(lower, perplexities)
    lower.set_title("validation perplexity")
    lower.set_xlabel("epoch")
    for axes in (*uppers, lower):
        _mark_rungs(axes, rungs)
        axes.set_xlim(0, total)
        axes.xaxis.set_major_locator(_ticks(8, integer=True))
        _end_labels(axes, perplexities if axes is lower else distances)
    return _figure(lower)


@_STYLE
def trajectory(
    curves: Sequence[Curve],
    axes: Axes | None = None,
    *,
    rungs: Sequence[int] = (),
    right: int = _MARGINS[1],
) -> Axes:
    """Draw the best validation perplexity so far over all epochs spent; steps hold to the end."""
    axes = axes or _canvas(height=270, right=right)[0]
    end = max(float(_xy(curve)[0][-1]) for curve in curves)
    for curve in curves:
        x, y = _xy(curve)
        style = _line(curve.role)
        axes.plot(x, y, drawstyle="steps-post", **style)
        axes.plot([x[-1], end], [y[-1], y[-1]], linestyle=(0, (2, 2)), **{**style, "linewidth": 1})
    _mark_rungs(axes, rungs)
    axes.set_xlim(0, end)
    _cap(axes, curves)
    axes.xaxis.set_major_locator(_ticks(6, integer=True))
    axes.set_title("best validation perplexity so far")
    axes.set_xlabel("epochs spent, the dense reference first")
    _end_labels(axes, curves)
    return axes


@_STYLE
def survival(
    lanes: Sequence[Lane], axes: Axes | None = None, *, rungs: Sequence[int], total: int
) -> Axes:
    """Draw a lane for each trial as long as it trained, with its rank at each elimination."""
    top, bottom = _MARGINS[2:]
    axes = axes or _canvas(height=17 * len(lanes) + top + bottom, left=62, right=30)[0]
    for row, lane in enumerate(lanes):
        style = _line(lane.role)
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
                markersize=13,
                markerfacecolor=PALETTE["paper"],
                markeredgewidth=1.2,
                zorder=3,
            )
            axes.text(
                epoch, row, str(rank), fontsize=7.5, ha="center", va="center_baseline", zorder=4
            )
    axes.grid(visible=False)
    _mark_rungs(axes, rungs)
    axes.set_xlim(0, 1.02 * total)
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.set_yticks(range(len(lanes)), [lane.label for lane in lanes])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(_ticks(8, integer=True))
    axes.set_title("rank at each elimination")
    axes.set_xlabel("epoch")
    return axes


@_STYLE
def density(blocks: Sequence[Block], axes: Axes | None = None) -> Axes:
    """Draw the kept share of each matrix and, under it, of its gates; a line marks the whole."""
    rows = _density_rows(blocks)
    axes = axes or _canvas(height=16 * len(rows) + 64, left=150, top=30)[0]
    for row, (_, share, whole) in enumerate(rows):
        axes.barh(
            row,
            share,
            height=0.62 if whole else 0.42,
            color=PALETTE["accent"] if whole else PALETTE["tint"],
        )
        axes.annotate(
            f"{100 * share:.1f}",
            (1, row),
            (46, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center_baseline",
            fontsize=9,
            color=PALETTE["ink" if whole else "muted"],
        )
    overall = sum(b.non_zeros for b in blocks) / sum(b.weights for b in blocks)
    axes.axvline(overall, color=PALETTE["ink"], linewidth=0.9, zorder=3)
    axes.annotate(
        f"all {100 * overall:.1f} %",
        (overall, 1),
        (0, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
    )
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    for label, (_, _, whole) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(PALETTE["ink" if whole else "muted"])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, min(1.0, 1.05 * max(share for _, share, _ in rows)) or 1.0)
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.xaxis.set_major_locator(_ticks(5))
    axes.spines["left"].set_visible(False)
    return axes


@_STYLE
def score_against_final(
    points: Sequence[Point], axes: Axes | None = None, *, score: str = "score", width: int = WIDTH
) -> Axes:
    """Draw the final perplexity of finished candidates over what a score said of them before."""
    axes = axes or _canvas(width=width, height=0.8 * width, right=24)[0]
    for point in points:
        colour = PALETTE[ROLE_COLOURS[point.role]]
        axes.plot(point.score, point.perplexity, color=colour, marker="o", markersize=6, zorder=3)
        axes.annotate(
            point.label,
            (point.score, point.perplexity),
            (6, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=9,
        )
    axes.margins(0.22)
    axes.set_title("final validation perplexity")
    axes.set_xlabel(f"{score} (n = {len(points)})")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(_ticks(4))
    return axes


@_STYLE
def to_svg(drawing: Axes | Figure) -> str:
    """Return a drawing as an SVG document, the same text for the same drawing."""
    figure = _figure(drawing) if isinstance(drawing, Axes) else drawing
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    # Six decimals of a point are half of the file and cannot be seen.
    return re.sub(
        r'(?<= d=")[^"]+',
        lambda path: re.sub(r"\d+\.\d+", lambda n: f"{float(n[0]):.1f}", path[0]),
        buffer.getvalue(),
    )


def _canvas(
    *,
    height: float,
    width: int = WIDTH,
    rows: int = 1,
    left: int = _MARGINS[0],
    right: int = _MARGINS[1],
    top: int = _MARGINS[2],
) -> list[Axes]:
    """Return axes one below the other in a new figure; sizes in points."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    bottom = _MARGINS[3]
    each = (height - bottom) / rows
    return [
        figure.add_axes(
            (
                left / width,
                (bottom + (rows - 1 - row) * each) / height,
                (width - left - right) / width,
                (each - top) / height,
            )
        )
        for row in range(rows)
    ]


def _ticks(most: int, *, integer: bool = False) -> MaxNLocator:
    return MaxNLocator(most, integer=integer, steps=[1, 2, 2.5, 5, 10])


def _line(role: Role) -> dict[str, Any]:
    """Return how `Axes.plot` is to draw what has a role."""
    return {
        "color": PALETTE[ROLE_COLOURS[role]],
        "linewidth": _WIDTHS[role],
        "zorder": 2 + 0.1 * list(ROLE_COLOURS).index(role),
    }


def _figure(axes: Axes) -> Figure:
    """Return the figure that an axes lies in, however deep."""
    figure = axes.figure.figure
    assert isinstance(figure, Figure)
    return figure


def _xy(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y = np.asarray(curve.y, dtype=np.float64)
    return np.asarray(curve.x, dtype=np.float64), np.where(np.isfinite(y), y, np.nan)


def _finite(curves: Sequence[Curve]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.concatenate([np.empty(0), *(_xy(c)[1] for c in curves)])
    finite: NDArray[np.float64] = values[np.isfinite(values)]
    return finite


def _cap(axes: Axes, curves: Sequence[Curve]) -> None:
    """Cut off perplexities above twice the best, which would flatten all others."""
    values = _finite(curves)
    if len(values):
        low, high = float(values.min()), min(float(values.max()), 2 * float(values.min()))
        room = 0.06 * (high - low) or 1.0
        axes.set_ylim(low - room, high + room)


def _mark_rungs(axes: Axes, rungs: Sequence[float]) -> None:
    for rung in rungs:
        axes.axvline(
            rung, color=PALETTE["faded"], linewidth=0.9, linestyle=(0, (1.5, 2.5)), zorder=1
        )


def _end_labels(axes: Axes, curves: Sequence[Curve]) -> None:
    """Write the labels of curves to the right of the axes, at the height of their ends, apart."""
    ends = []
    axes.autoscale_view()  # transLimits lags behind what was drawn
    for curve in curves:
        y = _xy(curve)[1]
        y = y[np.isfinite(y)]
        if curve.label and len(y):
            ends.append((float(axes.transLimits.transform((0.0, y[-1]))[1]), curve))
    ends.sort(key=lambda end: end[0])
    figure = _figure(axes)
    gap = 11.5 / (72 * figure.get_figheight() * axes.get_position().height)
    for (_, curve), height in zip(ends, _spread([end for end, _ in ends], gap), strict=True):
        axes.annotate(
            curve.label,
            (1, height),
            (6, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center_baseline",
            color=PALETTE["muted" if curve.role is Role.FINISHED else ROLE_COLOURS[curve.role]],
            annotation_clip=False,
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move increasing heights in [0, 1] apart by at least `gap`, where there is room."""
    apart: list[float] = []
    for height in heights:
        apart.append(max(height, apart[-1] + gap if apart else 0.0))
    ceiling = 1.0
    for index in reversed(range(len(apart))):
        apart[index] = min(apart[index], ceiling)
        ceiling = apart[index] - gap
    return apart


def _density_rows(blocks: Sequence[Block]) -> list[tuple[str, float, bool]]:
    """Return label and density of each matrix, followed by its gates, and which of both it is."""
    matrices: dict[str, list[Block]] = {}
    for block in blocks:
        matrices.setdefault(block.matrix, []).append(block)
    rows = []
    for name, parts in matrices.items():
        share = sum(p.non_zeros for p in parts) / sum(p.weights for p in parts)
        rows.append((name, share, True))
        rows += [(p.gate, p.density, False) for p in parts if p.gate]
    return rows


@_STYLE
def bars(shares: Sequence[tuple[str, float]], axes: Axes | None = None, *, title: str) -> Axes:
    """Draw shares in [0, 1] as bars, one below the other."""
    axes = axes or _canvas(height=18 * len(shares) + 64, left=110, top=30)[0]
    for row, (_, share) in enumerate(shares):
        axes.barh(row, share, height=0.6, color=PALETTE["tint"])
        axes.annotate(
            f"{100 * share:.0f} %",
            (share, row),
            (5, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=9,
            color=PALETTE["muted"],
        )
    axes.set_yticks(range(len(shares)), [name for name, _ in shares])
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max(share for _, share in shares) or 1.0)
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.xaxis.set_major_locator(_ticks(5))
    axes.spines["left"].set_visible(False)
    axes.set_title(title)
    return axes


@_STYLE
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
    axes = axes or _canvas(width=700, height=270, left=90, right=60, top=12)[0]
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
                fontsize=8.5,
                color=PALETTE["muted"],
            )
    low, span = min(reached), (max(reached) - min(reached)) or 1.0
    heights.append([(value - low) / span for value in reached])
    generator = np.random.default_rng(0)
    order = sorted(range(len(reached)), key=lambda i: -reached[i])
    for index in order:
        jitter = 0.02 * generator.standard_normal(len(names))
        ys = [h[index] for h in heights]
        ys[:-1] = [y + j for y, j in zip(ys[:-1], jitter, strict=True)]
        axes.plot(list(places), ys, alpha=0.8, **_line(roles[index]))
    for place in places:
        axes.axvline(place, color=PALETTE["faded"], linewidth=0.7, zorder=1)
    for value in (low, low + span):
        axes.annotate(
            f"{value:.1f}",
            (len(names), (value - low) / span),
            (5, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=9,
        )
    axes.set_xticks(list(places), [*names, "perplexity"])
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(names) + 0.05)
    axes.set_ylim(-0.06, 1.06)
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return axes


@_STYLE
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
