"""Printed tables: known text, and no number that the record does not hold."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.report.final import Block, FinalTable, ModelFigures
from lsh_native.report.tables import (
    Table,
    budget_table,
    comparison,
    headline,
    show_perplexity,
)
from lsh_native.search.constraint import Constraint, Missed
from lsh_native.search.result import Budget
from lsh_native.training import perplexity

TABLE = Table(header=("", "a|b"), rows=(("x", "1"), ("long", "1,000")), notes=("A note.",))


def test_text():
    assert TABLE.text().splitlines() == [
        "        a|b",
        "───────────",
        "x         1",
        "long  1,000",
        "A note.",
    ]


def test_markdown():
    assert TABLE.markdown().splitlines() == [
        "|  | a\\|b |",
        "| --- | ---: |",
        "| x | 1 |",
        "| long | 1,000 |",
        "",
        "A note.",
    ]


def test_rows_are_as_long_as_the_header():
    with pytest.raises(ValueError, match="a row must have 2 columns"):
        Table(header=("a", "b"), rows=(("1",),))


def test_the_comparison(run, final_table):
    run()
    rows = {row[0]: row[1:] for row in comparison(final_table()).rows}
    assert rows["validation perplexity"] == ("60.71", "61.23", "")
    assert rows["density"] == ("100.0 %", "33.3 %", "")
    assert rows["non-zeros"] == ("10,496", "3,497", "0.33×")  # noqa: RUF001
    assert rows["size on disk, MB"] == ("0.04", "0.03", "0.69×")  # noqa: RUF001
    assert rows["inference, tokens/s"] == ("41,208", "60,212", "1.46×")  # noqa: RUF001
    assert "53.20" in comparison(final_table()).notes[1]


def test_the_comparison_without_a_network_found(run, final_table):
    run()
    table = final_table()
    alone = comparison(FinalTable(dense=table.dense, found=None, budget=table.budget))
    assert alone.header == ("", "dense")
    assert alone.notes == ("No candidate finished.",)


def test_what_was_measured_of_neither_has_no_row(run, final_table):
    run()
    table = final_table()
    dense, found = (replace(model, file_bytes=None) for model in (table.dense, table.found))
    rows = comparison(replace(table, dense=dense, found=found)).rows
    assert "size on disk, MB" not in [row[0] for row in rows]
    rows = comparison(replace(table, dense=dense)).rows
    assert ("size on disk, MB", "–", "0.03", "–") in rows  # noqa: RUF001


def test_a_missed_target_stands_below_the_comparison(run, final_table):
    run()
    missed = Missed(constraint=Constraint(name="non_zeros", at_most=1000), value=3497)
    table = replace(final_table(), missed=(missed,))
    assert comparison(table).notes[1] == (
        "No candidate that finished keeps to every target: at most 1,000 non-zeros were asked for, "
        "the network found has 3,497."
    )
    assert FinalTable.from_dict(table.to_dict(), table.budget) == table
    slow = Constraint(name="token_milliseconds", at_most=0.25)
    assert "at most 0.25 milliseconds a token were asked for, the network found has 1.5." in str(
        Missed(constraint=slow, value=1.5)
    )
    assert str(Missed(constraint=slow, value=None)).endswith("the network found was not measured.")


def test_an_unfinished_budget_is_held_against_nothing(run, final_table):
    run()
    table = budget_table(final_table().budget, finished=False)
    assert table.header == ("so far", "epochs", "seconds")
    assert not any("full search" in row[0] for row in table.rows)


def test_the_headline():
    assert headline(density=0.33, perplexity=61.23, dense_perplexity=60.71) == (
        "A network with 33 % of the connections reached validation perplexity 61.2; "
        "the dense one 60.7."
    )


def test_perplexity_of_any_finite_loss():
    assert [show_perplexity(perplexity(loss)) for loss in (4.0, 9.21, 50.0, 1e6)] == [
        "54.60",
        "9,997",
        "5.2e+21",
        "∞",
    ]


counts = st.integers(0, 10**9)
speeds = st.none() | st.floats(0, 1e9)


@st.composite
def models(draw):
    weights = draw(st.integers(1, 10**8))
    return ModelFigures(
        method="any",
        valid_perplexity=draw(st.floats(1, 1e5)),
        test_perplexity=draw(st.none() | st.floats(1, 1e5)),
        blocks=(Block(matrix="w", weights=weights, non_zeros=draw(st.integers(0, weights))),),
        file_bytes=draw(st.none() | counts),
        training_tokens_per_second=draw(speeds),
        inference_tokens_per_second=draw(speeds),
        epochs=draw(counts),
        seconds=draw(st.floats(0, 1e8)),
    )


budgets = st.builds(
    Budget,
    candidates=st.integers(0, 500),
    total=st.integers(0, 1000),
    trial_epochs=st.integers(0, 10**6),
    reference_epochs=st.integers(0, 1000),
    trial_seconds=st.floats(0, 1e8),
    reference_seconds=st.floats(0, 1e8),
    spectrum_seconds=st.floats(0, 1e8),
)


def numbers_of(record):
    if isinstance(record, dict):
        return [n for value in record.values() for n in numbers_of(value)]
    if isinstance(record, list | tuple):
        return [n for value in record for n in numbers_of(value)]
    return [record] if isinstance(record, int | float) else []


@given(models(), st.none() | models(), budgets, st.none() | st.floats(1, 1e4))
def test_every_printed_number_is_in_the_record(dense, found, budget, best):
    table = FinalTable(dense=dense, found=found, budget=budget, best_possible_perplexity=best)
    known = numbers_of(table.to_dict())
    for printed in (comparison(table), budget_table(budget)):
        cells = [cell for row in printed.rows for cell in row[1:]]
        for text in re.findall(r"\d[\d,]*\.?\d*", " ".join((*cells, *printed.notes))):
            text = text.rstrip(".,")
            decimals = len(text.partition(".")[2])
            value = float(text.replace(",", ""))
            half = 0.5000001 * 10**-decimals
            # in the unit of the record, in per cent, or in units of 10⁶
            assert any(
                abs(number * unit - value) <= half + 1e-9 * value
                for number in known
                for unit in (1, 100, 1e-6)
            ), text
