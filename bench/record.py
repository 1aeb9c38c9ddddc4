"""A run of benchmarks as JSON and as a table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.harness import Case, Comparison, Goal, Missing, Work
from bench.machine import Machine, Peak

RESULTS = Path(__file__).parent / "results"
_HEADER = (
    "case",
    "threads",
    "peer",
    "must",
    "aim",
    "measured",
    "quartiles",
    "reached",
    "of peak",
    "at peak",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured for a case, without the tensors that its functions hold."""

    module: str
    """The benchmark's name, `folder/name`."""
    comparison: Comparison
    shape: Mapping[str, int | float | str]
    goals: Mapping[str, Goal]
    work: Work | None

    @classmethod
    def of(cls, module: str, case: Case, comparison: Comparison) -> "Row":
        """The row of `case`."""
        return cls(
            module=module,
            comparison=comparison,
            shape=dict(case.shape),
            goals=dict(case.goals),
            work=case.work,
        )

    def fraction_of_peak(self, peak: Peak) -> float | None:
        """The share of the peak that ours gets, by whichever ceiling is nearer; None if unknown.

        Wall time is held against the peak of all its threads, CPU time against that of one core.

        Raises:
            ValueError: if the peak of the work's dtype was not measured.
        """
        if self.work is None:
            return None
        dtype = str(self.work.dtype).removeprefix("torch.")
        if dtype not in peak.operations:
            raise ValueError(f"work.dtype must be one of {sorted(peak.operations)}, got {dtype}")
        least = max(
            self.work.operations / peak.operations[dtype],
            self.work.bytes_read / peak.read_bandwidth,
        )
        clock = self.comparison.clock
        cores = self.comparison.threads if clock == "wall" else 1
        return least / cores / self.comparison.ours.seconds[clock].median


def record(
    rows: Iterable[Row], machine: Machine, *, short: bool, missing: Iterable[Missing] = ()
) -> dict[str, object]:
    """A run as plain values for JSON: machine, versions, shapes, medians, spreads and goals."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "short": short,
        "machine": asdict(machine),
        "cases": [_case_record(row, machine.peak) for row in rows],
        "missing": [asdict(each) for each in missing],
    }


def write(run: dict[str, object], path: Path) -> None:
    """Write a recorded run to `path`; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def table(rows: Iterable[Row], peak: Peak, missing: Iterable[Missing] = ()) -> str:
    """A run as a Markdown table, one line a case and peer; ratios are peer / ours.

    "At peak" is what the ratio would be if ours did its work at the measured peak: the most that
    there is to win, unless the work itself becomes less.
    """
    lines = [_HEADER, *(line for row in rows for line in _lines(row, peak))]
    lines += [
        (m.name, "", m.peer, *_goal_texts(m.goal), "not measured", m.why, "", "", "")
        for m in missing
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    texts = [_line(line, widths) for line in lines]
    return "\n".join([texts[0], _line(["-" * width for width in widths], widths), *texts[1:]])


def reached(ratio: float, goal: Goal | None) -> str:
    """How far a ratio got: "aim", "must", "no", or nothing where there is no goal."""
    if goal is None:
        return ""
    if ratio < goal.must:
        return "no"
    return "aim" if goal.aim is not None and ratio >= goal.aim else "must"


def _case_record(row: Row, peak: Peak) -> dict[str, object]:
    comparison = row.comparison
    return {
        "module": row.module,
        "name": comparison.name,
        "shape": dict(row.shape),
        "threads": comparison.threads,
        "clock": comparison.clock,
        "ours": asdict(comparison.ours),
        "fraction_of_peak": row.fraction_of_peak(peak),
        "peers": {
            peer: {
                **asdict(measurement),
                "ratio": {clock: asdict(s) for clock, s in comparison.ratios[peer].items()},
                "goal": asdict(row.goals[peer]) if peer in row.goals else None,
            }
            for peer, measurement in comparison.peers.items()
        },
    }


def _lines(row: Row, peak: Peak) -> list[tuple[str, ...]]:
    comparison = row.comparison
    start = (comparison.name, str(comparison.threads))
    fraction = row.fraction_of_peak(peak)
    of_peak = "" if fraction is None else f"{fraction:.0%}"
    if not comparison.peers:
        seconds = comparison.ours.seconds[comparison.clock]
        spread = f"{seconds.lower:.3g} to {seconds.upper:.3g} s"
        return [(*start, "", "", "", f"{seconds.median:.3g} s", spread, "", of_peak, "")]
    lines: list[tuple[str, ...]] = []
    for peer in comparison.peers:
        ratio, goal = comparison.ratio(peer), row.goals.get(peer)
        must, aim = _goal_texts(goal)
        spread = f"{ratio.lower:.2f} to {ratio.upper:.2f}"
        measured = f"{ratio.median:.2f}"
        at_peak = "" if fraction is None else f"{ratio.median / fraction:.2f}"
        how_far = reached(ratio.median, goal)
        lines.append((*start, peer, must, aim, measured, spread, how_far, of_peak, at_peak))
    return lines


def _goal_texts(goal: Goal | None) -> tuple[str, str]:
    must = f"{goal.must:g}" if goal else ""
    return must, f"{goal.aim:g}" if goal and goal.aim is not None else ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
