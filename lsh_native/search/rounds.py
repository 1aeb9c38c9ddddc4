"""When candidates are compared and how many go on: the published eliminations and their rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from lsh_native.search.race import Race
from lsh_native.search.trial import Rung


class Rounds(Protocol):
    """How a search goes: who is compared when, and how many go on."""

    @property
    def total(self) -> int:
        """Epochs of the full schedule."""

    def run(self, race: Race) -> None:
        """Run the search from its first proposal to its last finisher."""

    def compared(self, candidates: int) -> tuple[int, ...]:
        """Return the epochs at which trials are compared, in order."""

    def plan(self, candidates: int) -> tuple[Rung, ...]:
        """Return the eliminations that are known beforehand; none where there are none."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values that say all that decides, for JSON."""


def half_and_one(count: int) -> int:
    """Return ⌊n/2⌋ + 1, the published rule; one candidate stays, and so do two."""
    return count // 2 + 1


@dataclass(frozen=True, kw_only=True)
class Elimination:
    """Successive eliminations: every candidate trains `first` epochs, the finishers `total`.

    With n candidates left, ⌊n/2⌋ + 1 go on; two are left in the end and run the full schedule.

    Args:
        total: Epochs of the full schedule.
        first: Epoch of the first elimination.
        every: Epochs between eliminations; None spreads them evenly over the rest.
        survivors: How many of n candidates go on; a rule that returns n ends the eliminations.
        insertions: Candidates generated near the best ones after every elimination but the last;
            they catch up and enter the next one.

    Raises:
        ValueError: If not 1 <= first <= total, every < 1, or insertions < 0.

    Example:
        >>> [rung.kept for rung in Elimination.lsh2022().plan(27)]
        [14, 8, 5, 3, 2]

    Source: Zheng & Shlizerman, "Hyperpruning", arXiv 2506.07975.
    """

    total: int
    first: int
    every: int | None = None
    survivors: Callable[[int], int] = half_and_one
    insertions: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.total:
            raise ValueError(
                f"rounds must have 1 <= first <= total, got first {self.first}, total {self.total}"
            )
        if self.every is not None and self.every < 1:
            raise ValueError(f"every must be at least 1 epoch, got {self.every}")
        if self.insertions < 0:
            raise ValueError(f"insertions must be at least 0, got {self.insertions}")

    @classmethod
    def lsh2022(cls, total: int = 100) -> Elimination:
        """Return the published rounds: an elimination every 3 epochs, from epoch 3.

        Source: Zheng & Shlizerman, "Hyperpruning", arXiv 2506.07975.
        """
        return cls(total=total, first=min(3, total), every=3)

    @classmethod
    def spread(cls, total: int, insertions: int = 0) -> Elimination:
        """Return the default: from a third of the schedule, evenly to its end.

        Earlier, no score that was measured told good candidates from bad ones.
        """
        return cls(total=total, first=max(1, -(-total // 3)), insertions=insertions)

    def plan(self, candidates: int) -> tuple[Rung, ...]:
        """Return the eliminations of a pool, all before the end of the schedule.

        Eliminations that fall on one epoch are one rung. Those that `every` would put at the end
        or later never happen: whoever is left then finishes.

        Raises:
            ValueError: If candidates < 1, or the rule keeps less than one.
        """
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        counts = [candidates]
        while (kept := self.survivors(counts[-1])) < counts[-1]:
            if kept < 1:
                raise ValueError(f"survivors must keep at least 1 of {counts[-1]}, got {kept}")
            counts.append(kept)
        rungs: list[Rung] = []
        for index, kept in enumerate(counts[1:]):
            epoch = self._epoch(index, len(counts) - 1)
            if epoch >= self.total:
                break
            entering = counts[index] + (self.insertions if rungs else 0)
            if rungs and rungs[-1].epoch == epoch:
                entering = rungs.pop().entering
            rungs.append(Rung(round=len(rungs) + 1, epoch=epoch, entering=entering, kept=kept))
        return tuple(rungs)

    def run(self, race: Race) -> None:
        """See `Rounds`."""
        left = pool = race.fill(self.first, race.rules.candidates)
        plan = self.plan(len(pool))
        for rung in plan:
            left = race.climb(left, rung)
            if rung is not plan[-1]:
                left = left + race.insert(left, rung.epoch, self.insertions)
        race.finish(left)

    def compared(self, candidates: int) -> tuple[int, ...]:
        """See `Rounds`."""
        return tuple(rung.epoch for rung in self.plan(candidates))

    def epochs(self, candidates: int) -> int:
        """Return the epochs that a pool trains, resumed between rungs, without the reference."""
        spent, reached, left = 0, 0, candidates
        for rung in self.plan(candidates):
            spent += left * (rung.epoch - reached) + (rung.entering - left) * rung.epoch
            reached, left = rung.epoch, rung.kept
        return spent + left * (self.total - reached)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the rule by its name."""
        return {
            "kind": "elimination",
            "total": self.total,
            "first": self.first,
            "every": self.every,
            "survivors": self.survivors.__name__,
        } | ({"insertions": self.insertions} if self.insertions else {})

    def _epoch(self, index: int, count: int) -> int:
        if self.every is not None:
            return self.first + index * self.every
        return self.first + index * (self.total - self.first) // count


@dataclass(frozen=True, kw_only=True)
class Full:
    """No elimination at all: every candidate trains to the end, for the truth.

    All are compared after each third of the schedule, so that every score is on record, and all go
    on. Nobody waits for the others, and proposals are guided by what stands at the end.

    Args:
        total: Epochs of the schedule.

    Raises:
        ValueError: If total < 1.
    """

    total: int

    def __post_init__(self) -> None:
        if self.total < 1:
            raise ValueError(f"total must be at least 1 epoch, got {self.total}")

    def plan(self, candidates: int) -> tuple[Rung, ...]:
        """See `Rounds`."""
        return tuple(
            Rung(round=index, epoch=epoch, entering=candidates, kept=candidates)
            for index, epoch in enumerate(self.compared(candidates), start=1)
        )

    def run(self, race: Race) -> None:
        """See `Rounds`."""
        count = race.rules.candidates
        pool = race.fill(self.total, count, through=self.compared(count))
        for rung in self.plan(len(pool)):
            race.close(rung, pool)
        race.finish(pool)

    def compared(self, candidates: int) -> tuple[int, ...]:
        """See `Rounds`."""
        thirds = {-(-self.total * third // 3) for third in (1, 2)}
        return tuple(sorted(thirds - {self.total}))

    def to_dict(self) -> dict[str, Any]:
        """See `Rounds`."""
        return {"kind": "full", "total": self.total}
