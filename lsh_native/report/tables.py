"""The final table and the budget as rows of text, for a terminal, Markdown and the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lsh_native.report.final import FinalTable, budget_to_dict
from lsh_native.search.result import Budget

ABSENT = "–"  # noqa: RUF001 - stands where nothing was measured
"""Stands where nothing was measured."""

PART = "of which"
"""Begins the label of a row that is a part of one above."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under a header; the first column names the row, the others are numbers.

    Args:
        header: One text a column.
        rows: As many texts in each row.
        notes: Sentences to stand below.

    Raises:
        ValueError: If a row has another number of columns.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"a row must have {len(self.header)} columns, got {row}")

    def text(self) -> str:
        """Aligned columns for a terminal."""
        lines = (self.header, *self.rows)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

        def line(cells: tuple[str, ...]) -> str:
            numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
            return "  ".join((cells[0].ljust(widths[0]), *numbers)).rstrip()

        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join((line(self.header), rule, *map(line, self.rows), *self.notes))

    def markdown(self) -> str:
        """A table in Markdown, with the notes as a paragraph each."""

        def line(cells: tuple[str, ...]) -> str:
            return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

        marks = ("---", *("---:" for _ in self.header[1:]))
        table = "\n".join((line(self.header), line(marks), *map(line, self.rows)))
        return "\n\n".join((table, *self.notes))


def show_perplexity(value: float) -> str:
    """Two decimals up to a thousand, then none."""
    if math.isinf(value):
        return "∞"
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}" if value < 1e9 else f"{value:.1e}"


def show_share(value: float) -> str:
    """A number of [0, 1] in per cent."""
    return f"{100 * value:.1f} %"


def show_count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def show_megabytes(value: float) -> str:
    """Bytes in units of 10⁶ bytes."""
    return f"{value / 1e6:,.2f}"


def show_ratio(value: float) -> str:
    """How many times."""
    return f"{value:.2f}×"  # noqa: RUF001 - the sign of multiplication


def _estimate(value: float) -> str:
    return f"≈ {value:,.0f}"


_Show = Callable[[float], str]

_COMPARISON: tuple[tuple[str, str, _Show], ...] = (
    ("valid_perplexity", "validation perplexity", show_perplexity),
    ("test_perplexity", "test perplexity", show_perplexity),
    ("density", "density", show_share),
    ("non_zeros", "non-zeros", show_count),
    ("file_bytes", "size on disk, MB", show_megabytes),
    ("training_tokens_per_second", "training, tokens/s", show_count),
    ("inference_tokens_per_second", "inference, tokens/s", show_count),
    ("epochs", "epochs trained", show_count),
    ("seconds", "seconds of training", show_count),
)

_BUDGET: tuple[tuple[str, str, _Show], ...] = (
    ("search", "this search", show_count),
    ("of_candidates", f"{PART} candidates", show_count),
    ("of_reference", f"{PART} the dense reference", show_count),
    ("of_spectra", f"{PART} spectra", show_count),
    ("full_search", "full search: every candidate to the end", _estimate),
    ("halving", "successive halving on the loss, same rounds", show_count),
)


def comparison(table: FinalTable) -> Table:
    """Return the dense network beside the one found, in the terms of `FinalTable.to_dict`.

    What was measured of neither has no row.
    """
    record = table.to_dict()
    models = [record[name] for name in ("dense", "found") if record[name] is not None]
    ratios = record["found_over_dense"] or {}
    header = ("", *("dense", "found", "found / dense")[: 3 if len(models) > 1 else 1])
    rows = []
    for key, label, show in _COMPARISON:
        if all(model[key] is None for model in models):
            continue
        cells = [_cell(model, key, show) for model in models]
        if len(models) > 1:
            cells.append(_cell(ratios, key, show_ratio) if key in ratios else "")
        rows.append((label, *cells))
    notes = ["The network found was chosen by its validation perplexity, not by the test text."]
    if table.found is None:
        notes = ["No candidate finished."]
    notes += map(str, table.missed)
    if table.best_possible_perplexity is not None:
        notes.append(
            "The best possible perplexity on this text is "
            f"{show_perplexity(table.best_possible_perplexity)}: the entropy rate of its source is "
            "known."
        )
    return Table(header=header, rows=tuple(rows), notes=tuple(notes))


def budget_table(budget: Budget, *, finished: bool = True) -> Table:
    """Return what a search cost and, once it is finished, what its rivals would have cost."""
    record = budget_to_dict(budget)
    rows = tuple(
        (
            label,
            _cell(record[key], "epochs", show_count),
            _cell(record[key], "seconds", show),
            _cell(record[key], "over_search", show_ratio) if "over_search" in record[key] else "",
        )
        for key, label, show in _BUDGET
        if finished or key not in ("full_search", "halving")
    )
    if not finished:
        return Table(header=("so far", "epochs", "seconds"), rows=tuple(row[:3] for row in rows))
    return Table(
        header=("", "epochs", "seconds", "epochs / this search"),
        rows=rows,
        notes=(
            "Neither a full search nor successive halving needs the dense reference or spectra. "
            "The seconds of a full search are estimated from those per epoch of the candidates.",
        ),
    )


def headline(*, density: float, perplexity: float, dense_perplexity: float) -> str:
    """Say what was found in one sentence."""
    return (
        f"A network with {100 * density:.0f} % of the connections reached validation perplexity "
        f"{perplexity:.1f}; the dense one {dense_perplexity:.1f}."
    )


def _cell(record: Mapping[str, Any], key: str, show: _Show) -> str:
    value = record.get(key)
    return ABSENT if value is None else show(value)
