"""A study in the forms of other tools."""

import csv
import json
from dataclasses import replace

import pytest
from synthetic_runner import SyntheticRunner, make_study

from lsh_native.search.export import to_frame, trial_rows, write_csv, write_jsonl, write_optuna
from lsh_native.search.history import History, Observation
from lsh_native.search.interval import Interval
from lsh_native.search.sampler import SpaceExhausted
from lsh_native.search.space import Space
from lsh_native.search.store import Store


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store._database.query("PRAGMA synchronous = OFF")
        yield store


@pytest.fixture
def finished(store, tmp_path):
    runner = SyntheticRunner(tmp_path, nan=lambda trial, epoch: trial.number == 2)
    make_study(store, runner).run()
    return store


def lines(store, folder, what="trials"):
    return write_jsonl(store, folder / f"{what}.jsonl", what).read_text().splitlines()


def test_rows_survive_csv_and_json_lines(finished, tmp_path):
    rows = [json.loads(line) for line in lines(finished, tmp_path)]
    assert [row["trial"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["state"] for row in rows][2] == "diverged"
    assert rows[1]["drop"] == finished.trial(1).candidate.drop
    with write_csv(finished, tmp_path / "a.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["valid_loss"] or "nan") for row in table[3:]] == [
        row["valid_loss"] for row in rows[3:]
    ]
    epochs = [json.loads(x) for x in lines(finished, tmp_path, "epochs")]
    assert len(epochs) == sum(trial.epochs for trial in finished.trials())
    judged = [row for row in epochs if "score_loss" in row]
    assert len(judged) == len(finished.rungs())
    assert all(row["score_loss"] == row["valid_loss"] for row in judged)


def test_what_was_measured_beside_the_losses_is_exported(store, tmp_path, monkeypatch):
    plain = SyntheticRunner.run
    details = {
        "token_milliseconds": 1.5,
        "survival": 0.25,
        "explored": 0.75,
        "densities": {"weight_ih_l0": 0.4, "weight_hh_l0": 0.2},
    }

    def measured(self, trial, until, record):
        plain(self, trial, until, lambda epoch: record(replace(epoch, details=details)))

    monkeypatch.setattr(SyntheticRunner, "run", measured)
    make_study(store, SyntheticRunner(tmp_path), candidates=2).run()
    columns = {"token_milliseconds", "survival", "explored", "density_weight_ih_l0"}
    for what in ("trials", "epochs"):
        for row in map(json.loads, lines(store, tmp_path, what)):
            assert row.keys() >= columns
            assert (row["survival"], row["density_weight_hh_l0"]) == (0.25, 0.2)
        with write_csv(store, tmp_path / "a.csv", what).open(newline="") as file:
            assert {row["token_milliseconds"] for row in csv.DictReader(file)} == {"1.5"}


def test_a_frame(finished):
    pytest.importorskip("pandas")
    frame = to_frame(finished)
    assert list(frame["trial"]) == [0, 1, 2, 3, 4, 5]
    assert frame.set_index("trial").loc[1, "epochs"] == finished.trial(1).epochs


@pytest.mark.filterwarnings("ignore")
def test_a_storage_of_optuna(finished, tmp_path):
    optuna = pytest.importorskip("optuna")
    path = write_optuna(finished, tmp_path / "optuna.db")
    study = optuna.load_study(storage=f"sqlite:///{path}", study_name="lsh")
    best = min(t.valid_loss for t in finished.epochs(study.best_trial.user_attrs["trial"]))
    assert study.best_value == best
    states = [trial.state.name for trial in study.trials]
    assert sorted(states) == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED", "PRUNED"]
    assert study.trials[0].params["drop"] == finished.trial(1).candidate.drop


def test_a_file_that_cannot_be_a_storage_of_optuna(finished, tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "notes.txt").write_text("no database at all")
    with pytest.raises(ValueError, match=r"notes\.txt must be a new file or one of SQLite, got an"):
        write_optuna(finished, tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError):
        write_optuna(finished, tmp_path / "absent" / "study.db")


@pytest.mark.parametrize("write", [write_csv, write_jsonl])
def test_a_table_is_written_whole_or_not_at_all(finished, tmp_path, monkeypatch, write):
    path = write(finished, tmp_path / "table")
    before = path.read_bytes()

    def broken(store):
        yield from list(trial_rows(store))[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr("lsh_native.search.export.ROWS", {"trials": broken})
    with pytest.raises(KeyboardInterrupt):
        write(finished, path)
    assert path.read_bytes() == before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_samplers_of_optuna(store, tmp_path, name):
    pytest.importorskip("optuna")
    from lsh_native.search.optuna_sampler import OptunaSampler

    space = Space(
        method=("dynamic", "rigl"),
        drop_fraction=Interval(low=0.3, high=0.9),
        controls={"rigl": {"every": Interval(low=10, high=100, integer=True)}},
    )
    make_study(
        store, SyntheticRunner(tmp_path), sampler=OptunaSampler(name), space=space, candidates=8
    ).run()
    candidates = [trial.candidate for trial in store.trials()[1:]]
    assert len(set(candidates)) == 8
    assert all(candidate in space for candidate in candidates)
    again = tmp_path / "again"
    again.mkdir()
    with Store(again / "study.db") as other:
        make_study(
            other, SyntheticRunner(again), sampler=OptunaSampler(name), space=space, candidates=8
        ).run()
        assert [trial.candidate for trial in other.trials()[1:]] == candidates
    small = Space(initial=("uniform",), drop=("set",), redistribute=("none",), drop_fraction=(0.5,))
    with pytest.raises(SpaceExhausted):
        OptunaSampler(name).propose(
            small,
            History.of([Observation(candidate=next(iter(small)), score=1.0)]),
            seed=0,
            number=2,
        )


def test_an_unknown_sampler():
    pytest.importorskip("optuna")
    from lsh_native.search.optuna_sampler import OptunaSampler

    with pytest.raises(ValueError, match="must be one of tpe, gp, cmaes, random, qmc, got 'best'"):
        OptunaSampler("best")
