"""Which choices mattered: importance of parameters, parallel coordinates, and the Pareto front."""

from __future__ import annotations

import numpy as np

from lsh_native.report import plots
from lsh_native.report.figures import Figure, name_of
from lsh_native.report.tables import perplexity
from lsh_native.report.trial_tables import words
from lsh_native.report.view import StudyView
from lsh_native.search.result import TrialSummary

# Candidates below which importance would be noise.
_FEW = 8


def importance(view: StudyView) -> Figure | None:
    """How much of the losses at the first comparison each parameter explains by itself."""
    compared = _compared(view)
    if len(compared) < _FEW:
        return None
    losses = np.array([loss for _, loss in compared])
    shares = []
    for name in _varying(view):
        values = [
            str(s.trial.candidate.to_dict().get(name)) for s, _ in compared if s.trial.candidate
        ]
        groups = [losses[[v == value for v in values]] for value in dict.fromkeys(values)]
        between = sum(len(g) * (g.mean() - losses.mean()) ** 2 for g in groups)
        within = sum(float(np.square(g - g.mean()).sum()) for g in groups)
        freedom = len(losses) - len(groups)
        if len(groups) > 1 and freedom > 0:
            # ω²: the share of the variance, less what chance alone would give.
            noise = within / freedom
            share = (between - (len(groups) - 1) * noise) / (between + within + noise)
            shares.append((words(name), max(0.0, float(share))))
    if not shares:
        return None
    shares.sort(key=lambda share: -share[1])
    axes = plots.bars(shares, title="share of the variance of the loss")
    return Figure(
        name="importance",
        caption=(
            f"How much of the spread of the validation losses of {len(compared)} candidates after "
            f"epoch {_first_epoch(view)} goes with each parameter taken alone (ω², which is zero "
            "on average where nothing does)."
        ),
        panels=(("Importance of each parameter", plots.to_svg(axes)),),
    )


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
