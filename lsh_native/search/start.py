"""Which candidates start with more connections than they keep, and why that matters to a score."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from lsh_native.pruning.catalogue import method, needed_controls
from lsh_native.search.candidate import ACTIVE, Candidate
from lsh_native.search.score import reads_spectra
from lsh_native.sparsity.mask import total_count

_SIZES = {"weights": torch.Size((100, 100))}
# Of a training of any length: only its start is asked for.
_STEPS = 10**9


def starts_dense(candidate: Candidate, density: float) -> bool:
    """Return whether a candidate starts with more connections than it keeps in the end.

    Args:
        candidate: How it is pruned.
        density: Share of the weights that it keeps, unless it says itself.
    """
    told = {*ACTIVE[candidate.method], *dict(candidate.controls)}
    controls: dict[str, Any] = {
        name: value for name, value in candidate.to_dict().items() if name in told
    }
    needed = dict.fromkeys(needed_controls(candidate.method) & {"every"}, 1)
    made = method(candidate.method, **(needed | controls)).over(_STEPS)
    kept = candidate.density or density
    try:
        first = made.schedule.density(0, kept)
    except ValueError:  # what it starts with is less than what it is to keep
        return False
    return sum(made.initial(_SIZES, first).values()) > total_count(_SIZES, kept)


def start_warning(candidates: Iterable[Candidate], density: float, score: str) -> str | None:
    """Say in a sentence that a score compares what cannot be compared, or None where it does not.

    Args:
        candidates: Those of a study, or the extremes of its space.
        density: Share of the weights that they keep, unless they say themselves.
        score: Name of the score that decides.
    """
    if not reads_spectra(score):
        return None
    kinds: dict[bool, dict[str, None]] = {True: {}, False: {}}
    for candidate in candidates:
        kinds[starts_dense(candidate, density)][candidate.method] = None
    dense, sparse = (_listed(kinds[kind]) for kind in (True, False))
    if not dense or not sparse:
        return None
    return (
        f"Candidates that start with more connections than they keep ({dense}) stand beside others "
        f"that do not ({sparse}). The distances of the two kinds to the dense reference cannot be "
        f"compared with one another, and {score} goes by them."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)
