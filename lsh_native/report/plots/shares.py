"""Shares of a whole as bars: densities, importances."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from lsh_native.report.final import Block
from lsh_native.report.plots.style import PALETTE, STYLE, canvas, ticks


@STYLE
def density(blocks: Sequence[Block], axes: Axes | None = None) -> Axes:
    """Draw the kept share of each matrix and, under it, of its gates; a line marks the whole."""
    rows = _density_rows(blocks)
    axes = axes or canvas(height=17 * len(rows) + 66, left=126, right=46, top=30)[0]
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
            (40, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center_baseline",
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
    axes.xaxis.set_major_locator(ticks(3))
    axes.spines["left"].set_visible(False)
    return axes


@STYLE
def bars(shares: Sequence[tuple[str, float]], axes: Axes | None = None, *, title: str) -> Axes:
    """Draw shares in [0, 1] as bars, one below the other."""
    axes = axes or canvas(height=19 * len(shares) + 66, left=100, right=30, top=30)[0]
    for row, (_, share) in enumerate(shares):
        axes.barh(row, share, height=0.6, color=PALETTE["tint"])
        axes.annotate(
            f"{100 * share:.0f} %",
            (share, row),
            (5, 0),
            textcoords="offset points",
            va="center_baseline",
            color=PALETTE["muted"],
        )
    axes.set_yticks(range(len(shares)), [name for name, _ in shares])
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max(share for _, share in shares) or 1.0)
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.xaxis.set_major_locator(ticks(4))
    axes.spines["left"].set_visible(False)
    axes.set_title(title)
    return axes


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
