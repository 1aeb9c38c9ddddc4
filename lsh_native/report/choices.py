"""Which choices mattered: importance of parameters, parallel coordinates, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsh_native.report import plots
from lsh_native.report.figures import Figure, name_of
from lsh_native.report.trial_tables import words
from lsh_native.report.view import StudyView
from lsh_native.search.candidate import Value
from lsh_native.search.result import TrialSummary
from lsh_native.training import perplexity

# Candidates below which importance would be noise.
_FEW = 8
# Groups of about equal size into which the values of a number are put, and the fewest in one.
_GROUPS, _MEMBERS = 4, 4


def importance(view: StudyView) -> Figure | None:
    """How much of the losses at the first comparison each parameter explains by itself."""
    compared = _compared(view)
    if len(compared) < _FEW:
        return None
    losses = np.array([loss for _, loss in compared])
    shares, left_out = [], []
    for name in _varying(view):
        values = [s.trial.candidate.to_dict().get(name) for s, _ in compared if s.trial.candidate]
        share = _omega_squared(losses, _grouped(values))
        if share is None:
            left_out.append(words(name))
        else:
            shares.append((words(name), share))
    if not shares:
        return None
    shares.sort(key=lambda share: -share[1])
    without = (
        f" Left out: {', '.join(left_out)}, of which too few candidates have the same value."
        if left_out
        else ""
    )
    axes = plots.bars(shares, title="share of the variance of the loss")
    return Figure(
        name="importance",
        caption=(
            f"How much of the spread of the validation losses of {len(compared)} candidates after "
            f"epoch {_first_epoch(view)} goes with each parameter taken alone (ω², which is zero "
            "on average where nothing does). Numbers that hardly repeat are put into up to "
            f"{_GROUPS} groups of equal size, from low to high.{without}"
        ),
        panels=(("Importance of each parameter", plots.to_svg(axes)),),
    )


def _grouped(values: Sequence[Value | None]) -> list[int]:
    """Return the group of each value: its own, or for a number that hardly repeats a quantile.

    A parameter that a candidate does not have is one more value.
    """
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    distinct = sorted(set(numbers))
    count = min(_GROUPS, len(numbers) // _MEMBERS)
    if len(distinct) * _MEMBERS <= len(numbers) or count < 2:
        keys = [str(value) for value in values]
    else:
        edges = np.quantile(numbers, np.linspace(0, 1, count + 1)[1:-1])
        keys = [
            str(np.searchsorted(edges, v, side="right")) if v in distinct else f"no number: {v}"
            for v in values
        ]
    return [list(dict.fromkeys(keys)).index(key) for key in keys]


def _omega_squared(losses: NDArray[np.float64], groups: Sequence[int]) -> float | None:
    """Return ω², the share of the variance less what chance would give; None for no such share."""
    members = [losses[np.array(groups) == group] for group in sorted(set(groups))]
    freedom = len(losses) - len(members)
    if len(members) < 2 or freedom < len(members):
        return None
    between = sum(len(m) * (m.mean() - losses.mean()) ** 2 for m in members)
    within = sum(float(np.square(m - m.mean()).sum()) for m in members)
    if not (between + within):
        return None
    noise = within / freedom
    share = (between - (len(members) - 1) * noise) / (between + within + noise)
    return max(0.0, float(share))


def coordinates(view: StudyView) -> Figure | None:
    """Every candidate as a line through its choices to its perplexity."""
    compared, names = _compared(view), _varying(view)
    if len(compared) < 2 or not names:
        return None
    columns = [
        [s.trial.candidate.to_dict().get(name, "–") for s, _ in compared if s.trial.candidate]  # noqa: RUF001
        for name in names
    ]
    reached = [perplexity(loss) for _, loss in compared]
    axes = plots.parallel(
        [words(name) for name in names], columns, reached, [view.role(s.trial) for s, _ in compared]
    )
    return Figure(
        name="coordinates",
        caption=(
            "A line is a candidate; the axis on the right is its validation perplexity after epoch "
            f"{_first_epoch(view)}. See which choices the low lines share."
        ),
        panels=(("Choices of each candidate and its perplexity", plots.to_svg(axes)),),
        wide=True,
    )


# What a network costs: the number in the details of an epoch, and what it is called.
_COSTS = (("non_zeros", "non-zeros"), ("token_milliseconds", "milliseconds a token"))


def pareto(view: StudyView) -> Figure | None:
    """Perplexity against each cost, and the candidates that nothing beats in both."""
    panels = []
    for name, label in _COSTS:
        points = [
            plots.Point(
                label=name_of(view, s.trial.number),
                role=view.role(s.trial),
                score=float(cost),
                perplexity=perplexity(s.best.valid_loss),
            )
            for s in view.finishers
            if s.last and s.best and (cost := s.last.details.get(name))
        ]
        if len({point.score for point in points}) > 1:
            axes = plots.pareto(points, label=label)
            panels.append((f"Perplexity against {label}", plots.to_svg(axes)))
    if not panels:
        return None
    return Figure(
        name="pareto",
        caption=(
            "Finished candidates by what they cost and the perplexity they reached; none is better "
            "in both than those on the line. Milliseconds are measured: from one token to the "
            "next, one sequence at a time, on the machine and beside the work of the search."
        ),
        panels=tuple(panels),
    )


def _first_epoch(view: StudyView) -> int:
    return min(view.rung_epochs, default=view.total)


def _compared(view: StudyView) -> list[tuple[TrialSummary, float]]:
    """Return the candidates that reached the first comparison, with their loss there."""
    epoch = _first_epoch(view)
    return [
        (s, view.epochs[s.trial.number][epoch - 1].valid_loss)
        for s in view.result.trials
        if len(view.epochs.get(s.trial.number, ())) >= epoch
    ]


def _varying(view: StudyView) -> list[str]:
    rows = [s.trial.candidate.to_dict() for s in view.result.trials if s.trial.candidate]
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if len({str(row.get(name)) for row in rows}) > 1]
