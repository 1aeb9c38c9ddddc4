"""All that a page shows of a study, read from the store in one go, finished or not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsh_native.search.evidence import Evidence, read_evidence
from lsh_native.search.result import StudyResult, TrialSummary, read_result
from lsh_native.search.score import Score, scores_of
from lsh_native.search.start import start_warning
from lsh_native.search.store import Store
from lsh_native.search.trial import (
    REFERENCE,
    REPEAT,
    EpochRecord,
    RungRecord,
    SpectrumRecord,
    State,
    Trial,
)
from lsh_native.training import perplexity


class Role(StrEnum):
    """What a trial is to the reader."""

    DENSE = "dense"
    FOUND = "found"
    FINISHED = "finished"
    RUNNING = "running"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """A study as it stood at one moment.

    Args:
        result: Its trials, its best and its budget.
        epochs: Records of each trial, by number.
        spectra: Spectra of each trial, by number.
        rungs: Every elimination, by round and rank.
        scores: What each score said, by trial, epoch and name; None where it had nothing to say.
        configuration: Everything that decides the result.
        versions: Of the software that started it.
        evidence: What scores were worth, where enough ends are known to ask.
        repeated: Candidates that were trained again with another seed.
        unjudged: Scores that decided, or took part in it, and cannot be asked again.
    """

    result: StudyResult
    epochs: Mapping[int, tuple[EpochRecord, ...]]
    spectra: Mapping[int, tuple[SpectrumRecord, ...]]
    rungs: tuple[RungRecord, ...]
    scores: Mapping[tuple[int, int, str], float | None]
    configuration: Mapping[str, Any]
    versions: Mapping[str, str]
    evidence: Evidence | None = None
    repeated: int = 0
    unjudged: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether the study has a result and nothing is left to do."""
        return self.result.best is not None and all(s.trial.state.ended for s in self.summaries)

    @property
    def summaries(self) -> tuple[TrialSummary, ...]:
        """The dense reference, where there is one, and all candidates."""
        reference = self.result.reference
        return (() if reference is None else (reference,)) + self.result.trials

    @property
    def finishers(self) -> tuple[TrialSummary, ...]:
        """Candidates that trained for the full schedule, best first."""
        complete = [s for s in self.result.trials if s.trial.state is State.COMPLETE]
        return tuple(sorted(complete, key=lambda s: math.inf if s.loss is None else s.loss))

    @property
    def lost(self) -> tuple[Trial, ...]:
        """Trials that diverged or failed, the reference among them."""
        return tuple(s.trial for s in self.summaries if s.trial.state.lost)

    @property
    def asked(self) -> int:
        """How many candidates the study was to have; those it has where that is not written."""
        return int(self._search.get("candidates", len(self.result.trials)))

    @property
    def total(self) -> int:
        """Epochs of the full schedule, or those trained where that is not written."""
        return max(self.result.budget.total, *(s.trial.epochs for s in self.summaries), 1)

    @property
    def score(self) -> str:
        """Name of the score that decides."""
        return str(self._search.get("score", "score"))

    @property
    def rung_epochs(self) -> tuple[int, ...]:
        """Epochs of the eliminations so far."""
        return tuple(sorted({rung.epoch for rung in self.rungs}))

    def role(self, trial: Trial) -> Role:
        """Return what a trial is to the reader; `FOUND` only once nothing can overtake it."""
        if trial.number == REFERENCE:
            return Role.DENSE
        if trial.state.lost:
            return Role.LOST
        if trial.state is State.STOPPED:
            return Role.STOPPED
        if trial.state is State.COMPLETE:
            best = self.result.best
            won = self.finished and best is not None and best.trial.number == trial.number
            return Role.FOUND if won else Role.FINISHED
        return Role.RUNNING

    def by_survival(self) -> tuple[TrialSummary, ...]:
        """Return the dense reference, then the candidates, those who came furthest first."""
        places = {rung.trial: rung.rank for rung in self.rungs}
        places |= {s.trial.number: place for place, s in enumerate(self.finishers, start=1)}
        order = [Role.DENSE, Role.FOUND, Role.FINISHED, Role.RUNNING, Role.STOPPED, Role.LOST]

        def key(summary: TrialSummary) -> tuple[int, int, int, int]:
            trial = summary.trial
            place = places.get(trial.number, len(places) + 1)
            return (order.index(self.role(trial)), -trial.epochs, place, trial.number)

        return tuple(sorted(self.summaries, key=key))

    def in_order(self) -> Iterator[tuple[int, EpochRecord]]:
        """Yield the epochs of the candidates in the order in which they were trained.

        A study trains its pool to the first rung one by one, then, from rung to rung, whoever is
        left, best first.
        """
        ranks = {(rung.round, rung.trial): rung.rank for rung in self.rungs}
        ends = sorted({rung.epoch for rung in self.rungs if not rung.kept})

        def key(entry: tuple[int, EpochRecord]) -> tuple[int, int, int]:
            number, record = entry
            stage = sum(end < record.epoch for end in ends)
            return (stage, ranks.get((stage, number), number), record.epoch)

        entries = (
            (s.trial.number, record)
            for s in self.result.trials
            for record in self._epochs(s.trial)[: self.searched(s.trial)]
        )
        yield from sorted(entries, key=key)

    def searched(self, trial: Trial) -> int:
        """Return how many epochs of a trial were trained before it was stopped."""
        if trial.state is not State.STOPPED:
            return trial.epochs
        last = max((r.epoch for r in self.rungs if r.trial == trial.number), default=trial.epochs)
        return min(last, trial.epochs)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores, the one that decides first."""
        names = sorted({name for _, _, name in self.scores})
        return tuple(sorted(names, key=lambda name: name != self.score))

    def spectrum(self, number: int, epoch: int) -> SpectrumRecord | None:
        """Return a trial's spectrum at an epoch, or None."""
        return next((s for s in self.spectra.get(number, ()) if s.epoch == epoch), None)

    def status(self) -> str:
        """Say in one sentence how far the study is."""
        reference, trials = self.result.reference, self.result.trials
        if reference is None:
            return "The study has not started."
        if reference.trial.state.lost:
            return (
                f"The dense reference {reference.trial.state}, so no candidate can be compared "
                "with it."
            )
        if not trials:
            return (
                "The study is not finished: the dense reference has trained "
                f"{reference.trial.epochs} of {self.total} epochs."
            )
        ended = sum(s.trial.state.ended for s in trials)
        if self.finished:
            found = len(self.finishers)
            were = "was" if found == 1 else "were"
            return f"{found} of {len(trials)} candidates {were} trained to the end."
        if ended == len(trials) >= self.asked:
            return f"The study has no result: none of its {len(trials)} candidates reached the end."
        inserted = max(0, len(trials) - self.asked)
        near = f" and {inserted} inserted near the best" if inserted else ""
        return (
            f"The study is not finished: {len(trials) - inserted} of {self.asked} candidates have "
            f"been proposed{near}, {ended} of them have ended."
        )

    def best_so_far(self) -> str:
        """Say what an unfinished study has seen; empty before a candidate was trained."""
        reached = [s for s in self.result.trials if s.best is not None and not s.trial.state.lost]
        best = min(reached, key=_loss, default=None)
        if best is None or best.best is None:
            return ""
        return (
            f"The lowest validation perplexity so far is {perplexity(best.best.valid_loss):.1f}, "
            f"of candidate {best.trial.number} after epoch {best.best.epoch}."
        )

    def warnings(self) -> Iterator[str]:
        """Yield what a reader must know before trusting the page, a sentence each."""
        losses: dict[tuple[State, str], list[str]] = {}
        for trial in self.lost:
            losses.setdefault((trial.state, trial.reason), []).append(str(trial.number))
        for (state, reason), numbers in losses.items():
            if numbers == [str(REFERENCE)]:
                who = "The dense reference"
            else:
                who = f"Candidate{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
            yield f"{who} {state}: {reason}."
        if self.finished and len(self.result.trials) < self.asked:
            yield (
                f"{self.asked} candidates were asked for, but the space holds only "
                f"{len(self.result.trials)}."
            )
        candidates = [s.trial.candidate for s in self.result.trials if s.trial.candidate]
        # Where it is not written, whoever starts with connections to lose is taken for dense.
        density = 1 - float(self.configuration.get("sparsity", 1))
        if (warning := start_warning(candidates, density, self.score)) is not None:
            yield warning
        if self.unjudged:
            yield (
                f"The evidence leaves out {', '.join(self.unjudged)}, which cannot be asked again: "
                "a function of the study's own, which only its author has at hand."
            )
        if self.finished:
            yield from map(str, self.result.missed)
        for trial in (s.trial for s in self.summaries if s.trial.crash):
            times = "once" if trial.retries == 1 else f"{trial.retries} times"
            yield f"Trial {trial.number} was begun anew {times}, last because {trial.crash}."
        seeds = self.result.budget.seeds
        if self.finishers and seeds > 1:
            more = f", {self.repeated} once more for the evidence below," if self.repeated else ""
            yield (
                f"Every candidate was trained {seeds} times{more} and is judged by the mean; what "
                "is shown of one network is of its first training."
            )
        elif self.finishers and not self.repeated:
            yield (
                "Every network was trained once. How much its perplexity changes with the seed of "
                "its training was not measured."
            )
        elif self.finishers:
            yield (
                f"Every network was trained once, and {self.repeated} of them once more for the "
                "evidence below. Those tell how much a seed of training changes."
            )

    @property
    def _search(self) -> Mapping[str, Any]:
        search: Mapping[str, Any] = self.configuration.get("search", {})
        return search

    def _epochs(self, trial: Trial) -> tuple[EpochRecord, ...]:
        return self.epochs.get(trial.number, ())


