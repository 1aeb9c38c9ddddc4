"""Training in a folder: stopped anywhere it goes on, and its logs are whole."""

import csv
import json
import math
import os

import pytest
import torch
from test_trainer import V, assert_same, make_trainer, poison, results

from lsh_native.training import (
    CHECKPOINT,
    DivergedError,
    EpochTable,
    JsonLines,
    LockedError,
    Scalars,
    StepResult,
    generate,
    tensorboard,
    tracking,
    train,
)
from lsh_native.training.lock import lone_writer


def trackers(folder):
    return JsonLines(folder / "log.jsonl", every=5), EpochTable(folder / "epochs.csv")


def rows(folder):
    """What the logs say, but for times."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    with (folder / "epochs.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    return [
        [{k: v for k, v in row.items() if "seconds" not in k} for row in part]
        for part in (lines, table)
    ]


class Stop:
    """A tracker that ends the run after a step, as Ctrl-C or a fault does."""

    def __init__(self, at, error=KeyboardInterrupt):
        self.at, self.error = at, error

    def on_start(self, epochs, total_steps):
        pass

    def on_step(self, step):
        if step.total_steps == self.at:
            raise self.error

    def on_epoch(self, result):
        pass


@pytest.mark.parametrize("kind", [None, "every step"])
def test_stopped_it_goes_on_and_the_logs_agree(tmp_path, kind):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = make_trainer(kind)
    best = train(expected, whole, trackers=trackers(whole))
    for stop, error in ((3, KeyboardInterrupt), (17, RuntimeError), (40, KeyboardInterrupt)):
        with pytest.raises(error):
            train(
                make_trainer(kind, model_seed=stop if parts.exists() else 0), parts,
                trackers=(*trackers(parts), Stop(stop, error)), save_every=0.0,
            )  # fmt: skip
        with (parts / "log.jsonl").open("ab") as file:  # torn by a kill
            file.write(b'{"kind": "step", "lo')
        with (parts / "epochs.csv").open("ab") as file:
            file.write(b"9,1.")
    trainer = make_trainer(kind, model_seed=9)
    found = train(trainer, parts, trackers=trackers(parts))
    assert_same(trainer, expected)
    assert (found.epoch, found.valid_loss) == (best.epoch, best.valid_loss)
    assert rows(parts) == rows(whole)
    steps, epochs = rows(parts)
    assert [row["total_steps"] for row in steps if row["kind"] == "step"] == list(range(5, 48, 5))
    assert [float(row["valid_loss"]) for row in epochs] == [
        result["valid_loss"] for result in results(trainer)
    ]
    again = make_trainer(kind)
    train(again, parts, trackers=trackers(parts))
    assert rows(parts) == rows(whole)


def test_one_training_at_a_time(tmp_path):
    train(make_trainer(), tmp_path, trackers=trackers(tmp_path))
    before = rows(tmp_path)
    heard = []
    with (
        lone_writer(tmp_path / CHECKPOINT),
        pytest.raises(LockedError, match=f"must have one writer, but process {os.getpid()} works"),
    ):
        train(
            make_trainer(), tmp_path, trackers=trackers(tmp_path), ready=lambda: heard.append(1)
        )  # fmt: skip
    assert (rows(tmp_path), heard) == (before, [])
    train(make_trainer(), tmp_path, trackers=trackers(tmp_path), ready=lambda: heard.append(1))
    assert (rows(tmp_path), heard) == (before, [1])


def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
    trainer = make_trainer()

    class Poison(Stop):
        def on_step(self, step):
            if step.epoch == 2:
                poison(trainer, step.step + 1, math.nan)(step.step, step.steps, step.loss)

    with pytest.raises(
        DivergedError, match=f"good checkpoint is {tmp_path / CHECKPOINT}"
    ) as caught:
        train(trainer, tmp_path, trackers=[Poison(0)])
    assert (caught.value.epoch, caught.value.step) == (2, 2)
    resumed = make_trainer()
    resumed.load(tmp_path / CHECKPOINT)
    assert resumed.epoch == 1


def test_a_full_disk_ends_the_run_with_whole_lines(tmp_path, monkeypatch):
    log = JsonLines(tmp_path / "log.jsonl", every=1)

    def full(*_):
        return 3

    monkeypatch.setattr(tracking.os, "write", full)
    with pytest.raises(OSError, match="no space is left for a line of"):
        train(make_trainer(), tmp_path, trackers=[log])


def test_numbers_for_any_tracker(tmp_path):
    heard = []
    numbers = Scalars(lambda name, value, step: heard.append((name, value, step)), every=6)
    trainer = make_trainer()
    train(trainer, tmp_path, trackers=[numbers])
    losses = [(value, step) for name, value, step in heard if name == "epoch/valid_loss"]
    assert losses == [(r.valid_loss, 12 * r.epoch) for r in trainer.history]
    assert [step for name, _, step in heard if name == "step/loss"] == list(range(6, 49, 6))


def test_tensorboard_shows_a_step_once_however_often_it_was_done(tmp_path, monkeypatch):
    opened, shown = [], []

    class Writer:
        def __init__(self, folder, purge_step):
            opened.append((folder, purge_step))
            shown[:] = [(name, step) for name, step in shown if step < purge_step]

        def add_scalar(self, name, value, step):
            shown.append((name, step))

        def flush(self):
            pass

    monkeypatch.setattr(tracking, "summary_writer", lambda: Writer)
    for done in (0, 100):
        tracker = tensorboard(tmp_path)
        tracker.on_start(0, done)
        for step in range(done + 1, 301):
            numbers = {"step": step, "steps": 300, "total_steps": step, "tokens": 9}
            tracker.on_step(StepResult(epoch=1, loss=1.0, seconds=0.1, density=0.5, **numbers))
    assert opened == [(str(tmp_path), 1), (str(tmp_path), 101)]
    assert sorted(shown) == sorted({*shown})
    assert ("step/loss", 300) in shown


def test_tensorboard_is_asked_for_by_name(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(f"no module {name}")

    monkeypatch.setattr(tracking, "import_module", absent)
    with pytest.raises(ValueError, match="TensorBoard must be installed"):
        tensorboard(tmp_path)


def test_generated_text_follows_the_model():
    model = make_trainer().model

    def text(temperature=1.0, seed=0, **options):
        random = torch.Generator().manual_seed(seed)
        tokens = generate(model, [1, 2], generator=random, temperature=temperature, **options)
        return [next(tokens) for _ in range(30)]

    assert text() == text()
    assert text() != text(seed=1)
    assert set(text()) <= set(range(V))
    assert 3 not in text(banned=[3])
    assert text(temperature=0) == text(temperature=0, seed=1)
    logits, state = model(torch.tensor([[1], [2]]))
    first = int(logits[-1, 0].argmax())
    second = int(model(torch.tensor([[first]]), state)[0][-1, 0].argmax())
    assert text(temperature=0)[:2] == [first, second]
    with pytest.raises(ValueError, match=r"prompt must hold ids in \[0, 9\), got \[\]"):
        next(generate(model, [], generator=torch.Generator()))
    with pytest.raises(ValueError, match="temperature must be zero or positive, and finite"):
        text(temperature=-1)
