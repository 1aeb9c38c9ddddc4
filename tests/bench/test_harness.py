"""Statistics and order of the interleaved timing, on a clock that the tests turn by hand."""

import gc
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.harness import Case, Comparison, Goal, Summary, clocks_for, compare

positive = st.floats(min_value=1e-9, max_value=1e9)


class HandClock:
    """Seconds that pass only when a function says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def function(self, name: str, *seconds: float) -> Callable[[], None]:
        """A function whose n-th call takes the n-th of `seconds`, and the last one from then on."""
        durations = list(seconds)

        def call() -> None:
            self.log.append(name)
            self.now += durations.pop(0) if len(durations) > 1 else durations[0]

        return call


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def timed(
    clock: HandClock, ours: Callable[[], None], **peers: Callable[[], None]
) -> Callable[..., Comparison]:
    def run(**options: float) -> Comparison:
        return compare("case", ours, peers, clocks={"hand": clock}, **options)  # type: ignore[arg-type]

    return run


def test_summary_of_known_samples():
    summary = Summary.of([4.0, 1.0, 3.0, 2.0, 5.0])
    assert summary == Summary(median=3, lower=2, upper=4, minimum=1, maximum=5, count=5)


def test_summary_of_one_sample_has_no_spread():
    assert Summary.of([2.5]) == Summary(
        median=2.5, lower=2.5, upper=2.5, minimum=2.5, maximum=2.5, count=1
    )


@given(st.lists(positive, min_size=1, max_size=30))
def test_summary_is_ordered(samples):
    summary = Summary.of(samples)
    numbers = [summary.minimum, summary.lower, summary.median, summary.upper, summary.maximum]
    slack = 1e-12 * summary.maximum
    assert all(low <= high + slack for low, high in pairwise(numbers))


@given(st.lists(positive, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_summary_does_not_depend_on_order(samples, random):
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert Summary.of(shuffled) == Summary.of(samples)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_summary_refuses_samples_that_no_clock_gives(wrong):
    with pytest.raises(ValueError, match=r"samples must be positive and finite, got"):
        Summary.of([1.0, wrong])


def test_summary_refuses_nothing():
    with pytest.raises(ValueError, match="samples must hold at least one number, got none"):
        Summary.of([])


def test_ratio_is_peer_over_ours(clock):
    run = timed(clock, clock.function("ours", 2.0), peer=clock.function("peer", 5.0))
    comparison = run(repeats=4, warmup=0)
    assert comparison.ours.seconds["hand"].median == 2.0
    assert comparison.peers["peer"].seconds["hand"].median == 5.0
    assert comparison.ratio("peer") == Summary.of([2.5] * 4)
    assert comparison.clock == "hand"


def test_ratio_is_taken_within_each_round(clock):
    # The machine slows down tenfold for one round: both functions are hit, the ratio is not.
    # The first call of each goes to finding how many calls fill a sample.
    ours = clock.function("ours", 1.0, 1.0, 10.0, 1.0)
    peer = clock.function("peer", 3.0, 3.0, 30.0, 3.0)
    comparison = timed(clock, ours, peer=peer)(repeats=3, warmup=0)
    assert comparison.ours.seconds["hand"].maximum == 10.0
    assert comparison.ratio("peer") == Summary.of([3.0] * 3)


def test_rounds_are_interleaved_and_their_start_moves_on(clock):
    run = timed(
        clock, clock.function("o", 1.0), a=clock.function("a", 1.0), b=clock.function("b", 1.0)
    )
    run(repeats=3, warmup=1)
    warm, calibration, rounds = clock.log[:3], clock.log[3:6], clock.log[6:]
    assert warm == calibration == ["o", "a", "b"]
    assert rounds == ["o", "a", "b", "a", "b", "o", "b", "o", "a"]


def test_short_functions_are_called_until_a_sample_is_long_enough(clock):
    run = timed(clock, clock.function("ours", 0.25), peer=clock.function("peer", 1.0))
    comparison = run(repeats=1, warmup=0, minimum_seconds=1.0)
    assert (comparison.ours.calls, comparison.peers["peer"].calls) == (4, 1)
    assert comparison.ratio("peer").median == 4.0


def test_a_function_may_be_timed_alone(clock):
    comparison = timed(clock, clock.function("ours", 1.0))(repeats=2)
    assert comparison.ratios == {}
    assert comparison.ours.seconds["hand"].count == 2


def test_a_clock_that_stands_still_is_an_error(clock):
    with pytest.raises(RuntimeError, match=r"the clock must reach 1\.0 s within \d+ calls"):
        timed(clock, lambda: None)(minimum_seconds=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"warmup": -1}, "warmup must be at least 0, got -1"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"threads": 100_000}, r"threads must be at most the \d+ cores of this process, got"),
        ({"minimum_seconds": 0.0}, "minimum_seconds must be positive and finite, got 0.0"),
        ({"minimum_seconds": float("nan")}, "minimum_seconds must be positive and finite"),
    ],
)
def test_options_out_of_range(clock, options, message):
    with pytest.raises(ValueError, match=message):
        timed(clock, clock.function("ours", 1.0))(**options)


def test_no_clock_is_an_error():
    with pytest.raises(ValueError, match="clocks must hold at least one clock, got none"):
        compare("case", lambda: None, {}, clocks={})


def test_threads_and_collection_are_set_back_even_after_an_error():
    threads = torch.get_num_threads()

    def fail() -> None:
        assert torch.get_num_threads() == 1
        assert not gc.isenabled()
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        compare("case", fail, {}, threads=1)
    assert torch.get_num_threads() == threads
    assert gc.isenabled()


def test_one_thread_counts_its_own_cpu_time_and_several_count_wall_time():
    assert list(clocks_for(1)) == ["thread_cpu"]
    assert list(clocks_for(2)) == ["wall", "process_cpu"]


def test_real_clock_finds_the_faster_function():
    small, large = torch.ones(32, 32), torch.ones(256, 256)
    comparison = compare(
        "product", lambda: small @ small, {"large": lambda: large @ large}, repeats=3
    )
    assert comparison.ratio("large").median > 4


def test_goals_must_name_a_peer():
    with pytest.raises(
        ValueError, match=r"goals must name peers of the case, \['a'\], got \['b'\]"
    ):
        Case(
            name="case",
            ours=lambda: None,
            peers={"a": lambda: None},
            shape={},
            goals={"b": Goal(must=1)},
        )
