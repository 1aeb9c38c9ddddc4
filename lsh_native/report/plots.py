"""Drawings of plain data with matplotlib, each on an Axes of its own or one that is handed in.

A colour stands for a role, the same in every drawing, and no drawing needs a legend.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

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

# Colour, line width and height above the other lines.
_ROLES: Mapping[Role, tuple[str, float, float]] = {
    Role.STOPPED: (PALETTE["faded"], 0.8, 2.1),
    Role.LOST: (PALETTE["lost"], 0.8, 2.2),
    Role.RUNNING: (PALETTE["tint"], 1.0, 2.3),
    Role.FINISHED: (PALETTE["tint"], 1.5, 2.4),
    Role.DENSE: (PALETTE["ink"], 1.5, 2.5),
    Role.FOUND: (PALETTE["accent"], 1.9, 2.6),
}

WIDTH = 420
"""Of a drawing, in points; text is 10 of them high."""

_MARGINS = (46, 62, 24, 34)  # left, right, top, bottom

_STYLE = rc_context(
    {
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "text.color": PALETTE["ink"],
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
