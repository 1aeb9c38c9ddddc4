"""Progress: an event is a line, whatever its length and whatever is in it."""

import re

import numpy as np
import pytest
from rich.console import Console

from lsh_native.cli.progress import Progress, told_apart
from lsh_native.search.candidate import Candidate
from lsh_native.search.coordinator import Limits
from lsh_native.search.events import (
    EpochDone,
    PoolExhausted,
    SpectrumDone,
    StudyStarted,
    TrialCompleted,
    TrialLost,
    TrialStarted,
)
from lsh_native.search.store import Store
from lsh_native.search.trial import EpochRecord, SpectrumRecord, State, Trial


def test_an_event_is_one_line_where_there_is_no_terminal(capsys):
    reason = "the loss of [bold]step 17[/bold] is nan, " + "and nobody knows why, " * 10
    trial = Trial(number=3, candidate=None, seed=0, state=State.DIVERGED, reason=reason)
    with Progress() as progress:
        progress.on_event(TrialLost(trial=trial))
        progress.say("a [red]folder[/red]")
    lost, said, *rest = capsys.readouterr().out.splitlines()
    assert lost.endswith(f"trial 3: diverged: {reason}")
    assert said == "a [red]folder[/red]"
    assert not rest


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("lsh_native.cli.progress.Console", lambda: Console(force_terminal=True))


def started(progress, number, until, candidate=None):
    trial = Trial(number=number, candidate=candidate, seed=0, state=State.RUNNING)
    progress.on_event(TrialStarted(trial=trial, until=until))
    return trial


def test_the_reference_is_announced_with_all_its_epochs(capsys):
    with Progress() as progress:
        progress.on_event(StudyStarted(resumed=False, candidates=2, plan=(), total=9))
        started(progress, 0, 1)
    assert capsys.readouterr().out.rstrip().endswith("trial 0: dense reference, 9 epochs")


@pytest.mark.usefixtures("terminal")
def test_a_terminal_is_told_what_the_table_does_not_show(capsys):
    trial = Trial(number=3, candidate=None, seed=0, state=State.DIVERGED, reason="a loss is nan")
    with Progress() as progress:
        progress.on_event(TrialLost(trial=trial))
        progress.on_event(PoolExhausted(asked=9, found=4))
    out = capsys.readouterr().out
    assert "trial 3: diverged: a loss is nan" in out
    assert "the space holds 4 candidates, fewer than the 9 asked for" in out


@pytest.mark.usefixtures("terminal")
def test_a_trial_at_its_rung_waits(capsys):
    record = EpochRecord(epoch=1, train_loss=2, valid_loss=2, density=1, tokens=10, seconds=1)
    spectrum = SpectrumRecord(epoch=1, exponents=np.zeros(2), distance=0.5)
    with Progress() as progress:
        for number in (1, 2, 3):
            trial = started(progress, number, 1 + (number == 3))
            progress.on_event(EpochDone(trial=trial, record=record))
        progress.on_event(
            SpectrumDone(trial=Trial(number=1, candidate=None, seed=0), record=spectrum)
        )
        capsys.readouterr()
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "dense" in line]
    states = {row[0]: " ".join(row[3:]) for row in rows[-3:]}
    assert "waiting" in states["1"]
    assert "spectrum" in states["2"]
    assert "0 % of epoch 2, 1 s to epoch 2" in states["3"]


