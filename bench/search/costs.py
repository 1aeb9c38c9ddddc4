"""What a search costs beside what it searches; nothing here is trained.

`python -m bench.search.costs` measures each row below beside its bound and writes
`bench/results/DATE-search.json`; `--only WORD` leaves out rows whose name does not hold the word,
`--candidates` makes the simulated study smaller. Rows of Ray need Ray. Times of sleeping workers
are wall times, all others CPU times of the coordinator's thread, which a busy machine changes
little.
"""

import argparse
import heapq
import importlib.util
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import Machine
from bench.record import RESULTS
from lsh_native.lyapunov import lyapunov_spectrum
from lsh_native.nn import SparseLSTM
from lsh_native.search.events import EpochDone
from lsh_native.search.executors.job import Executor, Job, RunnerSource, Send, perform
from lsh_native.search.executors.local import Local
from lsh_native.search.halving import ASHA
from lsh_native.search.history import History, Observation
from lsh_native.search.interval import Interval
from lsh_native.search.rounds import Elimination, Full, Rounds
from lsh_native.search.sampler import BayesianSampler, RandomSampler
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.study import Study
from lsh_native.search.training_runner import SpectrumSettings
from lsh_native.search.trial import EpochRecord, Rung, Runner, SpectrumRecord, Trial

TOTAL = 9
SPACE = Space(drop_fraction=Interval(low=0.3, high=0.9))

# What one epoch of a small language model measured, relative to the candidate's own quality.
_CURVE = (6.1, 5.6, 5.3, 5.1, 5.0, 4.9, 4.85, 4.82, 4.8)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One bound, and what was measured of it."""

    name: str
    must: float
    measured: float
    unit: str
    details: dict[str, Any]

    @property
    def kept(self) -> bool:
        """Whether the bound is kept."""
        return self.measured < self.must


@dataclass(frozen=True)
class Recorded:
    """A runner that reads a table of curves: a trial's quality follows from its seed."""

    pause: float = 0.0
    exponents: int = 384
    folder: Path | None = None  # where a checkpoint of a megabyte goes after each epoch

    def run(self, trial: Trial, until: int, record: Callable[[EpochRecord], None]) -> None:
        """See `Runner`."""
        for epoch in range(trial.epochs + 1, until + 1):
            started = time.perf_counter()
            time.sleep(self.pause)
            loss = _CURVE[min(epoch, TOTAL) - 1] + trial.seed / 2**32
            if self.folder is not None:
                (self.folder / f"{trial.number:04d}.safetensors").write_bytes(bytes(1_000_000))
            passed = time.perf_counter() - started if self.pause else 0.0
            record(
                EpochRecord(
                    epoch=epoch,
                    train_loss=loss,
                    valid_loss=loss,
                    density=0.33,
                    tokens=1,
                    seconds=passed,
                )
            )

    def spectrum(self, trial: Trial, epoch: int, part: int = 0) -> SpectrumRecord:
        """See `Runner`."""
        exponents = np.linspace(-0.1, -2, self.exponents) * (1 + trial.seed / 2**32)
        return SpectrumRecord(epoch=epoch, part=part, exponents=exponents)


def make(settings: dict[str, Any], on_step: object) -> Recorded:
    """The runner of a worker."""
    return Recorded(pause=settings["pause"], folder=Path(settings["folder"]))


class Crowd:
    """An executor of many workers in virtual time: who has the least to do is done first."""

    def __init__(self, runner: Runner, workers: int) -> None:
        self._runner, self._workers = runner, workers
        self._jobs: list[tuple[float, int, Job]] = []
        self._now, self._count = 0.0, 0

    @property
    def free(self) -> int:
        """See `Executor`."""
        return self._workers - len(self._jobs)

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        self._count += 1
        ends = self._now + job.until - job.trial.epochs
        heapq.heappush(self._jobs, (ends, self._count, job))

    def work(self, send: Send) -> None:
        """See `Executor`."""
        self._now, _, job = heapq.heappop(self._jobs)
        perform(self._runner, job, send)

    def finish(self, send: Send) -> None:
        """See `Executor`."""
        self._jobs.clear()

    def close(self) -> None:
        """See `Executor`."""
        self._jobs.clear()


def distance(candidate: SpectrumRecord, reference: SpectrumRecord) -> float:
    """L2, as the published one."""
    return float(np.linalg.norm(candidate.exponents - reference.exponents))


def study_of(
    store: Store, executor: Executor, *, rounds: Rounds, candidates: int, ahead: int
) -> Study:
    """A study whose candidates come by chance."""
    return Study(
        store=store,
        space=SPACE,
        sampler=RandomSampler(),
        rounds=rounds,
        executor=executor,
        distance=distance,
        candidates=candidates,
        seed=0,
        ahead=ahead,
    )


