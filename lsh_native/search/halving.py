"""Successive halving and its relatives: the rivals that give each rung η times the epochs.

At a rung of n trials ⌊n / η⌋ go on, and rungs lie at r, r η, r η², … epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lsh_native.search.race import Race
from lsh_native.search.trial import Rung


def geometric(first: int, total: int, factor: int) -> tuple[int, ...]:
    """Return the epochs first, first · factor, … below the end of the schedule."""
    epochs = []
    while first < total:
        epochs.append(first)
        first *= factor
    return tuple(epochs)


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Successive halving of one pool.

    Args:
        total: Epochs of the full schedule.
        first: Epoch of the first rung.
        factor: η, by which a rung has fewer trials and more epochs than the one before.

    Raises:
        ValueError: If not 1 <= first <= total, or factor < 2.

    Source: Jamieson & Talwalkar, "Non-stochastic best arm identification", arXiv 1502.07943.
    """

    total: int
    first: int
    factor: int = 3

    def __post_init__(self) -> None:
        _check(self.total, self.first, self.factor)

    def plan(self, candidates: int) -> tuple[Rung, ...]:
        """See `Rounds`."""
        rungs: list[Rung] = []
        for index, epoch in enumerate(geometric(self.first, self.total, self.factor)):
            kept = max(1, candidates // self.factor)
            if kept < candidates:
                rungs.append(Rung(round=index + 1, epoch=epoch, entering=candidates, kept=kept))
            candidates = kept
        return tuple(rungs)

    def run(self, race: Race) -> None:
        """See `Rounds`."""
        left = race.fill(self.first, race.rules.candidates)
        for rung in self.plan(len(left)) if left else ():
            left = race.climb(left, rung)
        race.finish(left)

    def compared(self, candidates: int) -> tuple[int, ...]:
        """See `Rounds`."""
        return geometric(self.first, self.total, self.factor)

    def to_dict(self) -> dict[str, Any]:
        """See `Rounds`."""
        return {"kind": "halving", **vars(self)}


@dataclass(frozen=True, kw_only=True)
class Hyperband:
    """Brackets of successive halving, from many trials cut early to few that all finish.

    Bracket s = S, …, 0 starts at total / ηˢ epochs with a share of the candidates that is
    proportional to (S + 1) ηˢ / (s + 1).

    Args:
        total: Epochs of the full schedule.
        first: Epoch before which nothing is cut; it bounds S.
        factor: η.

    Raises:
        ValueError: If not 1 <= first <= total, or factor < 2.

    Source: Li et al., "Hyperband", arXiv 1603.06560.
    """

    total: int
    first: int = 1
    factor: int = 3

    def __post_init__(self) -> None:
        _check(self.total, self.first, self.factor)

    def brackets(self, candidates: int) -> tuple[tuple[int, int], ...]:
        """Return first epoch and size of each bracket."""
        most = int(math.log(self.total / self.first, self.factor) + 1e-9)
        shares = [(most + 1) * self.factor**s / (s + 1) for s in range(most, -1, -1)]
        found, given = [], 0
        for index, share in enumerate(shares):
            rest = sum(shares[index:])
            count = min(candidates - given, max(1, round((candidates - given) * share / rest)))
            if count:
                found.append((max(1, self.total // self.factor ** (most - index)), count))
                given += count
        return tuple(found)

    def plan(self, candidates: int) -> tuple[Rung, ...]:
        """See `Rounds`; the rungs of all brackets, one bracket after the other."""
        rungs: list[Rung] = []
        for first, count in self.brackets(candidates):
            bracket = Halving(total=self.total, first=first, factor=self.factor)
            rungs += [
                Rung(round=len(rungs) + i, epoch=r.epoch, entering=r.entering, kept=r.kept)
                for i, r in enumerate(bracket.plan(count), start=1)
            ]
        return tuple(rungs)

    def run(self, race: Race) -> None:
        """See `Rounds`."""
        done = 0
        for first, count in self.brackets(race.rules.candidates):
            left = race.fill(first, count)
            bracket = Halving(total=self.total, first=first, factor=self.factor)
            for rung in bracket.plan(len(left)) if left else ():
                done += 1
                left = race.climb(
                    left, Rung(round=done, epoch=rung.epoch, entering=rung.entering, kept=rung.kept)
                )
            race.finish(left)

    def compared(self, candidates: int) -> tuple[int, ...]:
        """See `Rounds`."""
        return tuple(sorted({rung.epoch for rung in self.plan(candidates)}))

    def to_dict(self) -> dict[str, Any]:
        """See `Rounds`."""
        return {"kind": "hyperband", **vars(self)}


@dataclass(frozen=True, kw_only=True)
class ASHA:
    """Asynchronous successive halving: whoever is in the best 1/η of a rung goes on at once.

    No trial waits for others, and a new candidate starts where none can go on. What is
    asynchronous is virtual time, so the way of a study does not depend on its workers. When no
    candidate is left to propose, the best of the highest rung is trained to the end.

    Args:
        total: Epochs of the full schedule.
        first: Epoch of the first rung.
        factor: η.

    Raises:
        ValueError: If not 1 <= first <= total, or factor < 2.

    Source: Li et al., "A system for massively parallel hyperparameter tuning", arXiv 1810.05934.
    """

    total: int
    first: int
    factor: int = 3

    def __post_init__(self) -> None:
        _check(self.total, self.first, self.factor)

    def plan(self, candidates: int) -> tuple[Rung, ...]:
        """See `Rounds`; who goes on is not known beforehand."""
        return ()

    def run(self, race: Race) -> None:
        """See `Rounds`."""
        rungs = geometric(self.first, self.total, self.factor)
        above = dict(zip(rungs, (*rungs[1:], self.total), strict=True))
        arrived: dict[int, list[int]] = {epoch: [] for epoch in (*rungs, self.total)}
        promoted: dict[int, set[int]] = {epoch: set() for epoch in rungs}

        def promote(epoch: int, number: int) -> None:
            promoted[epoch].add(number)
            race.start(number, above[epoch])

        while True:
            while race.free and race.left:
                if race.propose(rungs[0] if rungs else self.total) is None:
                    break
            number = race.wait()
            if number is None:
                best = self._best(race, arrived, promoted)
                if best is None:
                    break
                promote(*best)
                continue
            epoch = race.reached(number)
            arrived[epoch].append(number)
            if epoch in promoted and self._ranks(len(arrived[epoch])):
                ranking = race.rank(arrived[epoch], epoch)
                for best_number in ranking[: len(arrived[epoch]) // self.factor]:
                    if best_number not in promoted[epoch]:
                        promote(epoch, best_number)
        race.finish(race.alive(arrived[self.total]))
        self._close(race, arrived, promoted)

    def compared(self, candidates: int) -> tuple[int, ...]:
        """See `Rounds`."""
        return geometric(self.first, self.total, self.factor)

    def to_dict(self) -> dict[str, Any]:
        """See `Rounds`."""
        return {"kind": "asha", **vars(self)}

    def _ranks(self, count: int) -> bool:
        """Whether a rung is ranked when it holds so many; a large one is not for each of a few.

        To rank a rung takes as long as it is large. Between two rankings it grows by η, or by one
        in 64: at most that share of its promotions comes a little later.
        """
        return count % (self.factor * max(1, count // (64 * self.factor))) == 0

    def _best(
        self, race: Race, arrived: dict[int, list[int]], promoted: dict[int, set[int]]
    ) -> tuple[int, int] | None:
        """Return who must go on so that somebody finishes, and from where; None if one has."""
        if race.alive(arrived[self.total]):
            return None
        for epoch in sorted(promoted, reverse=True):
            for number in race.rank(arrived[epoch], epoch):
                if number not in promoted[epoch]:
                    return epoch, number
        return None

    def _close(
        self, race: Race, arrived: dict[int, list[int]], promoted: dict[int, set[int]]
    ) -> None:
        """Write down, rung by rung, who went on and who did not."""
        for index, epoch in enumerate(promoted, start=1):
            numbers = race.alive(arrived[epoch])
            ranking = race.rank(numbers, epoch)
            kept = [number for number in ranking if number in promoted[epoch]]
            behind = [number for number in ranking if number not in promoted[epoch]]
            rung = Rung(round=index, epoch=epoch, entering=len(numbers), kept=len(kept))
            race.conclude(rung, kept + behind)


def _check(total: int, first: int, factor: int) -> None:
    if not 1 <= first <= total:
        raise ValueError(f"rounds must have 1 <= first <= total, got first {first}, total {total}")
    if factor < 2:
        raise ValueError(f"factor must be at least 2, got {factor}")
