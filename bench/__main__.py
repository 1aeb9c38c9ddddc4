"""Runs benchmarks: `python -m bench [NAME ...] [--short] [--output FILE] [--against FILE]`."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from bench.against import ALLOWED, same_machine, slower
from bench.harness import Case, Missing, compare
from bench.machine import Machine
from bench.record import RESULTS, Row, record, table, write

ROOT = Path(__file__).parent
REPEATS, SHORT_REPEATS = 15, 5


def modules(names: Sequence[str], root: Path = ROOT) -> list[str]:
    """The benchmarks `folder/name` under `root` whose name holds one of `names`, or all of them.

    Raises:
        ValueError: if one of `names` fits no benchmark.
    """
    found = [
        f"{path.parent.name}/{path.stem.removeprefix('bench_')}"
        for path in sorted(root.glob("*/bench_*.py"))
    ]
    for name in names:
        if not any(name in module for module in found):
            raise ValueError(
                f"a benchmark's name must hold {name!r}; there are: {', '.join(found) or 'none'}"
            )
    return [module for module in found if not names or any(name in module for name in names)]


def _load(module: str) -> ModuleType:
    folder, name = module.split("/")
    return importlib.import_module(f"bench.{folder}.bench_{name}")


def missing(names: Sequence[str]) -> list[Missing]:
    """The goals of the benchmarks that nothing measures yet."""
    found = (getattr(_load(module), "missing", list) for module in modules(names))
    return [each for of_module in found for each in of_module()]


def run(
    names: Sequence[str],
    *,
    short: bool,
    repeats: int,
    most_threads: int | None = None,
    holding: str = "",
) -> Iterator[Row]:
    """Measure the cases of the benchmarks one by one, each in `repeats` rounds."""
    for module in modules(names):
        cases: Callable[[bool], Iterable[Case]] = _load(module).cases
        for case in cases(short):
            if holding not in case.name or case.threads > (most_threads or case.threads):
                continue
            try:
                comparison = compare(
                    case.name,
                    case.ours,
                    case.peers,
                    repeats=repeats,
                    threads=case.threads,
                )
            except Exception as error:
                error.add_note(f"while measuring {module}: {case.name}")
                raise
            yield Row.of(module, case, comparison)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and write JSON, a full run to `bench/results/` by default."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Time lsh_native against its peers."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="part of a benchmark's folder/name; all by default"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="small shapes and few repeats; written only with --output",
    )
    parser.add_argument(
        "--repeats", type=int, metavar="N", help=f"rounds; {REPEATS}, or {SHORT_REPEATS} if short"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--cases", default="", metavar="TEXT", help="only those named with TEXT")
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="recorded runs, of which the one on such a processor counts: say what is slower than "
        "there by more than noise, and fail if any",
    )
    parser.add_argument("--threads", type=int, help="leave out cases with more threads than this")
    options = parser.parse_args(arguments)
    try:
        chosen = modules(options.names)
    except ValueError as error:
        parser.error(str(error))
    if not chosen:
        print("There are no benchmarks: no file fits bench/*/bench_*.py.")
        return 0

    machine = Machine.measure()
    rows = []
    repeats = options.repeats or (SHORT_REPEATS if options.short else REPEATS)
    for row in run(
        options.names,
        short=options.short,
        repeats=repeats,
        most_threads=options.threads,
        holding=options.cases,
    ):
        print(f"{row.module}: {row.comparison.name}", file=sys.stderr, flush=True)
        rows.append(row)
    absent = [] if options.short else missing(options.names)
    print(table(rows, machine.peak, absent))

    output = options.output or (None if options.short else _default_output(options.names))
    if output is not None:
        write(record(rows, machine, short=options.short, missing=absent), output)
        print(f"\nwritten to {output}")
    return _held_against(options.against, rows, machine) if options.against else 0


def _held_against(paths: Sequence[Path], rows: Sequence[Row], machine: Machine) -> int:
    runs = {path: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    here = [p for p, r in runs.items() if same_machine(r, machine.cpu, machine.simd_level)]
    path = (here or list(paths))[0]
    lines = slower(rows, runs[path])
    print(f"\n{len(lines)} ratios are below {ALLOWED:.0%} of those in {path.name}")
    print("".join(f"  {line}\n" for line in lines), end="")
    if lines and not here:
        print("It was recorded on another processor, whose peers are faster or slower: no failure.")
        return 0
    return 1 if lines else 0


def _default_output(names: Sequence[str]) -> Path:
    name = "-".join(names).replace("/", "-") or "all"
    return RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json"


if __name__ == "__main__":
    sys.exit(main())
