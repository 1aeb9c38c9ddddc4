"""What scores were worth, as tables and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from lsh_native.report import plots
from lsh_native.report.figures import Figure
from lsh_native.report.plots import Curve, Point
from lsh_native.report.tables import ABSENT, Table
from lsh_native.report.view import Role, StudyView
from lsh_native.search.evidence import Evidence, Replay, ScoreEvidence
from lsh_native.training import perplexity

# Scores that are drawn against the end; the tables have them all.
_DRAWN = ("rank_mean", "lyapunov", "loss")
# Replays whose curves are drawn beside the search's.
_RIVALS = ("loss", "training_losses", "surrogate", "random_search")
_SMALL = 250


def rung_tables(evidence: Evidence) -> Iterator[Table]:
    """Yield a table a rung, best score first."""
    for epoch in sorted({row.epoch for row in evidence.scores}):
        rows = [row for row in evidence.scores if row.epoch == epoch]
        rows.sort(key=lambda row: -(row.spearman.value if row.spearman else -2))
        yield Table(
            header=(
                f"after epoch {epoch}",
                "Spearman",
                "Kendall",
                "over loss",
                "given drop",
                "given all",
                "top 1",
                "top 3",
                "seeds",
                "tokens",
                "floor",
            ),
            rows=tuple(_cells(row) for row in rows),
        )


def replay_table(evidence: Evidence) -> Table | None:
    """Return what each score, and chance, would have found; None where nothing was compared."""
    if not evidence.replays:
        return None
    first, three = evidence.chance
    replays = sorted(evidence.replays, key=lambda r: (not r.regret <= 1e9, r.regret))
    trained = next(len(r.curve) for r in replays if r.name == "random_search")
    rounds = "in the same rounds"
    if not evidence.eliminated:
        rounds = "where of n at each comparison ⌊n/2⌋ + 1 go on; this study stopped nobody"
    return Table(
        header=("the search under", "would have found", "worse than the best by"),
        rows=tuple(_replay_cells(replay) for replay in replays),
        notes=(
            f"Over the {len(evidence.finals)} candidates whose end is known, {rounds}. Each "
            f"spends at most {evidence.spent} epochs of candidates; {_beyond(evidence)}",
            f"Random search trains {trained} candidates to the end instead, as many as those "
            "epochs allow, and takes the best; random elimination goes through the rounds by "
            "chance. Of both the mean is given. One pick at random is worse by "
            f"{100 * first:.1f} % on average, the best of three by {100 * three:.1f} %.",
        ),
    )


def _beyond(evidence: Evidence) -> str:
    return (
        f"a search by spectra, as LSH is, pays the {evidence.reference_epochs} epochs of the dense "
        "reference beyond."
    )


def evidence_text(evidence: Evidence | None) -> str:
    """Return the tables and the verdict, or in one sentence why there are none."""
    if evidence is None:
        return "Nothing can be said about any score: fewer than three ends are known."
    tables = [*rung_tables(evidence), replay_table(evidence)]
    texts = [table.text() for table in tables if table is not None]
    return "\n\n".join([*texts, evidence.verdict])


NOTES = (
    "Rank correlations are with the final validation perplexity, with 95 % bootstrap intervals "
    "over candidates; +1 is a perfect score, 0 is chance.",
    "over loss: difference to the correlation of the loss. given drop, given all: partial "
    "correlation once the drop fraction, or the whole configuration, is taken out.",
    "top 1, top 3: how much worse in perplexity the best of the first picks is than the best of "
    "all. seeds, tokens: noise between two trainings, or stretches of text, in units of the spread "
    "between candidates. floor: distance between two dense networks over that of the candidates.",
)
"""What the columns of the tables mean."""


def against_end(view: StudyView, evidence: Evidence) -> Figure | None:
    """Each score at the first rung against the final perplexity, with its correlation."""
    epochs = sorted({row.epoch for row in evidence.scores})
    if not epochs:
        return None
    epoch, panels = epochs[0], []
    names = dict.fromkeys((evidence.score, *_DRAWN))
    for name in islice(names, 3):
        row = next((r for r in evidence.scores if (r.name, r.epoch) == (name, epoch)), None)
        points = [
            Point(label="", role=_role(view, number), score=score, perplexity=perplexity(final))
            for number, final in evidence.finals.items()
            if (score := view.scores.get((number, epoch, name))) is not None
        ]
        if row is None or len(points) < 3:
            continue
        axes = plots.score_against_final(points, score=f"{name} after epoch {epoch}", width=_SMALL)
        if row.spearman:
            axes.set_title(f"correlation {row.spearman}", loc="left")
        label = f"Final validation perplexity against {name} after epoch {epoch}"
        panels.append((label, plots.to_svg(axes)))
    if not panels:
        return None
    return Figure(
        name="against-end",
        caption=(
            f"Final validation perplexity over what each score said after epoch {epoch}, of every "
            "candidate whose end is known, with Spearman's rank correlation and its 95 % interval."
        ),
        panels=tuple(panels),
    )


def rivals(evidence: Evidence) -> Figure | None:
    """Best so far against the epochs of the candidates, under the study's score and its rivals."""
    by_name = {replay.name: replay for replay in evidence.replays if replay.curve}
    chosen = [by_name[name] for name in (evidence.score, *_RIVALS) if name in by_name]
    chosen = list({replay.name: replay for replay in chosen}.values())
    if not chosen:
        return None
    curves = [_curve(replay, evidence.score) for replay in chosen]
    axes = plots.trajectory(curves, right=120)
    axes.set_xlabel("epochs of the candidates")
    return Figure(
        name="rivals",
        caption=(
            "The same rounds played again under rival scores, over the candidates whose end is "
            "known, and the best expected of random search, which trains every candidate to the "
            "end. All pay the same epochs of candidates, and a line that ends lower found "
            f"something better; {_beyond(evidence)}"
        ),
        panels=(("Best validation perplexity under rival scores", plots.to_svg(axes)),),
    )


