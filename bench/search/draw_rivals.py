"""Draws what `bench.search.rivals` found, and prints its tables in Markdown.

python -m bench.search.draw_rivals docs/results/rivals/results.json docs/results/rivals
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.search.leads import EPOCHS, LEADS
from lsh_native.report.plots import PALETTE, to_svg
from lsh_native.report.plots.style import STYLE
from lsh_native.report.tables import Table

WORDS = {"ptb": "Penn Treebank", "generated": "generated text"}


@STYLE
def draw(results: dict[str, Any]) -> Figure:
    """Regret of each rival: a dot a seed of training, a bar at their mean."""
    panels = [(text, name) for text in results for name in results[text]["schedules"]]
    names = list(next(iter(results.values()))["schedules"]["default"]["rivals"])
    height = 60 + 19 * len(names)
    figure = Figure(figsize=(760 / 72, height / 72), dpi=72)
    width = 0.78 / len(panels)
    for index, (text, schedule) in enumerate(panels):
        axes = figure.add_axes(
            (0.2 + index * (width + 0.01), 44 / height, width - 0.02, 1 - 68 / height)
        )
        rivals = results[text]["schedules"][schedule]
        chance = rivals["rivals"]["random"]["regret"]["mean"]
        axes.axvline(chance, color=PALETTE["faded"], linewidth=0.9, linestyle=(0, (1.5, 2.5)))
        for row, name in enumerate(names):
            regret = rivals["rivals"][name]["regret"]
            seeds = regret["seeds"]
            axes.plot(seeds, [row] * len(seeds), "o", color=PALETTE["tint"], markersize=4)
            axes.plot([regret["mean"]] * 2, [row - 0.32, row + 0.32], color=PALETTE["accent"])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, None)
        axes.set_yticks(range(len(names)), names if index == 0 else [""] * len(names))
        share = f"{100 * rivals['of full search']:.0f} % of full search"
        axes.set_title(f"{WORDS.get(text, text)}, {schedule}", fontsize=9)
        axes.set_xlabel(share, fontsize=8)
    return figure


def tables(results: dict[str, Any]) -> Iterator[tuple[str, Table]]:
    """Yield heading and table: the pools, the rivals, and the leads."""
    yield "The pools", _pools(results)
    for text, found in results.items():
        for schedule, rivals in found["schedules"].items():
            rungs = ", ".join(f"{n} → {k} after epoch {e}" for e, n, k in rivals["rungs"])
            heading = f"{WORDS.get(text, text)}, {schedule} eliminations: {rungs}"
            yield heading, _rivals(rivals)
    for text, found in results.items():
        yield f"{WORDS.get(text, text)}: rank correlation with the end", _leads(found["leads"])


def _pools(results: dict[str, Any]) -> Table:
    rows = {
        "seeds of training": lambda t: str(t["seeds"]),
        "dense perplexity": lambda t: _spread(t["dense perplexity"]),
        "best of the pool": lambda t: _spread(t["best of the pool"]),
        "median of the pool": lambda t: _spread(t["median of the pool"]),
        "worst of the pool": lambda t: _spread(t["worst of the pool"]),
        "standard deviation between configurations": lambda t: (
            f"{t['standard deviation between configurations']:.2f}"
        ),
        "standard deviation between seeds": lambda t: (
            f"{t['standard deviation between seeds']:.2f}"
        ),
    }
    return Table(
        header=("", *(WORDS.get(text, text) for text in results)),
        rows=tuple((n, *(show(f["table"]) for f in results.values())) for n, show in rows.items()),
    )


def _rivals(rivals: dict[str, Any]) -> Table:
    return Table(
        header=("", "regret, perplexity", "of the configuration", "best found", "epochs"),
        rows=tuple(
            (
                name,
                _spread(row["regret"]),
                _spread(row["regret of the configuration"]),
                f"{100 * row['share of best found']:.0f} %",
                f"{row['epochs']:.0f}",
            )
            for name, row in rivals["rivals"].items()
        ),
    )


def _leads(leads: dict[str, Any]) -> Table:
    epochs = list(leads)
    return Table(
        header=("", *(f"epoch {epoch}" for epoch in epochs)),
        rows=tuple(
            (name.replace("_", " "), *(_correlation(leads[epoch][name], name) for epoch in epochs))
            for name in leads[epochs[0]]
        ),
        notes=(
            f"Tests, of {', '.join(LEADS).replace('_', ' ')} after epochs "
            f"{', '.join(map(str, EPOCHS))}, have 99.375 % intervals, the others 95 %.",
        ),
    )


def _correlation(row: dict[str, Any], name: str) -> str:
    low, high = row["interval"]
    text = f"{row['correlation']:+.2f} [{low:+.2f}, {high:+.2f}]"
    if "confirmed" not in row:
        return text
    better = ", better than the loss" if row["better than the loss"] else ""
    return f"{text} {'confirmed' if row['confirmed'] else 'not confirmed'}{better}"


def _spread(row: dict[str, Any]) -> str:
    deviation = row["standard deviation"]
    return f"{row['mean']:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def main() -> None:
    """Write the figure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    (options.folder / "rivals.svg").write_text(to_svg(draw(results)), encoding="utf-8")
    for heading, table in tables(results):
        print(f"\n### {heading}\n\n{table.markdown()}")


if __name__ == "__main__":
    main()
