"""What a sampler may know of the candidates before: which they were, and how they did."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from lsh_native.search.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is known of one earlier candidate.

    Args:
        candidate: It is never proposed again.
        score: Smaller is better; None while it is pending and if it failed.
        pending: Whether its score is still to come.
        excess: By which share it misses a constraint; infinite if that is unknown.

    Raises:
        ValueError: If the score is not finite, there is one though it is pending, or the excess is
            below 0.
    """

    candidate: Candidate
    score: float | None = None
    pending: bool = False
    excess: float = 0.0

    def __post_init__(self) -> None:
        if self.score is not None and (self.pending or not math.isfinite(self.score)):
            raise ValueError(
                f"score must be finite, and None while pending, got {self.score} for "
                f"{self.candidate}"
            )
        if not self.excess >= 0:
            raise ValueError(f"excess must be at least 0, got {self.excess} for {self.candidate}")


class History:
    """All earlier candidates in the order proposed.

    Args:
        candidates: They must stay as they are while the history is read.
        observe: Returns what is known of each of them, in order. It is called once, if at all: a
            sampler that goes by chance never asks.

    Example:
        >>> history = History.of([Observation(candidate=Candidate(method="gradual_magnitude"))])
        >>> [observation.score for observation in history], len(history)
        ([None], 1)
    """

    def __init__(
        self, candidates: Collection[Candidate], observe: Callable[[], Iterable[Observation]]
    ) -> None:
        self.candidates = candidates
        self._observe = observe

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> History:
        """Return the history that holds these observations."""
        known = tuple(observations)
        return cls({o.candidate: None for o in known}, lambda: known)

    def __len__(self) -> int:
        return len(self.candidates)

    def __iter__(self) -> Iterator[Observation]:
        return iter(self._observations)

    @cached_property
    def targets(self) -> Mapping[Candidate, float]:
        """What a sampler makes small: a number for each candidate that has a score.

        Where all keep to the constraints it is the score. One that misses a constraint lies behind
        all that keep to them, by up to twice the spread of their scores, the further the more it
        misses; its own score says nothing any more. So a model learns where the constraints end,
        and no excess, however large, flattens what it knows of scores.
        """
        scored = [(o, o.score) for o in self if o.score is not None]
        kept = [score for observation, score in scored if not observation.excess]
        if len(kept) == len(scored):
            return {observation.candidate: score for observation, score in scored}
        worst, spread = (max(kept), max(kept) - min(kept)) if kept else (0.0, 0.0)
        # Where the scores are equal, or none, any step will do that a float can tell.
        step = max(spread, 1e-6 * abs(worst)) or 1.0
        return {
            observation.candidate: worst + step * (2 - 1 / (1 + observation.excess))
            if observation.excess
            else score
            for observation, score in scored
        }

    @cached_property
    def _observations(self) -> tuple[Observation, ...]:
        return tuple(self._observe())
