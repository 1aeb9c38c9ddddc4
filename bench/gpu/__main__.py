"""Tests and measures the CUDA kernels, all in one go: `python -m bench.gpu`.

Builds them if they are missing, runs the GPU's half of the tests, measures ceilings and rows,
writes JSON and a table. Needs no network; ends after eight minutes, with what it has by then.
Without a GPU, `--dry-run` checks the shapes of every row on tensors without content and runs small
forms of all of them on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch._subclasses import FakeTensorMode
from torch.utils._pytree import tree_leaves

from bench.gpu.ceilings import Ceilings, chosen, measure
from bench.gpu.place import Function, Place, graphed, seconds
from bench.gpu.rows import UNBUILT, Row, rows
from lsh_native.native import libraries

ROOT = Path(__file__).resolve().parents[2]
MINUTES, TEST_SECONDS = 8.0, 150


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="small forms, on the CPU")
    parser.add_argument("--output", type=Path, help="where the JSON goes; a table beside it")
    parser.add_argument("--rows", default="", help="only rows whose names hold this")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="when to stop")
    parser.add_argument("--without-tests", action="store_true")
    options = parser.parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    if not options.dry_run and not torch.cuda.is_available():
        parser.error("there must be a GPU that torch can use, or --dry-run")
    if not options.dry_run and libraries.cuda is None:
        return _build_and_begin_again(sys.argv[1:] if arguments is None else list(arguments))

    device = torch.device("cpu" if options.dry_run else "cuda")
    record: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    record |= {"dry_run": options.dry_run, "machine": _machine(), "tests": None}
    if not (options.dry_run or options.without_tests):
        record["tests"] = _tests()
    ceilings = measure(device, short=options.dry_run)
    record["ceilings"] = asdict(ceilings)
    record["rows"], record["unbuilt"] = [], [asdict(each) for each in UNBUILT]
    shapes = {} if not options.dry_run else {i: row for i, row in enumerate(rows())}
    for i, row in enumerate(rows(small=options.dry_run)):
        if options.rows not in row.name:
            continue
        if shapes:
            _check_shapes(shapes[i])
        if time.monotonic() > end:
            record["rows"].append({"name": row.name, "error": "no time was left"})
            continue
        record["rows"].append(_measured(row, device, ceilings))
        print(_line(record["rows"][-1]), flush=True)
    output = options.output or ROOT / "bench" / "results" / f"{record['date'][:10]}-gpu.json"
    if options.output or not options.dry_run:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(record, indent=1) + "\n")
        output.with_suffix(".md").write_text(_table(record))
        print(f"written: {output}")
    failed = [row["name"] for row in record["rows"] if row.get("error")]
    return 1 if failed and options.dry_run else 0


def _build_and_begin_again(arguments: list[str]) -> int:
    """Installs the source tree, which then has its CUDA library, and starts this module anew."""
    if os.environ.get("LSH_BENCH_BUILT"):
        sys.exit(f"the CUDA library must be there after a build: {libraries.cuda_missing}")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-build-isolation",
        "--no-deps",
        "-e",
        ".",
    ]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "PIP_NO_INDEX": "1"})
    again = [sys.executable, "-m", "bench.gpu", *arguments]
    return subprocess.call(again, cwd=ROOT, env={**os.environ, "LSH_BENCH_BUILT": "1"})


def _machine() -> dict[str, Any]:
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "library": libraries.cuda_architectures,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "second_level_cache": properties.L2_cache_size,
            "driver": _ask_driver("driver_version"),
            "watts_before": _ask_driver("power.draw"),
        }
    return facts


def _ask_driver(what: str) -> str | None:
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None


def _tests() -> dict[str, Any]:
    """The conformance tests, with the device list one longer."""
    folders = ["tests/cells", "tests/sparsity", "tests/lyapunov/test_qr_growth.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", "cuda", *folders]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TEST_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"passed": False, "said": f"not done after {TEST_SECONDS} s"}
    print(done.stdout[-2000:])
    return {"passed": done.returncode == 0, "said": done.stdout.strip().splitlines()[-1:]}


def _check_shapes(row: Row) -> None:
    """Calls ours at full size on a GPU that need not exist, with tensors without content."""
    where = "cpu" if row.gradients and not torch.cuda.is_available() else "cuda"
    for build in row.ours.values() if row.fake else ():
        with FakeTensorMode():
            build(Place(torch.device(where), fake=True))()


def _measured(row: Row, device: torch.device, ceilings: Ceilings) -> dict[str, Any]:
    found: dict[str, Any] = {"name": row.name, "ours": {}, "peers": {}, "notes": []}
    try:
        ours = {name: _ready(build, device, name, found) for name, build in row.ours.items()}
        peers = {name: _ready(build, device, name, found) for name, build in row.peers.items()}
    except Exception as error:
        return found | {"error": f"{type(error).__name__}: {error}"}
    found["agree"] = _agree(row, device) if {"plain", "fast"} <= ours.keys() else None
    kept = {name: function for name, function in (ours | peers).items() if function}
    if not any(name in kept for name in ours):
        return found | {"error": "none of ours ran"}
    times = dict(zip(kept, seconds(list(kept.values()), device), strict=True))
    found["ours"] = {name: asdict(times[name]) for name in ours if name in times}
    found["peers"] = {name: asdict(times[name]) for name in peers if name in times}
    best = min((times[name] for name in ours if name in times), key=lambda each: each.median)
    if device.type != "cuda":
        return found | {"dry": True}  # small forms on a CPU: times that say nothing
    found["ratios"] = {name: times[name].median / best.median for name in peers if name in times}
    found["goals"] = {name: asdict(goal) for name, goal in row.goals.items()}
    found["most"] = row.most
    floor = _floor(row, ceilings)
    found["floor"], found["of_floor"] = floor, floor / best.median if floor else None
    found["watts"] = _ask_driver("power.draw")
    torch.cuda.empty_cache()
    return found


def _agree(row: Row, device: torch.device) -> bool | str:
    """Whether the fast kernels give the numbers of the plain ones, up to rounding, and no NaN."""
    results = []
    for name in ("plain", "fast"):
        torch.manual_seed(0)
        try:
            with chosen(name):
                results.append(tree_leaves(row.ours[name](Place(device))()))
        except Exception as error:
            return f"{name} did not run: {type(error).__name__}"
    for plain, fast in zip(*results, strict=True):
        off = (plain.double() - fast.double()).norm() / plain.double().norm().clamp(min=1e-30)
        if not off < 1e-4:
            return f"off by {float(off):.1e}"
    return True


def _ready(build: Any, device: torch.device, name: str, found: dict[str, Any]) -> Function | None:
    """A function that was called once; as a CUDA graph if it can be. None, and a note, if not."""
    with chosen(name) if name in ("plain", "fast") else nullcontext():
        try:
            function: Function = build(Place(device))
            function()
            if device.type != "cuda":
                return function
            torch.cuda.synchronize()
        except Exception as error:
            found["notes"].append(f"{name} did not run: {type(error).__name__}: {error}"[:300])
            return None
        try:
            return graphed(function)
        except Exception as error:  # cuDNN's and cuSOLVER's calls may refuse
            torch.cuda.synchronize()
            found["notes"].append(f"{name} without a graph: {type(error).__name__}"[:300])
    if name not in ("plain", "fast"):
        return function

    def call() -> object:
        with chosen(name):
            return function()

    return call


def _floor(row: Row, ceilings: Ceilings) -> float:
    operations = row.work.operations / ceilings.products[row.work.dtype]
    moved = row.work.bytes_moved / ceilings.copy
    return max(operations, moved) + row.work.steps * ceilings.barrier


def _time(summary: Mapping[str, float]) -> str:
    spread = (summary["upper"] - summary["lower"]) / summary["median"]
    return f"{1e6 * summary['median']:.4g} µs ± {50 * spread:.0f} %"


def _line(row: Mapping[str, Any]) -> str:
    if row.get("error"):
        return f"| {row['name']} | {row['error']} | | | | |"
    if row.get("dry"):
        return f"| {row['name']} | {', '.join(row['ours'])} | {', '.join(row['peers'])} | | | ran |"
    cells = [
        "<br>".join(f"{name}: {_time(times)}" for name, times in row[which].items())
        for which in ("ours", "peers")
    ]
    goals = [
        f"{name}: {ratio:.2f}"
        + (f" of {row['goals'][name]['must']:g}" if name in row["goals"] else "")
        for name, ratio in row["ratios"].items()
    ]
    if row["most"]:
        goals.append(f"at most {1e6 * row['most']:.4g} µs")
    floor = f"{row['of_floor']:.0%}" if row["of_floor"] else ""
    notes = "<br>".join(row["notes"] + ([] if row["agree"] in (None, True) else [row["agree"]]))
    return f"| {row['name']} | {cells[0]} | {cells[1]} | {'<br>'.join(goals)} | {floor} | {notes} |"


def _table(record: Mapping[str, Any]) -> str:
    """The record in Markdown."""
    lines = [
        f"# CUDA kernels, {record['date']}{', a dry run' if record['dry_run'] else ''}",
        "",
        *(f"- {name}: {value}" for name, value in record["machine"].items()),
        f"- tests: {record['tests']}",
        *(f"- ceiling, {name}: {value}" for name, value in record["ceilings"].items()),
        "",
        "| row | ours | peers | peer / best of ours | of the floor | notes |",
        "|---|---|---|---|---|---|",
        *(_line(row) for row in record["rows"]),
        *(f"| {row['name']} | {row['why']} | | {row['goal']} | | |" for row in record["unbuilt"]),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
