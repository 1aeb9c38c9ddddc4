"""How drawings look: colours by role, sizes in points, and what every drawing is made of."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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

WIDTH = 300
"""Of a drawing, in points: a phone of 360 pixels shows it as large as it is, and its text too."""

MARGINS = (44, 64, 25, 36)  # left, right, top, bottom

TEXT = 10.3
"""Height of all text, in points; on a phone of 360 pixels it is 11 of them."""

STYLE = rc_context(
    {
        "font.family": "sans-serif",
        "font.size": TEXT,
        "axes.titlesize": TEXT,
        "axes.labelsize": TEXT,
        "xtick.labelsize": TEXT,
        "ytick.labelsize": TEXT,
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


@STYLE
def to_svg(drawing: Axes | Figure) -> str:
    """Return a drawing as an SVG document, the same text for the same drawing."""
    figure = figure_of(drawing) if isinstance(drawing, Axes) else drawing
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    # Six decimals of a point are half of the file and cannot be seen.
    return re.sub(
        r'(?<= d=")[^"]+',
        lambda path: re.sub(r"\d+\.\d+", lambda n: f"{float(n[0]):.1f}", path[0]),
        buffer.getvalue(),
    )


def canvas(
    *,
    height: float,
    width: int = WIDTH,
    rows: int = 1,
    left: int = MARGINS[0],
    right: int = MARGINS[1],
    top: int = MARGINS[2],
) -> list[Axes]:
    """Return axes one below the other in a new figure; sizes in points."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    bottom = MARGINS[3]
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


def ticks(most: int, *, integer: bool = False) -> MaxNLocator:
    """Return where ticks go: at round numbers, at most so many."""
    return MaxNLocator(most, integer=integer, steps=[1, 2, 2.5, 5, 10])


def line_style(role: Role) -> dict[str, Any]:
    """Return how `Axes.plot` is to draw what has a role."""
    return {
        "color": PALETTE[ROLE_COLOURS[role]],
        "linewidth": _WIDTHS[role],
        "zorder": 2 + 0.1 * list(ROLE_COLOURS).index(role),
    }


def figure_of(axes: Axes) -> Figure:
    """Return the figure that an axes lies in, however deep."""
    figure = axes.figure.figure
    assert isinstance(figure, Figure)
    return figure


def mark_rungs(axes: Axes, rungs: Sequence[float]) -> None:
    """Mark eliminations by dotted lines."""
    for rung in rungs:
        axes.axvline(
            rung, color=PALETTE["faded"], linewidth=0.9, linestyle=(0, (1.5, 2.5)), zorder=1
        )
