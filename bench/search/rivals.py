"""Rivals of the search at equal epochs, replayed in the same engine from recorded tables.

    python -m bench.search.rivals docs/results/rivals/ptb.jsonl.gz … --output FOLDER

Each rival is a study of its own whose runner reads a table of `bench.search.record` instead of
training. A draw leaves a part of the pool, the same for every rival and seed. What a rival finds is
held against the best of its draw; means over draws are taken within a seed, and the spread is that
between seeds of training.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.search.leads import measure_leads
from bench.search.table import Replayed, Table
from lsh_native.search.candidate import Candidate
from lsh_native.search.executors.inline import Inline
from lsh_native.search.halving import ASHA
from lsh_native.search.history import History
from lsh_native.search.rounds import Elimination, Full, Rounds
from lsh_native.search.sampler import SpaceExhausted
from lsh_native.search.score import SCORES
from lsh_native.search.space import Space
from lsh_native.search.spectral import spectrum_distance
from lsh_native.search.store import Store
from lsh_native.search.study import Study


@dataclass(frozen=True)
class Listed:
    """A sampler that proposes a list in its order."""

    candidates: tuple[Candidate, ...] = field(repr=False)

    def propose(self, space: Space, history: History, *, seed: int, number: int) -> Candidate:
        """See `Sampler.propose`."""
        for candidate in self.candidates:
            if candidate not in history.candidates:
                return candidate
        raise SpaceExhausted("the list is at its end")


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A way to search.

    Args:
        score: Name of the score that decides.
        spectra: Which spectra of the table it sees.
        rounds: Its rounds, from the epochs of the schedule and those of the eliminations; None for
            the eliminations themselves.
        fewer: Whether it must take fewer candidates where its rounds would exceed the budget.
    """

    score: str
    spectra: str = "full"
    rounds: Callable[[Elimination], Rounds] | None = None
    fewer: bool = False


RIVALS: Mapping[str, Rival] = {
    "LSH, published spectrum": Rival(score="lyapunov", spectra="lsh2022"),
    "LSH, full state": Rival(score="lyapunov"),
    "rank mean": Rival(score="rank_mean"),
    "loss halving": Rival(score="loss"),
    "surrogate": Rival(score="surrogate"),
    "training losses": Rival(score="training_losses"),
    "last layer": Rival(score="lyapunov_last_layer"),
    "leading tenth": Rival(score="lyapunov_leading"),
    "ASHA": Rival(
        score="loss", rounds=lambda e: ASHA(total=e.total, first=e.first, factor=3), fewer=True
    ),
    "random": Rival(score="loss", rounds=lambda e: Full(total=e.total), fewer=True),
}


def schedules(total: int) -> Mapping[str, Elimination]:
    """Return the eliminations under which rivals are compared."""
    return {
        "early": Elimination(total=total, first=1, every=1),
        "default": Elimination.spread(total),
    }


