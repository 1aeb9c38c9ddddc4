"""What `bench.search.record` measured, and a runner that reads it instead of training."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.search.record import read_lines
from lsh_native.search.candidate import Candidate
from lsh_native.search.space import Space
from lsh_native.search.trial import EpochRecord, SpectrumRecord, Trial


@dataclass(frozen=True)
class Table:
    """What `bench.search.record` wrote of one corpus."""

    header: dict[str, Any]
    lines: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Read a table; seeds that are not whole are left out."""
        (header, *lines), _ = read_lines(path)
        whole = 1 + len(Space.from_dict(header["study"]["space"]))
        counts: dict[int, int] = {}
        for line in lines:
            counts[line["seed"]] = counts.get(line["seed"], 0) + 1
        return cls(header, tuple(line for line in lines if counts[line["seed"]] == whole))

    @property
    def total(self) -> int:
        """Epochs of the schedule."""
        return int(self.header["study"]["recipe"]["epochs"])

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of training."""
        return tuple(sorted({line["seed"] for line in self.lines}))

    @cached_property
    def pool(self) -> tuple[Candidate, ...]:
        """Every candidate, in the order of its number."""
        first = (line for line in self.lines if line["seed"] == self.seeds[0])
        return tuple(Candidate.from_dict(x["candidate"]) for x in first if x["candidate"])

    def line(self, seed: int, candidate: Candidate | None) -> dict[str, Any]:
        """What was measured of a candidate, or of the dense network."""
        return self._by_candidate[seed, candidate]

    @cached_property
    def _by_candidate(self) -> dict[tuple[int, Candidate | None], dict[str, Any]]:
        return {
            (x["seed"], None if x["candidate"] is None else Candidate.from_dict(x["candidate"])): x
            for x in self.lines
        }

    def final(self, seed: int, candidate: Candidate | None) -> float:
        """The lowest validation perplexity of a candidate."""
        return math.exp(min(self.line(seed, candidate)["valid"]))

    def spectrum(
        self, seed: int, candidate: Candidate | None, name: str, epoch: int
    ) -> SpectrumRecord:
        """The spectrum after an epoch; after one that has none, the last one before."""
        taken = self.line(seed, candidate)["spectra"][name]
        at = max(int(e) for e in taken if int(e) <= epoch)
        exponents = np.array(taken[str(at)])
        conventions = self.header["conventions"][name]
        return SpectrumRecord(
            epoch=epoch,
            exponents=np.where(exponents < -1e6, -np.inf, exponents),
            conventions=conventions,
        )


@dataclass(frozen=True)
class Replayed:
    """A runner that reads what another one measured; see `lsh_native.search.trial.Runner`."""

    table: Table
    seed: int
    spectra: str = "full"

    def run(self, trial: Trial, until: int, record: Callable[[EpochRecord], None]) -> None:
        """See `Runner.run`."""
        line = self.table.line(self.seed, trial.candidate)
        for epoch in range(trial.epochs + 1, until + 1):
            record(
                EpochRecord(
                    epoch=epoch,
                    train_loss=line["train"][epoch - 1],
                    valid_loss=line["valid"][epoch - 1],
                    density=1.0 if trial.candidate is None else 0.33,
                    tokens=1,
                    seconds=0.0,
                )
            )

    def spectrum(self, trial: Trial, epoch: int, part: int = 0) -> SpectrumRecord:
        """See `Runner.spectrum`."""
        return self.table.spectrum(self.seed, trial.candidate, self.spectra, epoch)
