"""`lsh-native evidence`: what each score was worth on this task, from candidates trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lsh_native.cli.files import STORE
from lsh_native.cli.resume import resume
from lsh_native.cli.setup import RunningChanges
from lsh_native.report.evidence import evidence_text
from lsh_native.search.evidence import read_evidence
from lsh_native.search.score import Score, named_score, scores_of
from lsh_native.search.store import Store

__all__ = ["evidence", "scores_at_hand"]


def evidence(
    study: Path,
    candidates: int = 0,
    running: RunningChanges = RunningChanges(),  # noqa: B008 - frozen
) -> None:
    """Says whether the score of a study can be trusted, and trains stopped candidates for it.

    Args:
        study: the study's folder.
        candidates: how many stopped candidates are trained to the end; without it only what is
            known already is shown.
        running: where trials run and what they may spend; what is not said is as it was when the
            search last ran, but for what it may spend.
    """
    if candidates:
        resume(study, evidence=candidates, running=running)
        return
    with Store(study / STORE, read_only=True) as store:
        print(evidence_text(read_evidence(store, scores=scores_at_hand(store))))


def scores_at_hand(store: Store) -> Mapping[str, Score]:
    """The scores by which a study can be judged.

    Raises:
        ValueError: one that the study names by its module cannot be imported.
    """
    known, unknown = scores_of(store, {})
    for name in unknown:
        if ":" in name:
            named_score(name)
    return known