def asks() -> Iterator[Row]:
    """A proposal of the Bayesian sampler after 200 trials."""
    generator = np.random.default_rng(0)
    seen: dict[Any, float] = {}
    while len(seen) < 200:
        seen.setdefault(SPACE.draw(generator), float(generator.random()))
    history = History.of([Observation(candidate=c, score=s) for c, s in seen.items()])
    cpu, wall = [], []
    for number in range(201, 208):
        started, clock = time.thread_time(), time.perf_counter()
        BayesianSampler().propose(SPACE, history, seed=0, number=number)
        cpu.append(time.thread_time() - started)
        wall.append(time.perf_counter() - clock)
    yield Row(
        name="an ask at 200 trials",
        must=0.2,
        measured=statistics.median(cpu),
        unit="CPU s",
        details={"wall s": statistics.median(wall), "asks": len(cpu)},
    )


def writes() -> Iterator[Row]:
    """What a rung of a trial writes: an epoch and a spectrum, and its share of an elimination."""
    count, exponents = 27, 3000
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "study.db") as store:
        store.begin({}, {})
        runner = Recorded(exponents=exponents)
        generator = np.random.default_rng(0)
        store.add_trial(0, None, 0)
        for number in range(1, count + 1):
            store.add_trial(number, SPACE.draw(generator), number)
            store.begin_trial(number, "here")
        epochs, spectra = [], []
        for number in range(1, count + 1):
            trial = store.trial(number)
            started = time.perf_counter()
            runner.run(trial, 1, lambda record, number=number: store.add_epoch(number, record))
            epochs.append(time.perf_counter() - started)
            record = replace(runner.spectrum(trial, 1), distance=1.0)
            started = time.perf_counter()
            store.add_spectrum(number, record)
            spectra.append(time.perf_counter() - started)
        ranking = list(range(1, count + 1))
        scores = {name: dict.fromkeys(ranking, 1.0) for name in ("loss", "lyapunov", "rank_mean")}
        started = time.perf_counter()
        rung = Rung(round=1, epoch=1, entering=count, kept=14)
        store.close_rung(rung, ranking, scores, reason="")
        closing = time.perf_counter() - started
    yield Row(
        name="writes of a trial at a rung",
        must=5.0,
        measured=1e3 * (statistics.median(epochs) + statistics.median(spectra) + closing / count),
        unit="ms",
        details={
            "epoch ms": 1e3 * statistics.median(epochs),
            "spectrum ms": 1e3 * statistics.median(spectra),
            "elimination of 27 ms": 1e3 * closing,
            "exponents": exponents,
        },
    )


def sleeping(
    executor: Executor, *, workers: int, rounds: Rounds, candidates: int
) -> tuple[float, float, int]:
    """Run a study of sleeping workers; return wall seconds, seconds slept, and rungs of trials.

    The clock runs from the end of the first epoch to the last event: what starts and stops
    processes, or a cluster, is done once a study.
    """
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "study.db") as store:
        study = study_of(store, executor, rounds=rounds, candidates=candidates, ahead=workers)
        heard: list[float] = []

        def on_event(event: object) -> None:
            if heard or isinstance(event, EpochDone):
                heard.append(time.perf_counter())

        study.run(on_event)
        wall = heard[-1] - heard[0]
        numbers = [t.number for t in store.trials()]
        slept = sum(e.seconds for n in numbers for e in store.epochs(n))
        return wall, slept, len(store.spectrum_seconds())


def _source(pause: float) -> RunnerSource:
    folder = tempfile.mkdtemp(dir="/tmp")
    return RunnerSource("bench.search.costs:make", {"pause": pause, "folder": folder})


def overhead() -> Iterator[Row]:
    """Everything that is not training, with one worker, and what four lose to one another."""
    pause, candidates = 0.1, 12
    executor = Local(_source(pause), workers=1, threads=1)
    wall, slept, rungs = sleeping(
        executor, workers=1, rounds=Elimination.spread(TOTAL), candidates=candidates
    )
    trials = candidates + 1
    lost = wall - (slept - pause)  # counted from the end of the first epoch
    yield Row(
        name="search beside trials of a minute",
        must=1.0,
        measured=100 * lost / trials / 60,
        unit="%",
        details={"ms a trial": 1e3 * lost / trials, "ms a rung of a trial": 1e3 * lost / rungs},
    )
    # 15 candidates and the dense reference on four workers: four turns without an idle one.
    executor = Local(_source(pause), workers=4, threads=1)
    wall, slept, rungs = sleeping(executor, workers=4, rounds=Full(total=20), candidates=15)
    yield Row(
        name="four workers, time lost to one another",
        must=3.0,
        measured=100 * (1 - (slept - 4 * pause) / (4 * wall)),
        unit="%",
        details={"wall s": wall, "slept s": slept},
    )


