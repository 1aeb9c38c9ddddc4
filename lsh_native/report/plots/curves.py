"""Curves over time: spectra, their convergence, epochs of training, the way of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lsh_native.report.plots.style import (
    MARGINS,
    PALETTE,
    ROLE_COLOURS,
    STYLE,
    WIDTH,
    canvas,
    figure_of,
    line_style,
    mark_rungs,
    ticks,
)
from lsh_native.report.view import Role


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


@STYLE
def spectrum(
    curves: Sequence[Curve], axes: Axes | None = None, *, title: str = "", width: int = WIDTH
) -> Axes:
    """Draw the exponents of one layer over their index, with a band of one standard error."""
    axes = axes or canvas(width=width, height=0.74 * width)[0]
    for curve in curves:
        x, y = _xy(curve)
        style = line_style(curve.role)
        if curve.error is not None:
            error = np.asarray(curve.error, dtype=np.float64)
            axes.fill_between(
                x, y - error, y + error, color=style["color"], alpha=0.2, linewidth=0, zorder=1.9
            )
        axes.plot(x, y, **style)
    axes.margins(x=0, y=0.05)
    axes.set_title(title)
    axes.set_xlabel("index of the exponent")
    axes.xaxis.set_major_locator(ticks(6, integer=True))
    _end_labels(axes, curves)
    return axes


@STYLE
def convergence(
    curves: Sequence[Curve], axes: Axes | None = None, *, title: str = "", width: int = WIDTH
) -> Axes:
    """Draw running estimates over the steps that were averaged; a band is what they end in."""
    axes = axes or canvas(width=width, height=0.74 * width)[0]
    for curve in curves:
        x, y = _xy(curve)
        style = line_style(curve.role)
        if curve.error is not None:
            error = float(np.asarray(curve.error, dtype=np.float64))
            axes.axhspan(y[-1] - error, y[-1] + error, color=style["color"], alpha=0.2, linewidth=0)
        axes.plot(x, y, **style)
    axes.margins(x=0, y=0.08)
    axes.set_xlim(0, None)
    axes.set_title(title)
    axes.set_xlabel("time steps averaged")
    axes.xaxis.set_major_locator(ticks(6, integer=True))
    _end_labels(axes, curves)
    return axes


@STYLE
def over_epochs(
    distances: Sequence[Curve], perplexities: Sequence[Curve], *, rungs: Sequence[int], total: int
) -> Figure:
    """Draw distances to the dense reference above validation perplexities, over the same epochs.

    Without distances there are perplexities alone.
    """
    *uppers, lower = canvas(height=420 if distances else 230, rows=2 if distances else 1, top=36)
    for upper in uppers:
        for curve in distances:
            x, y = _xy(curve)
            style = line_style(curve.role)
            marker = "" if curve.role is Role.DENSE else "o"
            upper.plot(x, y, marker=marker, markersize=2 * style["linewidth"], **style)
        largest = float(_finite(distances).max(initial=0.0)) or 1.0
        upper.set_ylim(-0.04 * largest, 1.06 * largest)
        upper.set_title("distance to the dense reference")
        upper.tick_params(labelbottom=False)
    for curve in perplexities:
        lower.plot(*_xy(curve), **line_style(curve.role))
    _cap(lower, perplexities)
    lower.set_title("validation perplexity")
    lower.set_xlabel("epoch")
    for axes in (*uppers, lower):
        mark_rungs(axes, rungs)
        axes.set_xlim(0, total)
        axes.xaxis.set_major_locator(ticks(8, integer=True))
        _end_labels(axes, perplexities if axes is lower else distances)
    return figure_of(lower)


@STYLE
def trajectory(
    curves: Sequence[Curve],
    axes: Axes | None = None,
    *,
    rungs: Sequence[int] = (),
    right: int = MARGINS[1],
) -> Axes:
    """Draw the best validation perplexity so far over all epochs spent; steps hold to the end."""
    axes = axes or canvas(height=230, right=right)[0]
    end = max(float(_xy(curve)[0][-1]) for curve in curves)
    for curve in curves:
        x, y = _xy(curve)
        style = line_style(curve.role)
        axes.plot(x, y, drawstyle="steps-post", **style)
        axes.plot([x[-1], end], [y[-1], y[-1]], linestyle=(0, (2, 2)), **{**style, "linewidth": 1})
    mark_rungs(axes, rungs)
    axes.set_xlim(0, end)
    _cap(axes, curves)
    axes.xaxis.set_major_locator(ticks(6, integer=True))
    axes.set_title("best validation perplexity so far")
    axes.set_xlabel("epochs spent, the dense reference first")
    _end_labels(axes, curves)
    return axes


@STYLE
def turnover(
    curves: Sequence[Curve], axes: Axes | None = None, *, title: str, total: int, width: int = WIDTH
) -> Axes:
    """Draw shares in per cent over epochs, labelled where they end."""
    axes = axes or canvas(width=width, height=0.74 * width)[0]
    for curve in curves:
        axes.plot(*_xy(curve), **line_style(curve.role))
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_xlim(0, total)
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(ticks(6, integer=True))
    _end_labels(axes, curves)
    return axes


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
    figure = figure_of(axes)
    gap = 12 / (72 * figure.get_figheight() * axes.get_position().height)
    for (_, curve), height in zip(ends, spread([end for end, _ in ends], gap), strict=True):
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


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move increasing heights in [0, 1] apart by at least `gap`, where there is room."""
    apart: list[float] = []
    for height in heights:
        apart.append(max(height, apart[-1] + gap if apart else 0.0))
    ceiling = 1.0
    for index in reversed(range(len(apart))):
        apart[index] = min(apart[index], ceiling)
        ceiling = apart[index] - gap
    return apart
