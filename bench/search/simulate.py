"""A study against a table of losses, without training: what the search itself costs.

`python -m bench.search.simulate --candidates 1000` prints thread CPU seconds a trial and a rung,
seconds an ask, and resident memory. The store lies in a temporary folder and waits for the disk.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lsh_native.search.executors.inline import Inline
from lsh_native.search.halving import ASHA, Halving
from lsh_native.search.interval import Interval
from lsh_native.search.sampler import BayesianSampler, RandomSampler
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.study import Study
from lsh_native.search.trial import EpochRecord, SpectrumRecord, Trial

TOTAL = 9


class Table:
    """A runner whose losses follow from a trial's seed; it trains nothing and keeps no file."""

    def run(self, trial: Trial, until: int, record: Callable[[EpochRecord], None]) -> None:
        """See `Runner`."""
        quality = trial.seed / 2**32
        for epoch in range(trial.epochs + 1, until + 1):
            loss = 4 + quality + 3 / epoch
            record(
                EpochRecord(
                    epoch=epoch,
                    train_loss=loss,
                    valid_loss=loss,
                    density=0.33,
                    tokens=1,
                    seconds=0.0,
                )
            )

    def spectrum(self, trial: Trial, epoch: int, part: int = 0) -> SpectrumRecord:
        """See `Runner`."""
        exponents = np.linspace(-0.1, -2, 384) * (1 + trial.seed / 2**32)
        return SpectrumRecord(epoch=epoch, part=part, exponents=exponents)


def distance(candidate: SpectrumRecord, reference: SpectrumRecord) -> float:
    """L2, as the published one."""
    return float(np.linalg.norm(candidate.exponents - reference.exponents))


def simulate(candidates: int, *, rounds: str, sampler: str, ahead: int) -> dict[str, float]:
    """Run one study and return what it cost."""
    made = {"asha": ASHA, "halving": Halving}[rounds](total=TOTAL, first=1)
    asks: list[float] = []

    class Timed:
        """A sampler that times what it wraps."""

        inner = BayesianSampler() if sampler == "bayesian" else RandomSampler()

        def propose(self, *arguments, **options):
            """See `Sampler`."""
            started = time.thread_time()
            try:
                return self.inner.propose(*arguments, **options)
            finally:
                asks.append(time.thread_time() - started)

    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "study.db") as store:
        study = Study(
            store=store,
            space=Space(drop_fraction=Interval(low=0.3, high=0.9)),
            sampler=Timed(),
            rounds=made,
            executor=Inline(Table()),
            distance=distance,
            candidates=candidates,
            seed=0,
            ahead=ahead,
        )
        started, wall = time.thread_time(), time.perf_counter()
        study.run()
        spent, passed = time.thread_time() - started, time.perf_counter() - wall
        measured = len(store.spectrum_seconds())
    return {
        "candidates": candidates,
        "CPU seconds a trial": spent / candidates,
        "CPU seconds a rung of a trial": spent / measured,
        "wall seconds a rung of a trial": passed / measured,
        "CPU seconds an ask, mean": sum(asks) / len(asks),
        "CPU seconds an ask, last": asks[-1],
        "MB resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Read the command line and print a line a number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--rounds", choices=("asha", "halving"), default="asha")
    parser.add_argument("--sampler", choices=("random", "bayesian"), default="random")
    parser.add_argument("--ahead", type=int, default=8)
    options = parser.parse_args()
    found = simulate(
        options.candidates, rounds=options.rounds, sampler=options.sampler, ahead=options.ahead
    )
    for name, value in found.items():
        print(f"{name:32} {value:.5g}")


if __name__ == "__main__":
    main()