def play(
    table: Table, seed: int, drawn: tuple[Candidate, ...], eliminations: Elimination, rival: Rival
) -> tuple[Candidate, int]:
    """Return what a rival finds, and the epochs that its candidates trained."""
    budget = eliminations.epochs(len(drawn))
    rounds = rival.rounds(eliminations) if rival.rounds else eliminations
    candidates = len(drawn)
    if isinstance(rounds, Full):
        candidates = budget // table.total
    while True:
        with (
            tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
            Store(Path(folder) / "study.db") as store,
        ):
            study = Study(
                store=store,
                space=Space.from_dict(table.header["study"]["space"]),
                sampler=Listed(drawn),
                rounds=rounds,
                executor=Inline(Replayed(table, seed, rival.spectra)),
                distance=spectrum_distance,
                candidates=candidates,
                seed=0,
                score=rival.score,
                scores={rival.score: SCORES[rival.score]},
            )
            result = study.run()
        assert result.best is not None
        assert result.best.trial.candidate is not None
        spent = result.budget.trial_epochs
        if not rival.fewer or spent <= budget:
            return result.best.trial.candidate, spent
        candidates -= max(1, (spent - budget) // (2 * table.total))


def draws(table: Table, count: int, size: int) -> Iterator[tuple[Candidate, ...]]:
    """Yield parts of the pool, drawn at random."""
    for number in range(count):
        generator = np.random.default_rng([17, number])
        chosen = generator.permutation(len(table.pool))[:size]
        yield tuple(table.pool[index] for index in chosen)


def compare(table: Table, *, count: int, size: int) -> dict[str, Any]:
    """Play every rival on every seed and draw."""
    expected = {
        c: float(np.mean([table.final(seed, c) for seed in table.seeds])) for c in table.pool
    }
    found: dict[str, Any] = {}
    for schedule, eliminations in schedules(table.total).items():
        rows: dict[str, Any] = {}
        for name, rival in RIVALS.items():
            regrets, expectations, hits, epochs = [], [], [], []
            for seed in table.seeds:
                own = []
                for drawn in draws(table, count, size):
                    picked, spent = play(table, seed, drawn, eliminations, rival)
                    finals = {c: table.final(seed, c) for c in drawn}
                    best = min(finals.values())
                    mean = expected[picked] - min(expected[c] for c in drawn)
                    own.append((finals[picked] - best, mean, finals[picked] == best, spent))
                regret, expectation, hit, spent = np.mean(np.array(own, dtype=float), axis=0)
                regrets.append(float(regret))
                expectations.append(float(expectation))
                hits.append(float(hit))
                epochs.append(float(spent))
            rows[name] = {
                "regret": _spread(regrets),
                "regret of the configuration": _spread(expectations),
                "share of best found": float(np.mean(hits)),
                "epochs": float(np.mean(epochs)),
            }
            print(f"{schedule:8} {name:24} {rows[name]['regret']}", flush=True)
        found[schedule] = {
            "rungs": [[r.epoch, r.entering, r.kept] for r in eliminations.plan(size)],
            "budget": eliminations.epochs(size),
            "of full search": eliminations.epochs(size) / (size * table.total),
            "rivals": rows,
        }
    return found


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "mean": float(np.mean(values)),
        "standard deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "seeds": [round(v, 3) for v in values],
    }


def describe(table: Table) -> dict[str, Any]:
    """Return the finals of a table: dense, pool, and what is noise in them."""
    finals = np.array([[table.final(s, c) for c in table.pool] for s in table.seeds])
    dense = [table.final(s, None) for s in table.seeds]
    between = float(np.std(finals.mean(axis=0), ddof=1))
    residual = finals - finals.mean(axis=0) - finals.mean(axis=1, keepdims=True) + finals.mean()
    freedom = (finals.shape[0] - 1) * (finals.shape[1] - 1)
    return {
        "candidates": len(table.pool),
        "seeds": len(table.seeds),
        "dense perplexity": _spread(dense),
        "best of the pool": _spread([float(f.min()) for f in finals]),
        "median of the pool": _spread([float(np.median(f)) for f in finals]),
        "worst of the pool": _spread([float(f.max()) for f in finals]),
        "standard deviation between configurations": between,
        "standard deviation between seeds": float(np.sqrt((residual**2).sum() / freedom)),
        "seconds of training an epoch": float(
            np.mean([x["train_seconds"] / table.total for x in table.lines if x["number"]])
        ),
        "seconds a spectrum": {
            name: float(np.mean([x["spectrum_seconds"][name] for x in table.lines if x["number"]]))
            for name in table.header["conventions"]
        },
    }


def main() -> None:
    """Compare the rivals on each table and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.json")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--size", type=int, default=12, help="candidates of a draw")
    options = parser.parse_args()
    results = {}
    for path in options.tables:
        table = Table.read(path)
        name = path.name.partition(".")[0]
        print(name, len(table.seeds), "seeds", flush=True)
        results[name] = {
            "table": describe(table),
            "leads": measure_leads(table),
            "schedules": compare(table, count=options.draws, size=options.size),
        }
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (options.output / "results.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