@pytest.mark.usefixtures("terminal")
def test_what_was_stored_before_is_shown_again(tmp_path, capsys):
    with Store(tmp_path / "study.db") as store, Progress() as progress:
        store.begin({}, {})
        for number, initial in enumerate((None, "uniform", "erdos_renyi")):
            candidate = Candidate(method="static", initial=initial) if initial else None
            store.add_trial(number, candidate, seed=0)
            for epoch in range(1, 4 if number < 2 else 1):
                losses = {"train_loss": 2, "valid_loss": 3.0 - 0.5 * epoch + number}
                store.add_epoch(
                    number,
                    EpochRecord(epoch=epoch, density=1, tokens=10, seconds=1, **losses),
                )
        store.add_spectrum(1, SpectrumRecord(epoch=2, exponents=np.zeros(2), distance=0.125))
        progress.on_event(StudyStarted(resumed=True, candidates=2, plan=(), total=9))
        progress.recall(store)
        capsys.readouterr()
    shown = capsys.readouterr().out
    rows = {words[0]: words for line in shown.split("\n") if (words := line.split())}
    assert rows["0"][1:3] == ["3/9", "4.48"]
    assert rows["1"][1:4] == ["3/9", "12.18", "0.125"]
    assert "best so far 12.18 of trial 1" in shown


def rigl(**values):
    return Candidate.from_dict({"method": "rigl", "initial": "uniform", **values})


def test_what_tells_candidates_apart_is_shown_controls_among_it():
    three = [rigl(every=every, density=0.5) for every in (100, 200)]
    common, texts = told_apart([None, *three])
    assert common == "rigl, uniform, density 0.5"
    assert texts == ["dense reference", "every 100", "every 200"]
    assert told_apart([None, three[0]]) == (
        "",
        ["dense reference", "rigl, uniform, density 0.5, every 100"],
    )
    common, texts = told_apart([three[0], rigl(learning_rate=0.123456)])
    assert common == "rigl, uniform"
    assert texts == ["density 0.5, every 100", "learning rate 0.123456"]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("epochs", "exact", "limits", "caption"),
    [
        (10, True, Limits(), r"\d+ s, 2 of 10 epochs, 8 left"),
        (10, False, Limits(), r"\d+ s, 2 of at most 10 epochs, at most 8 left"),
        (10, True, Limits(epochs=5), r"\d+ s, 2 epochs, 3 left until it pauses at 5"),
        (10, True, Limits(epochs=50), r"\d+ s, 2 of 10 epochs, 8 left"),
        (10, True, Limits(seconds=60), r"\d+ of 60 s, 2 of 10 epochs, 8 left"),
        (None, False, Limits(), r"\d+ s, 2 epochs, best"),
    ],
)
def test_the_budget_and_what_is_left_of_it(epochs, exact, limits, caption, capsys):
    with Progress() as progress:
        progress.expect(epochs, exact, limits)
        trial = started(progress, 1, 4, rigl())
        for epoch in (1, 2):
            record = EpochRecord(
                epoch=epoch, train_loss=2, valid_loss=2, density=1, tokens=10, seconds=1
            )
            progress.on_event(EpochDone(trial=trial, record=record))
    assert re.search(caption, capsys.readouterr().out)


def test_a_screen_shows_the_best_and_who_runs_and_counts_the_others(monkeypatch, capsys):
    console = Console(force_terminal=True, width=100, height=12)
    monkeypatch.setattr("lsh_native.cli.progress.Console", lambda: console)
    with Progress() as progress:
        for number in range(40):
            candidate = rigl(every=100 + number) if number else None
            trial = started(progress, number, 1, candidate)
            losses = {"train_loss": 2, "valid_loss": 1.0 if number == 7 else 2.0}
            record = EpochRecord(epoch=1, density=1, tokens=10, seconds=1, **losses)
            progress.on_event(EpochDone(trial=trial, record=record))
            if number not in (0, 20, 21):
                progress.on_event(TrialCompleted(trial=trial))
        lines = progress._lines(progress._screen())
        shown = [int(word) for word in progress._screen().columns[0].cells]
        assert lines <= 12
        assert {0, 7, 20, 21} <= set(shown)
        assert f"{40 - len(shown)} more trials not shown" in progress._screen().caption
        capsys.readouterr()
    table = capsys.readouterr().out.rpartition("perplexity")[2]
    assert "not shown" not in table
    assert all(f"every {100 + number}" in table for number in range(1, 40))