def view_study(store: Store, scores: Mapping[str, Score] | None = None) -> StudyView:
    """Read all that a page shows of a study.

    Args:
        store: Of the study.
        scores: Scores to judge beside the named ones: a study's own, if they have no names that
            say where they are.
    """
    result = read_result(store)
    known, unjudged = scores_of(store, scores or {})
    # Where nobody was stopped every end is known, and they are no choice of the search's.
    complete = store.finished and all(rung.kept for rung in store.rungs())
    judged = complete or result.budget.evidence_epochs > 0
    numbers = [s.trial.number for s in result.trials]
    if result.reference is not None:
        numbers.insert(0, result.reference.trial.number)
    return StudyView(
        result=result,
        epochs={number: store.epochs(number) for number in numbers},
        spectra={number: store.spectra(number) for number in numbers},
        rungs=store.rungs(),
        scores={(s.trial, s.epoch, s.name): s.value for s in store.scores()},
        configuration=store.configuration,
        versions=store.versions,
        evidence=read_evidence(store, scores=known) if judged else None,
        unjudged=unjudged if judged else (),
        repeated=len(
            {t.repeats for t in store.repeats() if t.number // REPEAT >= result.budget.seeds}
        ),
    )


def layers_of(record: SpectrumRecord, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Cut exponents, or their errors, into the parts of the layers.

    The sizes stand in the conventions as `layer_sizes`; without them a row is a layer, and a
    vector is one layer.
    """
    sizes = record.conventions.get("layer_sizes")
    if isinstance(sizes, list | tuple) and sum(sizes) == values.size:
        return np.split(values.ravel(), list(accumulate(sizes))[:-1])
    return [layer.ravel() for layer in values] if values.ndim > 1 else [values]


def _loss(summary: TrialSummary) -> float:
    return summary.best.valid_loss if summary.best else math.inf
