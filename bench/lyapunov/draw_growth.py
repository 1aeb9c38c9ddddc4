"""Draws how the cost of a spectrum grows, from a run of `python -m bench growth`.

python -m bench.lyapunov.draw_growth bench/results/DATE-growth.json docs/figures/lyapunov-growth.svg
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lsh_native.report.plots import to_svg
from lsh_native.report.plots.style import STYLE, line_style
from lsh_native.report.view import Role

WORDS = {"H": "units H", "k": "vectors k", "T": "time steps T", "B": "sequences B"}


def growth(
    run: dict[str, Any], name: str, statistic: str = "median"
) -> tuple[list[int], list[float], list[float]]:
    """Sizes, seconds and fractions of the peak of the cases in which `name` grows."""
    cases = [case for case in run["cases"] if case["shape"].get("grows") == name]
    seconds = [case["ours"]["seconds"][case["clock"]][statistic] for case in cases]
    sizes = [case["shape"][name] for case in cases]
    return sizes, seconds, [case["fraction_of_peak"] for case in cases]


def slope(sizes: list[int], seconds: list[float]) -> float:
    """The exponent p of seconds ~ size^p over the upper half of the sizes, by least squares."""
    upper = len(sizes) // 2
    x, y = np.log(sizes[upper - 1 :]), np.log(seconds[upper - 1 :])
    return float(np.polyfit(x, y, 1)[0])


@STYLE
def draw(run: dict[str, Any], words: dict[str, str], statistic: str = "median") -> Figure:
    """Time over each size, in units of the smallest one's, on logarithmic axes of one height."""
    figure = Figure(figsize=(720 / 72, 210 / 72), dpi=72)
    most = max(
        max(seconds) / seconds[0] for _, seconds, _ in (growth(run, n, statistic) for n in words)
    )
    for index, name in enumerate(words):
        sizes, seconds, _ = growth(run, name, statistic)
        axes = figure.add_axes((0.07 + 0.235 * index, 0.2, 0.2, 0.66))
        axes.plot(
            sizes, [s / seconds[0] for s in seconds], marker="o", ms=4, **line_style(Role.FOUND)
        )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_ylim(0.6, 2 * most)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(words[name])
        symbol = name if len(name) == 1 else "N"
        title = f"grows as {symbol}^{slope(sizes, seconds):.2f}"
        axes.set_title(f"time {title}" if index == 0 else title)
        if index:
            axes.tick_params(labelleft=False)
    return figure


def main(words: dict[str, str] = WORDS, statistic: str = "median") -> None:
    """Writes the figure and prints slopes and fractions of the peak."""
    parser = argparse.ArgumentParser(description="Draw a figure of growth from a recorded run.")
    parser.add_argument("run", type=Path, help="JSON of the bench")
    parser.add_argument("figure", type=Path, help="SVG to write")
    options = parser.parse_args()
    run = json.loads(options.run.read_text(encoding="utf-8"))
    for name in words:
        sizes, seconds, fractions = growth(run, name, statistic)
        listed = (f"{size}: {share:.0%}" for size, share in zip(sizes, fractions, strict=True))
        print(f"| {words[name]} | {slope(sizes, seconds):.2f} | {', '.join(listed)} |")
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    options.figure.write_text(to_svg(draw(run, words, statistic)), encoding="utf-8")


if __name__ == "__main__":
    main()
