"""What the configuration alone, and the little seen so far, say of a candidate's loss.

y = X β + Z u + ε over standardised losses of every epoch seen, ridge penalties on β and u.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from lsh_native.search.candidate import Candidate
from lsh_native.search.trial import Pool

# Variances relative to that of a standardised loss at one epoch. Within a trial the errors of
# neighbouring epochs go together, so a trial's own deviation is trusted little.
_EFFECT, _TRIAL, _NOISE = 0.3, 0.2, 1.0


def features(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Return configurations as rows of numbers: categories one-hot, numbers to [0, 1].

    A field that a method does not read is one more category, and half way between its numbers.
    """
    values = [candidate.to_dict() for candidate in candidates]
    columns: list[NDArray[np.float64]] = []
    for name in sorted(set(chain.from_iterable(values))):
        column = [value.get(name) for value in values]
        present = [value for value in column if not isinstance(value, str | None)]
        if present:
            low, span = min(present), (max(present) - min(present)) or 1.0
            columns.append(
                np.array([(v - low) / span if isinstance(v, int | float) else 0.5 for v in column])
            )
        names = sorted({str(value) for value in column if isinstance(value, str | None)})
        columns += [np.array([float(str(v) == name) for v in column]) for name in names]
    if not columns:
        return np.zeros((len(values), 0))
    matrix: NDArray[np.float64] = np.stack(columns, axis=1)
    varying: NDArray[np.float64] = matrix[:, np.ptp(matrix, axis=0) > 0]
    return varying


def predicted_losses(pool: Pool) -> NDArray[np.float64]:
    """Return the expected standardised loss of each trial of a pool.

    Epochs of the latter half of what the pool has trained count, of all trials that reached them.
    """
    trials = (*pool, *pool.others)
    design = features([trial.candidate for trial in trials])
    design = np.hstack([design * np.sqrt(_EFFECT), np.eye(len(trials)) * np.sqrt(_TRIAL)])
    rows, targets = [], []
    for epoch in range((pool.epoch + 1) // 2, pool.epoch + 1):
        seen = [index for index, trial in enumerate(trials) if len(trial.epochs) >= epoch]
        losses = np.array([trials[index].epochs[epoch - 1].valid_loss for index in seen])
        if len(losses) and np.isfinite(losses).all():
            rows += seen
            targets.append((losses - losses.mean()) / (losses.std() or 1.0))
    if not targets:
        return np.full(len(pool), np.nan)
    seen_design = design[rows]
    gram = seen_design @ seen_design.T + _NOISE * np.eye(len(rows))
    weights = seen_design.T @ np.linalg.solve(gram, np.concatenate(targets))
    expected: NDArray[np.float64] = design[: len(pool)] @ weights
    return expected
