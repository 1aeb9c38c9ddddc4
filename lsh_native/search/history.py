"""What a sampler may know of the candidates before: which they were, and how they did."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
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

    Raises:
        ValueError: If the score is not finite, or there is one though it is pending.
    """

    candidate: Candidate
    score: float | None = None
    pending: bool = False

    def __post_init__(self) -> None:
        if self.score is not None and (self.pending or not math.isfinite(self.score)):
            raise ValueError(
                f"score must be finite, and None while pending, got {self.score} for "
                f"{self.candidate}"
            )


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
    def _observations(self) -> tuple[Observation, ...]:
        return tuple(self._observe())
