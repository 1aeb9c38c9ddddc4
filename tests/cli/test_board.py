"""What `--board` writes is what the study has stored: no point less, none twice."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import ClassVar

import pytest
from test_cli import search

from lsh_native.cli import board as module
from lsh_native.cli.main import main

Points = dict[tuple[str, str, int], float]


class Writer:
    """A `SummaryWriter` that keeps what TensorBoard would show, and refuses to show a point twice.

    Args:
        folder: of the run.
        purge_step: from this step on, what is there already is no longer shown.
    """

    shown: Points
    open: ClassVar[int] = 0

    def __init__(self, folder: Path, purge_step: int) -> None:
        Writer.open += 1
        self.run = folder.name
        for point in [p for p in self.shown if p[0] == self.run and p[2] >= purge_step]:
            del self.shown[point]

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert (self.run, name, step) not in self.shown
        self.shown[self.run, name, step] = value

    def flush(self) -> None:
        pass

    def close(self) -> None:
        Writer.open -= 1


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Points:
    monkeypatch.setattr(Writer, "shown", {}, raising=False)
    monkeypatch.setattr(Writer, "open", 0)
    monkeypatch.setattr(module, "summary_writer", lambda: Writer)
    return Writer.shown


def exported(study: Path) -> Points:
    """Losses, densities and distances as `export` gives them."""
    path = study / "epochs.csv"
    assert main(["export", str(study), str(path), "--what=epochs"]) == 0
    points: Points = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            number, epoch = int(row["trial"]), int(row["epoch"])
            run = f"{'candidate' if number else 'dense'}-{number:04d}"
            points[run, "training perplexity", epoch] = math.exp(float(row["train_loss"]))
            points[run, "validation perplexity", epoch] = math.exp(float(row["valid_loss"]))
            points[run, "density", epoch] = float(row["density"])
            if row["distance"]:
                points[run, "distance", epoch] = float(row["distance"])
    return points


def of_export(points: Points) -> Points:
    names = ("training perplexity", "validation perplexity", "density", "distance")
    return {point: value for point, value in points.items() if point[1] in names}


def test_a_board_is_whole_after_a_stop(tmp_path: Path, shown: Points) -> None:
    study = tmp_path / "study"
    begun = search(study, f"--board={tmp_path / 'board'}", "--running.max_epochs=5")
    assert main(begun) == 0
    assert of_export(shown) == pytest.approx(exported(study))
    lost = next(iter(shown))  # as if a kill had come between store and board
    del shown[lost]
    assert main(["resume", str(study)]) == 0
    assert lost in shown
    assert of_export(shown) == pytest.approx(exported(study))
    assert {name for _, name, _ in shown} >= {"non zeros", "survival", "distance"}


def test_a_trial_that_has_ended_keeps_no_file_open(tmp_path: Path, shown: Points) -> None:
    study = tmp_path / "study"
    assert main(search(study, f"--board={tmp_path / 'board'}", "--evidence=1")) == 0
    assert shown
    assert Writer.open == 0


def test_the_files_hold_what_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    study, board = tmp_path / "study", tmp_path / "board"
    assert main(search(study, f"--board={board}", "--running.max_epochs=5")) == 0
    assert main(["resume", str(study)]) == 0
    found: Points = {}
    for run in board.iterdir():
        events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
        for name in events.Tags()["scalars"]:
            steps = [event.step for event in events.Scalars(name)]
            assert len(set(steps)) == len(steps)
            found |= {(run.name, name, e.step): e.value for e in events.Scalars(name)}
    assert of_export(found) == pytest.approx(exported(study), rel=1e-6)


def test_without_tensorboard_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent() -> None:
        raise ValueError("TensorBoard must be installed")

    monkeypatch.setattr(module, "summary_writer", absent)
    study = tmp_path / "study"
    assert main(search(study, f"--board={tmp_path}")) == 1
    assert "TensorBoard must be installed" in capsys.readouterr().err
    assert not study.exists()
