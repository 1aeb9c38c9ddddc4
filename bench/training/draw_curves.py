"""Draws how networks of recipes learned, from the `epochs.csv` of `lsh-native train`.

python -m bench.training.draw_curves FIGURE.svg "TITLE=DENSE.csv,SPARSE.csv" …
"""

import argparse
import csv
from pathlib import Path

from matplotlib.figure import Figure

from lsh_native.report.plots import to_svg
from lsh_native.report.plots.style import STYLE, line_style
from lsh_native.report.view import Role

ROLES = {"dense": Role.DENSE, "sparse": Role.FOUND}


def read(path: Path) -> list[dict[str, str]]:
    """The epochs of one run."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@STYLE
def draw(panels: dict[str, list[Path]]) -> Figure:
    """Validation perplexity after each epoch, or error of a classifier, a panel a recipe."""
    figure = Figure(figsize=(760 / 72, 220 / 72), dpi=72)
    width = 0.96 / len(panels)
    for index, (title, paths) in enumerate(panels.items()):
        axes = figure.add_axes((0.04 + width * index, 0.2, width - 0.05, 0.6))
        error = False
        for (name, role), path in zip(ROLES.items(), paths, strict=False):
            rows = read(path)
            error = bool(rows[0].get("accuracy"))
            values = [
                100 - 100 * float(row["accuracy"]) if error else float(row["perplexity"])
                for row in rows
            ]
            epochs = [int(row["epoch"]) for row in rows]
            label = name if role is Role.DENSE else f"sparsity {1 - float(rows[0]['density']):.2f}"
            axes.plot(epochs, values, marker="o", ms=4, label=label, **line_style(role))
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0.7)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("epoch")
        axes.set_title(f"{title}\n{'validation error, %' if error else 'validation perplexity'}")
        axes.legend(loc="upper right" if error else "lower left")
    return figure


def main() -> None:
    """Writes the figure and prints a table of all epochs."""
    parser = argparse.ArgumentParser(description="Draw curves of training from recorded runs.")
    parser.add_argument("figure", type=Path, help="SVG to write")
    parser.add_argument("panels", nargs="+", help="TITLE=DENSE.csv or TITLE=DENSE.csv,SPARSE.csv")
    options = parser.parse_args()
    panels = {}
    for panel in options.panels:
        title, _, paths = panel.partition("=")
        panels[title] = [Path(path) for path in paths.split(",")]
    for title, paths in panels.items():
        for path in paths:
            rows = read(path)
            measure = "accuracy" if rows[0].get("accuracy") else "perplexity"
            cells = " | ".join(f"{float(row[measure]):.4g}" for row in rows)
            print(f"| {title} | {float(rows[0]['density']):.2f} | {cells} |")
    options.figure.write_text(to_svg(draw(panels)), encoding="utf-8")


if __name__ == "__main__":
    main()
