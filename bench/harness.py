"""Interleaved timing of one function against its peers, with ratios taken pair by pair.

Two functions timed one after the other also measure whatever else the machine did meanwhile. So
every round runs each function once, in a fixed order that moves on by one place a round, and a
ratio is taken within each round:

    ratio = median over rounds r of peer_r / ours_r

A round's sample is the mean of as many calls as fill `minimum_seconds` of the clock.
"""

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

Function = Callable[[], object]
Clock = Callable[[], float]

MINIMUM_SECONDS = 2e-3
_MOST_CALLS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Median and spread of positive samples."""

    median: float
    lower: float
    """First quartile."""
    upper: float
    """Third quartile."""
    minimum: float
    maximum: float
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Summary":
        """Summarise `samples`; quartiles are interpolated between the samples.

        Raises:
            ValueError: if there is no sample, or one that is not positive and finite.
        """
        if not samples:
            raise ValueError("samples must hold at least one number, got none")
        for sample in samples:
            if not (math.isfinite(sample) and sample > 0):
                raise ValueError(f"samples must be positive and finite, got {sample}")
        lower, median, upper = (
            statistics.quantiles(samples, n=4, method="inclusive")
            if len(samples) > 1
            else [samples[0]] * 3
        )
        return cls(
            median=median,
            lower=lower,
            upper=upper,
            minimum=min(samples),
            maximum=max(samples),
            count=len(samples),
        )


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The ratio peer / ours that must be reached, and the one aimed at."""

    must: float
    aim: float | None = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one call of ours has to do at least, for its fraction of the machine's peak."""

    operations: float = 0.0
    """Floating-point operations; a multiply-add counts as two."""
    bytes_read: float = 0.0
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of a benchmark: a function of ours beside the functions that people use today.

    A module `bench/<folder>/bench_<name>.py` defines `cases(short: bool) -> Iterable[Case]`. Yield
    the cases one by one, so that only one holds its tensors at a time.
    """

    name: str
    ours: Function
    peers: Mapping[str, Function]
    shape: Mapping[str, int | float | str]
    threads: int = 1
    goals: Mapping[str, Goal] = field(default_factory=dict)
    """By the peer's name."""
    work: Work | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.goals) - set(self.peers))
        if unknown:
            raise ValueError(
                f"goals must name peers of the case, {sorted(self.peers)}, got {unknown}"
            )


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A goal that nothing measures yet: it stands in the table all the same.

    A module `bench/<folder>/bench_<name>.py` may define `missing() -> Iterable[Missing]`.
    """

    name: str
    peer: str
    goal: Goal
    why: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Seconds a call of one function, by clock."""

    calls: int
    """Calls in one sample."""
    seconds: Mapping[str, Summary]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One function beside its peers, timed in the same rounds."""

    name: str
    threads: int
    clock: str
    """The clock that counts; the first of those read."""
    ours: Measurement
    peers: Mapping[str, Measurement]
    ratios: Mapping[str, Mapping[str, Summary]]
    """Time of the peer / time of ours, by peer and clock: above 1, ours is the faster."""

    def ratio(self, peer: str) -> Summary:
        """Ratio peer / ours by the clock that counts."""
        return self.ratios[peer][self.clock]


def clocks_for(threads: int) -> dict[str, Clock]:
    """Clocks for work on `threads` threads; the first one counts.

    One thread is timed by its own CPU time, which other processes do not lengthen. With several
    threads CPU time counts the spinning at a barrier as work, so wall time counts and the CPU time
    of the process stands beside it: where their quotient is far below the number of threads, the
    machine was busy and the row is worth nothing.
    """
    if threads == 1:
        return {"thread_cpu": time.thread_time}
    return {"wall": time.perf_counter, "process_cpu": time.process_time}


def compare(
    name: str,
    ours: Function,
    peers: Mapping[str, Function],
    *,
    repeats: int = 15,
    warmup: int = 3,
    threads: int = 1,
    minimum_seconds: float = MINIMUM_SECONDS,
    clocks: Mapping[str, Clock] | None = None,
) -> Comparison:
    """Time `ours` and each of `peers` in interleaved rounds.

    Args:
        name: What is compared, for tables.
        ours: Function without arguments; what it returns is dropped.
        peers: The functions to compare with, by name; none to time ours alone.
        repeats: Rounds, each with one sample of every function.
        warmup: Untimed calls of every function beforehand.
        threads: Threads that torch may use meanwhile; set back afterwards.
        minimum_seconds: Shortest sample, by the first clock, in seconds.
        clocks: Functions that return seconds, the one that counts first; `clocks_for(threads)` if
            not given.

    Returns:
        The comparison, with one ratio sample a round.

    Raises:
        ValueError: if a number is out of range.
        RuntimeError: if the clock does not advance.

    Example:
        >>> x = torch.rand(256, 256)
        >>> sums = compare("sum", x.sum, {"rows first": lambda: x.sum(1).sum()}, repeats=3)
        >>> sums.ratio("rows first").count
        3
    """
    _at_least("repeats", repeats, 1)
    _at_least("warmup", warmup, 0)
    _at_least("threads", threads, 1)
    cores = len(os.sched_getaffinity(0))
    if threads > cores:
        raise ValueError(
            f"threads must be at most the {cores} cores of this process, got {threads}"
        )
    if not (math.isfinite(minimum_seconds) and minimum_seconds > 0):
        raise ValueError(f"minimum_seconds must be positive and finite, got {minimum_seconds}")
    clocks = clocks_for(threads) if clocks is None else dict(clocks)
    if not clocks:
        raise ValueError("clocks must hold at least one clock, got none")

    functions = [ours, *peers.values()]
    with _torch_threads(threads), _no_collection():
        for function in functions:
            for _ in range(warmup):
                function()
        counting = next(iter(clocks.values()))
        calls = [_calls_to_fill(minimum_seconds, function, counting) for function in functions]
        rounds = [
            _round(functions, calls, clocks, first=r % len(functions)) for r in range(repeats)
        ]

    series = [
        {clock: [sampled[i][clock] for sampled in rounds] for clock in clocks}
        for i in range(len(functions))
    ]
    measurements = [
        Measurement(calls=n, seconds={clock: Summary.of(s) for clock, s in by_clock.items()})
        for n, by_clock in zip(calls, series, strict=True)
    ]
    return Comparison(
        name=name,
        threads=threads,
        clock=next(iter(clocks)),
        ours=measurements[0],
        peers=dict(zip(peers, measurements[1:], strict=True)),
        ratios={
            peer: {clock: _ratio(by_clock[clock], series[0][clock]) for clock in clocks}
            for peer, by_clock in zip(peers, series[1:], strict=True)
        },
    )


def _round(
    functions: Sequence[Function],
    calls: Sequence[int],
    clocks: Mapping[str, Clock],
    *,
    first: int,
) -> list[dict[str, float]]:
    """Seconds a call by clock, one sample of each function, starting with function `first`."""
    seconds: list[dict[str, float]] = [{} for _ in functions]
    for step in range(len(functions)):
        i = (first + step) % len(functions)
        seconds[i] = _sample(functions[i], calls[i], clocks)
    return seconds


def _sample(function: Function, calls: int, clocks: Mapping[str, Clock]) -> dict[str, float]:
    before = {name: clock() for name, clock in clocks.items()}
    for _ in range(calls):
        function()
    after = {name: clock() for name, clock in clocks.items()}
    return {name: (after[name] - before[name]) / calls for name in clocks}


def _calls_to_fill(seconds: float, function: Function, clock: Clock) -> int:
    calls = 1
    while calls <= _MOST_CALLS:
        took = _sample(function, calls, {"": clock})[""] * calls
        if took >= seconds:
            return calls
        calls *= 2
    raise RuntimeError(
        f"the clock must reach {seconds} s within {_MOST_CALLS} calls, it advanced by {took} s"
    )


def _ratio(peer: Sequence[float], ours: Sequence[float]) -> Summary:
    return Summary.of([p / o for p, o in zip(peer, ours, strict=True)])


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