def spectra() -> Iterator[Row]:
    """Spectra at the default settings, of the default networks, beside trials of a minute."""
    settings, candidates = SpectrumSettings(), 12
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = SparseLSTM(128, 128, num_layers=2, density=0.33)
    x = torch.randn(settings.rows, settings.sequences, 128)
    spent = []
    for _ in range(5):
        started = time.thread_time()
        lyapunov_spectrum(
            layers,
            x,
            state_warmup=settings.state_warmup,
            tangent_warmup=settings.tangent_warmup,
            every=settings.every,
            dtype=getattr(torch, settings.dtype),
        )
        spent.append(time.thread_time() - started)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "study.db") as store:
        executor = Crowd(Recorded(), 1)
        rounds = Elimination.spread(TOTAL)
        study_of(store, executor, rounds=rounds, candidates=candidates, ahead=1).run()
        per_trial = len(store.spectrum_seconds()) / (candidates + 1)
    yield Row(
        name="spectra beside trials of a minute",
        must=5.0,
        measured=100 * statistics.median(spent) * per_trial / 60,
        unit="%",
        details={"CPU s a spectrum": statistics.median(spent), "spectra a trial": per_trial},
    )


def over_ray() -> Iterator[Row]:
    """A job there and back through Ray, on one machine."""
    if importlib.util.find_spec("ray") is None:
        return
    from lsh_native.search.executors.ray import RayCluster

    pause = 0.1
    executor = RayCluster(_source(pause), workers=1)
    wall, slept, rungs = sleeping(
        executor, workers=1, rounds=Elimination.spread(TOTAL), candidates=12
    )
    yield Row(
        name="a rung of a trial through Ray",
        must=50.0,
        measured=1e3 * (wall - (slept - pause)) / rungs,
        unit="ms",
        details={"rungs": rungs, "wall s": wall, "slept s": slept},
    )


def scale(candidates: int, workers: int) -> Iterator[Row]:
    """A study of many candidates on many workers, in virtual time."""
    timed = {"store": 0.0}

    class Timed(Store):
        """A store that counts the seconds spent in its writes."""

        def _count(self, write: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            started = time.thread_time()
            try:
                return write(*arguments, **options)
            finally:
                timed["store"] += time.thread_time() - started

        def add_trial(self, *arguments: Any, **options: Any) -> Any:
            """See `Store`."""
            return self._count(super().add_trial, *arguments, **options)

        def begin_trial(self, *arguments: Any, **options: Any) -> Any:
            """See `Store`."""
            return self._count(super().begin_trial, *arguments, **options)

        def set_state(self, *arguments: Any, **options: Any) -> Any:
            """See `Store`."""
            return self._count(super().set_state, *arguments, **options)

        def add_epoch(self, *arguments: Any, **options: Any) -> Any:
            """See `Store`."""
            return self._count(super().add_epoch, *arguments, **options)

        def add_spectrum(self, *arguments: Any, **options: Any) -> Any:
            """See `Store`."""
            return self._count(super().add_spectrum, *arguments, **options)

    with tempfile.TemporaryDirectory() as folder, Timed(Path(folder) / "study.db") as store:
        executor = Crowd(Recorded(exponents=64), workers)
        rounds = ASHA(total=TOTAL, first=1)
        study = study_of(store, executor, rounds=rounds, candidates=candidates, ahead=workers)
        cpu, wall = time.thread_time(), time.perf_counter()
        study.run()
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        rungs = len(store.spectrum_seconds())
        size = (Path(folder) / "study.db").stat().st_size
    yield Row(
        name=f"{candidates:,} trials on {workers:,} workers",
        must=10.0,
        measured=1e3 * cpu / rungs,
        unit="CPU ms a rung of a trial",
        details={
            "rungs of trials": rungs,
            "rungs a CPU s": rungs / cpu,
            "rungs a s, disk included": rungs / wall,
            "share of CPU in writes of the store": timed["store"] / cpu,
            "MB resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "MB of the file": size / 1e6,
        },
    )


def rows(only: str, candidates: int, workers: int) -> Iterator[Row]:
    """Measure what is wanted."""
    measures: dict[str, Callable[[], Iterator[Row]]] = {
        "asks": asks,
        "writes": writes,
        "overhead": overhead,
        "spectra": spectra,
        "ray": over_ray,
        "scale": lambda: scale(candidates, workers),
    }
    for name, measure in measures.items():
        if only in name:
            yield from measure()


def main() -> None:
    """Print a line a row and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    machine, found = Machine.measure(), []
    for row in rows(options.only, options.candidates, options.workers):
        print(f"{row.name:44} must < {row.must:g}, measured {row.measured:.3g} {row.unit}")
        print(
            "   ", {k: round(v, 4) if isinstance(v, float) else v for k, v in row.details.items()}
        )
        found.append({**asdict(row), "kept": row.kept})
    output = options.output or RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-search.json"
    text = json.dumps({"machine": asdict(machine), "rows": found}, indent=1)
    output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
