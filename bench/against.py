"""Holds a run against a recorded one: is anything slower than its own recorded ratio?

Only ratios peer / ours are compared, never times, and only a gap that noise does not explain
counts: a case is slower where even the upper quartile of its ratios stays below `ALLOWED` of the
recorded lower quartile. On a shared machine single ratios differ by 15 % from run to run, and by
more where the peer is bound by memory that others use; a kernel that lost its vectors or packs
twice loses more than that.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bench.record import Row

__all__ = ["ALLOWED", "same_machine", "slower"]

ALLOWED = 0.65


def same_machine(recorded: Mapping[str, Any], cpu: str, simd_level: str) -> bool:
    """Whether a run was recorded on such a processor: elsewhere the peers' ratios are others."""
    machine = recorded["machine"]
    return bool(machine["cpu"] == cpu and machine["simd_level"] == simd_level)


def slower(rows: Iterable[Row], recorded: Mapping[str, Any]) -> list[str]:
    """One line for each ratio that fell below what noise explains.

    Args:
        rows: what was measured now.
        recorded: a run as `bench.record.record` has it.

    Raises:
        ValueError: if no case of `rows` was recorded.
    """
    known = {
        (case["module"], case["name"], case["threads"], peer): values["ratio"][case["clock"]]
        for case in recorded["cases"]
        for peer, values in case["peers"].items()
    }
    found, lines = 0, []
    for row in rows:
        comparison = row.comparison
        for peer in comparison.peers:
            was = known.get((row.module, comparison.name, comparison.threads, peer))
            if was is None:
                continue
            found += 1
            now = comparison.ratio(peer)
            if now.upper < ALLOWED * was["lower"]:
                lines.append(
                    f"{comparison.name}, {peer}: {now.lower:.2f} to {now.upper:.2f}, "
                    f"recorded {was['lower']:.2f} to {was['upper']:.2f}"
                )
    if not found:
        raise ValueError("the recorded run must hold a case that was measured, got none")
    return lines
