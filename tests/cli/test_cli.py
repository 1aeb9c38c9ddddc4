import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lsh_native.cli.main import main
from lsh_native.search.result import read_result
from lsh_native.search.store import Store

# A search of a few seconds: tiny networks on a tiny text.
TINY = [
    "--candidates=3",
    "--recipe.model.hidden_size=8",
    "--recipe.model.embedding_size=8",
    "--recipe.epochs=3",
    "--text.train_tokens=3000",
    "--spectrum.steps=10",
    "--spectrum.state_warmup=5",
    "--spectrum.tangent_warmup=5",
    "--running.executor=inline",
    "--running.threads=1",
]


def search(output: Path, *more: str) -> list[str]:
    return ["search", f"--output={output}", *TINY, *more]


def table(folder: Path) -> list[tuple[object, ...]]:
    """All that a study found, without seconds and dates."""
    with Store(folder / "study.db", read_only=True) as store:
        numbers = [trial.number for trial in store.trials()]
        return [
            (
                summary.trial.number,
                str(summary.trial.candidate),
                summary.trial.state,
                [(e.epoch, e.train_loss, e.valid_loss, e.density) for e in store.epochs(number)],
                [(s.epoch, s.distance, s.exponents.tolist()) for s in store.spectra(number)],
            )
            for number, summary in zip(
                numbers, [read_result(store).reference, *read_result(store).trials], strict=True
            )
        ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    assert main(search(folder)) == 0
    return folder


def test_search_leaves_model_numbers_and_report(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["found"]["density"] == pytest.approx(0.33, abs=1e-3)
    assert summary["dense"]["density"] == 1
    assert summary["best_possible_perplexity"] < summary["dense"]["test_perplexity"]
    assert (finished / "best" / "model.safetensors").stat().st_size > 0
    page = (finished / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "https:" not in page
    assert main(["status", str(finished), "--watch=true", "--every=0.1"]) == 0
    assert "complete" in capsys.readouterr().out


def test_a_finished_search_run_again_trains_nothing(finished: Path) -> None:
    before = table(finished)
    assert main(["resume", str(finished), "--running.executor=inline"]) == 0
    assert table(finished) == before


def test_report_and_spectrum_of_what_was_found(finished: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    assert main(["report", str(finished), f"--figures={figures}"]) == 0
    drawings = {path.stem: path.read_text() for path in figures.iterdir()}
    assert {"trajectory", "survival", "density"} <= drawings.keys()
    assert all(text.startswith("<?xml") for text in drawings.values())
    output = tmp_path / "spectrum.json"
    arguments = ["--text.train_tokens=3000", "--steps=10", f"--output={output}"]
    assert main(["spectrum", str(finished / "best" / "model.safetensors"), *arguments]) == 0
    record = json.loads(output.read_text())
    assert record["layer_sizes"] == [16, 16]
    assert output.with_suffix(".svg").read_text().startswith("<?xml")


def test_evidence_and_export(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "study")
    arguments = ["--candidates=1", "--running.executor=inline"]
    assert main(["evidence", str(tmp_path / "study"), *arguments]) == 0
    told = capsys.readouterr().out
    assert main(["evidence", str(tmp_path / "study")]) == 0
    shown = capsys.readouterr().out
    assert "at least 8 are needed" in shown
    assert told.endswith(shown)
    assert told.count("at least 8 are needed") == 1
    assert "Evidence" in (tmp_path / "study" / "report.html").read_text()
    for form in ("csv", "jsonl"):
        output = tmp_path / f"trials.{form}"
        assert main(["export", str(finished), str(output), f"--form={form}"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["dense", *["candidate"] * 3]
    assert rows[1]["non_zeros"] < rows[0]["non_zeros"]
    with (tmp_path / "trials.csv").open(newline="") as file:
        assert [row["trial"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("options", [["--rounds=full"], ["--recipe.epochs=1"]])
def test_evidence_where_nobody_is_eliminated(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(search(tmp_path, "--evidence=1", *options)) == 0
    assert "Nothing can be said about any score" in capsys.readouterr().out
    assert main(["report", str(tmp_path)]) == 0
    assert "Nothing can be said about any score" in (tmp_path / "report.html").read_text()


def test_a_target_that_nobody_keeps_to_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(search(tmp_path, "--max_non_zeros=10")) == 0
    told = "at most 10 non-zeros were asked for, the network found has"
    assert told in capsys.readouterr().out
    assert told in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_workers_find_the_same(finished: Path, tmp_path: Path) -> None:
    workers = ["--running.executor=local", "--running.workers=2"]
    assert main([*search(tmp_path), *workers]) == 0
    assert table(tmp_path) == table(finished)


@pytest.mark.slow
def test_killed_at_random_moments_a_search_ends_the_same(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "lsh_native", *search(folder)]
    rng = random.Random(0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(3):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for_an_epoch(folder, process)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(
        [sys.executable, "-m", "lsh_native", "resume", str(folder)],
        env=environment,
        check=True,
        capture_output=True,
    )
    assert table(folder) == table(finished)


# A disk of 400 kB that fills up in the middle of the study; then it grows, and the study goes on.
FULL_DISK = """
mount -t tmpfs -o size=400k none {disk} || exit 77
"$0" -m lsh_native "$@" --output={disk}/study > /dev/null 2> {out}/error
echo $? > {out}/status
mount -o remount,size=40m {disk}
"$0" -m lsh_native resume {disk}/study > /dev/null && cp {disk}/study/study.db {out}
"""


@pytest.mark.slow
def test_a_full_disk_stops_a_search_which_goes_on_when_there_is_room(
    finished: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = FULL_DISK.format(disk=disk, out=tmp_path)
    alone = ["unshare", "--map-root-user", "--mount"]
    done = subprocess.run(
        [*alone, "sh", "-c", script, sys.executable, "search", *TINY],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    if not (tmp_path / "status").exists():
        pytest.skip(f"needs a small disk of its own: {done.stderr.decode().strip()}")
    assert (tmp_path / "status").read_text() == "1\n"
    error = (tmp_path / "error").read_text()
    assert error.count("\n") == 1
    assert "lsh-native: error:" in error
    assert table(tmp_path) == table(finished)


@pytest.mark.slow
def test_workers_do_not_import_what_lies_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "lsh_native").mkdir()
    (tmp_path / "lsh_native" / "__init__.py").write_text("raise ImportError('a source tree')")
    subprocess.run(
        [sys.executable, "-P", "-m", "lsh_native", *search(Path("study"))],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )


def _wait_for_an_epoch(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Returns when one more epoch is stored than at the call, or the process has ended."""
    known = _epochs(folder)
    while process.poll() is None and _epochs(folder) <= known:
        time.sleep(0.02)


def _epochs(folder: Path) -> int:
    if not (folder / "study.db").exists():
        return 0
    try:
        with Store(folder / "study.db", read_only=True) as store:
            return sum(trial.epochs for trial in store.trials())
    except RuntimeError:  # not laid out yet
        return 0


def test_train_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", f"--output={tmp_path}", "--sparsity=0.5", *TINY[1:5], "--threads=1"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert "epoch 3 of 3" in first
    assert main(arguments) == 0
    assert "epoch" in capsys.readouterr().out
    assert (tmp_path / "model.safetensors").exists()


def test_doctor_names_what_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("torch", "SIMD level", "threads", "CPU kernels", "CUDA kernels"):
        assert word in out


def text_folder(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text.encode("latin-1"))
    return folder


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sparsity=1"], "sparsity must be in [0, 1), got 1"),
        (["--sparsity=-0.1"], "sparsity must be in [0, 1), got -0.1"),
        (["--sparsity=much"], "sparsity"),
        (["--candidates=0"], "candidates must be at least 1, got 0"),
        (["--recipe.model.hidden_size=0"], "hidden_size"),
        (["--recipe.model.tied=true", "--recipe.model.embedding_size=9"], "embedding_size"),
        (["--recipe.unknown=1"], "recipe.unknown"),
        (["--space.drop=[nothing]"], "nothing"),
        (["--data=/no/such/folder"], "text.train_tokens must be left out for the text of a folder"),
        (["--data=/no/such/folder", "--text.train_tokens=50000"], "/no/such/folder"),
        (["--spectrum.sequences=500"], "validation text"),
        (["--preset=lsh1999"], "lsh1999"),
        (["--max_token_milliseconds=0"], "max_token_milliseconds must be positive"),
        (["--space.batch_size=[4, 100000]"], "a space must suit the model and the text, but"),
        (["--score=best"], "score must be one of rank_mean, lyapunov"),
        (["--score=loss+best"], "score must be one of rank_mean, lyapunov"),
        (["--score=no_such_module:score"], "but no_such_module:score raised ModuleNotFoundError"),
        (["--rungs.eta=4"], "rungs.eta must be left to rounds that read it (halving, asha"),
        (["--rungs.first=4"], "rounds must have 1 <= first <= total, got first 4, total 3"),
        (["--preset=lsh2022", "--rounds=asha"], "rounds must be left to the preset lsh2022"),
        (["--preset=lsh2022", "--rungs.every=2"], "rungs.every must be left to the preset"),
        (["--preset=lsh2022", "--score=loss"], "score must be left to the preset lsh2022"),
        (["--preset=lsh2022"], "spectrum.steps must be left to lsh2022, which fixes it, got 10"),
        (
            ["--running.address=10.0.0.1:6379"],
            "running.address must be left to executors that read",
        ),
        (["--running.workers=2"], "running.workers must be left to executors that read it (local"),
    ],
)
def test_bad_input_gets_one_line(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main([*search(tmp_path / "study"), *arguments])
    captured = capsys.readouterr()
    assert status != 0
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("lsh-native: error:")
    assert sentence in captured.err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("option", "package", "sentence"),
    [
        ("--sampler=optuna_tpe", "optuna", "Optuna must be installed: pip install 'lsh-native[o"),
        ("--running.executor=ray", "ray", "Ray must be installed: pip install 'lsh-native[ray]'"),
        ("--running.executor=slurm", "submitit", "pip install 'lsh-native[slurm]'"),
        ("--board=runs", "torch.utils.tensorboard", "pip install 'lsh-native[board]'"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_written(
    option: str,
    package: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(search(tmp_path / "study", option)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert sentence in error
    assert not (tmp_path / "study").exists()


OWN_SCORE = """
def last_loss(pool):
    return [measurement.epochs[-1].valid_loss for measurement in pool]
"""


def test_a_score_of_ones_own_by_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_scores.py").write_text(OWN_SCORE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    study, name = tmp_path / "study", "my_scores:last_loss"
    assert main(search(study, f"--score={name}+lyapunov", "--rounds=full", "--evidence=1")) == 0
    assert main(["resume", str(study)]) == 0
    assert main(["report", str(study)]) == 0
    assert main(["evidence", str(study)]) == 0
    shown = capsys.readouterr().out
    assert f"{name}+lyapunov".replace("_", " ") in shown
    assert "left out" not in (study / "report.html").read_text()
    with Store(study / "study.db", read_only=True) as store:
        recorded = {score.name for score in store.scores()}
    assert recorded == {"rank_mean", "lyapunov", "loss", name, f"{name}+lyapunov"}
    (tmp_path / "my_scores.py").unlink()
    monkeypatch.delitem(sys.modules, "my_scores")
    for command in ("resume", "report", "evidence"):
        assert main([command, str(study)]) == 1
        assert f"but {name} raised ModuleNotFoundError" in capsys.readouterr().err
    assert main(["status", str(study)]) == 0


@pytest.mark.parametrize("torn", ["", '{"data": nu', "[]"])
def test_options_that_a_full_disk_tore_are_written_anew(
    finished: Path, tmp_path: Path, torn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    (folder / "configuration.json").write_text(torn)
    assert main(["resume", str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "configuration.json must hold the options of a search, but is empty or broken" in error
    assert "give `lsh-native search` the same options and --output again" in error
    assert main(search(folder, "--seed=1")) == 1
    assert (folder / "configuration.json").read_text() == torn, "of another study"
    assert main(search(folder)) == 0
    assert json.loads((folder / "configuration.json").read_text())["candidates"] == 3
    assert main(["resume", str(folder)]) == 0


def test_a_study_keeps_the_options_of_the_call_that_went_on_with_it(
    finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    options = json.loads((folder / "configuration.json").read_text())
    options["running"]["max_epochs"] = 9
    (folder / "configuration.json").write_text(json.dumps(options))
    assert main(search(folder)) == 0
    kept = json.loads((folder / "configuration.json").read_text())
    assert kept == {**options, "running": {**options["running"], "max_epochs": None}}


def test_dense_beside_sparse_starts_is_told_as_the_study_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = ['--space.method=["one_shot", "static"]', "--running.max_epochs=1"]
    warning = "Warning: Candidates that start with more connections than they keep (one shot)"
    assert main(search(tmp_path / "mixed", *mixed)) == 0
    assert warning in capsys.readouterr().out
    assert main(search(tmp_path / "by-loss", *mixed, "--score=loss")) == 0
    assert "Warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search", "--rounds=best"], "rounds must be one of elimination, insertion, halving"),
        (["search", "--candidates=few"], "candidates must be a whole number, got few"),
        (["search", "--running.max_seconds=x"], "running.max_seconds must be a number, got x"),
        (["search", "--spectrum.k=all"], "spectrum.k must be a whole number, got all"),
        (["search", "--config", "/no/study.toml"], "config must be a TOML file, got nothing there"),
        (["search", "--config=/no/study.toml"], "config must be a TOML file, got nothing there"),
        (["train", "/no/recipe.toml"], "config must be a TOML file, got nothing there: /no/recipe"),
        (["status", "/no", "--watch"], "there must be a study at /no/study.db, got no such file"),
        (["search", "--candidate=3"], "unrecognized arguments: --candidate=3"),
        (["status", "/no"], "there must be a study at /no/study.db, got no such file"),
        (["export", "/no", "trials.csv"], "there must be a study at /no/study.db"),
        (["export", "STUDY", "/no/trials.csv"], "/no/trials.csv: file not written"),
        (["export", "STUDY", "x", "--form=dense"], "a study is exported as csv, jsonl, optuna"),
        (["export", "STUDY", "x", "--what=all"], "what must be one of trials, epochs, got all"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(
    arguments: list[str], sentence: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(finished) if word == "STUDY" else word for word in arguments]) != 0
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"lsh-native: error: {sentence}")


def test_optuna_is_asked_for_by_name(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["export", str(finished), str(tmp_path / "x.db"), "--form=optuna"]) == 1
    assert "Optuna must be installed" in capsys.readouterr().err


def test_the_bare_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Finds a sparse recurrent language model" in " ".join(capsys.readouterr().err.split())


def test_no_trial_runs_where_nobody_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(tmp_path / "study.db") as store:
        store.begin({}, {})
        store.add_trial(0, None, 0)
        store.begin_trial(0, "here")
        assert main(["status", str(tmp_path)]) == 0
        assert "running" in capsys.readouterr().out
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "cut short" in shown
    assert "running" not in shown


def test_ctrl_c_ends_the_watch(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(study: Path) -> tuple[str, bool]:
        raise KeyboardInterrupt

    monkeypatch.setattr("lsh_native.cli.status._page", interrupted)
    assert main(["status", str(finished), "--watch=true"]) == 0
    assert not capsys.readouterr().err


def test_bad_text_gets_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = "a b c d\n" * 400
    cases = {
        "empty": {"train": "", "valid": good, "test": good},
        "binary": {"train": "\xff\xfe\x00", "valid": good, "test": good},
        "single": {"train": good, "valid": "", "test": good},
        "unknown": {"train": good, "valid": "a e\n" * 400, "test": good},
        "short": {"train": "a b\n", "valid": "a b\n", "test": "a b\n"},
    }
    for name, texts in cases.items():
        (tmp_path / name).mkdir()
        folder = text_folder(tmp_path / name, **texts)
        options = [option for option in search(tmp_path / "study") if "train_tokens" not in option]
        assert main([*options, f"--data={folder}"]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(folder) in error or name == "short"


def test_another_configuration_or_a_foreign_file_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = table(finished)
    assert main(search(finished, "--seed=1")) == 1
    captured = capsys.readouterr()
    assert "search.seed is 0 there and 1 here; name another --output" in captured.err
    assert captured.out == ""
    assert table(finished) == before
    (tmp_path / "study.db").write_bytes(b"no database" * 100)
    assert main(search(tmp_path)) == 1
    assert "must be a study" in capsys.readouterr().err


def test_options_may_stand_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.toml"
    path.write_text('sparsity = 0.5\n[recipe]\nlearning_rate = "fast"\n')
    assert main(["search", f"--config={path}", f"--output={tmp_path}"]) == 2
    assert "learning_rate" in capsys.readouterr().err


def test_a_diverging_reference_ends_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(search(tmp_path, "--recipe.learning_rate=1e30", "--recipe.clip=1e30")) == 1
    assert "dense reference must train" in capsys.readouterr().err
