"""Drawings of plain data with matplotlib, each on an Axes of its own or one that is handed in.

A colour stands for a role, the same in every drawing, and no drawing needs a legend.
"""

from lsh_native.report.plots.candidates import (
    Lane,
    Point,
    parallel,
    pareto,
    score_against_final,
    survival,
)
from lsh_native.report.plots.curves import (
    Curve,
    convergence,
    over_epochs,
    spectrum,
    trajectory,
    turnover,
)
from lsh_native.report.plots.shares import bars, density
from lsh_native.report.plots.style import PALETTE, ROLE_COLOURS, WIDTH, to_svg

__all__ = [
    "PALETTE",
    "ROLE_COLOURS",
    "WIDTH",
    "Curve",
    "Lane",
    "Point",
    "bars",
    "convergence",
    "density",
    "over_epochs",
    "parallel",
    "pareto",
    "score_against_final",
    "spectrum",
    "survival",
    "to_svg",
    "trajectory",
    "turnover",
]