def _curve(replay: Replay, decided: str) -> Curve:
    x, y = zip(*replay.curve, strict=True)
    # Of two epochs, the first to be as good is all a step needs.
    values = np.array([perplexity(loss) for loss in y])
    kept = np.flatnonzero(np.diff(values, prepend=np.inf) < 0)
    kept = np.union1d(kept, [len(values) - 1])
    role = Role.FOUND if replay.name == decided else Role.FINISHED
    label = f"{replay.name.replace('_', ' ')} {values[-1]:.1f}"
    return Curve(label=label, role=role, x=np.array(x)[kept], y=values[kept])


def _role(view: StudyView, number: int) -> Role:
    roles = [view.role(s.trial) for s in view.result.trials if s.trial.number == number]
    return roles[0] if roles else Role.STOPPED


def _cells(row: ScoreEvidence) -> tuple[str, ...]:
    return (
        row.name.replace("_", " "),
        *(ABSENT if value is None else str(value) for value in (row.spearman, row.kendall)),
        *_signed((row.over_loss.value if row.over_loss else None,)),
        *_signed((row.given_drop, row.given_configuration)),
        *(f"{100 * value:.1f} %" for value in (row.regret, row.regret_of_three)),
        *(ABSENT if v is None else f"{v:.2f}" for v in (row.retest, row.tokens, row.floor)),
    )


def _signed(values: Sequence[float | None]) -> list[str]:
    return [ABSENT if value is None else f"{value:+.2f}" for value in values]


def _replay_cells(replay: Replay) -> tuple[str, ...]:
    found = ABSENT if replay.picked is None else f"#{replay.picked}"
    worse = f"{100 * replay.regret:.1f} %" if replay.regret == replay.regret else ABSENT
    return replay.name.replace("_", " "), found, worse
