"""A run's table and JSON, its benchmarks by name, and the machine's facts."""

import json
import math

import pytest
import torch

from bench import __main__ as command
from bench import machine, record
from bench.harness import Case, Comparison, Goal, Measurement, Summary, Work

PEAK = machine.Peak(
    operations={"float32": 100.0, "float64": 50.0},
    operations_by="a test",
    read_bandwidth=10.0,
    read_bandwidth_by="a test",
)
MACHINE = machine.Machine(
    cpu="a processor",
    cores=2,
    flags=["avx2"],
    simd_level="v3",
    torch_threads=2,
    load_average=0.5,
    python="3",
    system="Linux",
    packages={"torch": "2"},
    peak=PEAK,
)


def measured(seconds: float, clock: str) -> Measurement:
    return Measurement(calls=1, seconds={clock: Summary.of([seconds])})


def row(
    *,
    ratio: float = 2.0,
    goal: Goal | None = None,
    work: Work | None = None,
    clock: str = "thread_cpu",
    threads: int = 1,
) -> record.Row:
    comparison = Comparison(
        name="step",
        threads=threads,
        clock=clock,
        ours=measured(1.0, clock),
        peers={"nn.LSTM": measured(ratio, clock)},
        ratios={"nn.LSTM": {clock: Summary.of([ratio])}},
    )
    case = Case(
        name="step",
        ours=lambda: None,
        peers={"nn.LSTM": lambda: None},
        shape={"H": 8, "density": 0.1},
        goals={"nn.LSTM": goal} if goal else {},
        work=work,
    )
    return record.Row.of("cells/lstm", case, comparison)


@pytest.mark.parametrize(
    ("ratio", "goal", "expected"),
    [
        (1.9, Goal(must=2, aim=3), "no"),
        (2.0, Goal(must=2, aim=3), "must"),
        (3.0, Goal(must=2, aim=3), "aim"),
        (9.0, Goal(must=2), "must"),
        (9.0, None, ""),
    ],
)
def test_reached(ratio, goal, expected):
    assert record.reached(ratio, goal) == expected


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (Work(operations=25), 0.25),
        (Work(operations=25, dtype=torch.float64), 0.5),
        (Work(bytes_read=5), 0.5),
        (Work(operations=25, bytes_read=5), 0.5),
    ],
)
def test_fraction_of_peak_is_of_the_nearer_ceiling(work, expected):
    assert row(work=work).fraction_of_peak(PEAK) == expected


def test_fraction_of_peak_knows_how_many_cores_a_clock_adds_up():
    work = Work(operations=100)
    assert row(work=work, clock="wall", threads=2).fraction_of_peak(PEAK) == 0.5
    assert row(work=work, clock="process_cpu", threads=2).fraction_of_peak(PEAK) == 1.0


def test_fraction_of_peak_of_unknown_work_is_none():
    assert row().fraction_of_peak(PEAK) is None


def test_fraction_of_peak_of_another_dtype_is_an_error():
    with pytest.raises(ValueError, match=r"work.dtype must be one of .*, got int32"):
        row(work=Work(operations=1, dtype=torch.int32)).fraction_of_peak(PEAK)


def test_table_has_must_aim_and_measured():
    text = record.table([row(ratio=7.5, goal=Goal(must=7.5, aim=9))], PEAK)
    header, rule, line = text.splitlines()
    assert len(header) == len(rule) == len(line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["step", "1", "nn.LSTM", "7.5", "9", "7.50", "7.50 to 7.50", "must", "", ""]


def test_json_holds_the_run(tmp_path):
    path = tmp_path / "new" / "run.json"
    record.write(record.record([row(goal=Goal(must=2, aim=3))], MACHINE, short=True), path)
    run = json.loads(path.read_text(encoding="utf-8"))
    (case,) = run["cases"]
    assert run["machine"]["packages"] == {"torch": "2"}
    assert run["short"] is True
    assert case["shape"] == {"H": 8, "density": 0.1}
    assert case["peers"]["nn.LSTM"]["ratio"]["thread_cpu"]["median"] == 2.0
    assert case["peers"]["nn.LSTM"]["goal"] == {"must": 2, "aim": 3}


@pytest.fixture
def folder(tmp_path):
    for name in (
        "cells/bench_lstm.py",
        "cells/bench_gru.py",
        "sparse/bench_linear.py",
        "harness.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_modules_are_found_by_part_of_their_name(folder):
    assert command.modules([], folder) == ["cells/gru", "cells/lstm", "sparse/linear"]
    assert command.modules(["cells"], folder) == ["cells/gru", "cells/lstm"]
    assert command.modules(["lstm", "linear"], folder) == ["cells/lstm", "sparse/linear"]


def test_an_unknown_name_says_which_there_are(folder):
    with pytest.raises(ValueError, match=r"hold 'rhn'; there are: cells/gru, cells/lstm, sparse/"):
        command.modules(["rhn"], folder)


def test_command_refuses_an_unknown_name(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["no such benchmark"])
    assert stopped.value.code == 2
    assert "'no such benchmark'" in capsys.readouterr().err


def test_command_prints_a_table_and_writes_json(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "modules", lambda names: ["cells/lstm"])
    monkeypatch.setattr(command, "run", lambda names, **_: iter([row()]))
    monkeypatch.setattr(machine.Machine, "measure", lambda: MACHINE)
    path = tmp_path / "run.json"
    assert command.main(["lstm", "--short", "--output", str(path)]) == 0
    assert "nn.LSTM" in capsys.readouterr().out
    assert json.loads(path.read_text(encoding="utf-8"))["machine"]["cpu"] == "a processor"


def test_peak_is_measured():
    peak = machine.measure_peak(size=64, megabytes=1, repeats=1)
    numbers = [*peak.operations.values(), peak.read_bandwidth]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
