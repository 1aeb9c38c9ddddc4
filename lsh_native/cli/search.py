"""`lsh-native search`: finds a sparse network for a text, from dense reference to report."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy
import torch

from lsh_native.cli.board import Board
from lsh_native.cli.data import DataSettings
from lsh_native.cli.files import CONFIGURATION, STORE
from lsh_native.cli.options import keep_options
from lsh_native.cli.progress import Progress
from lsh_native.cli.setup import (
    RungSettings,
    RunningSettings,
    check_running,
    make_executor,
    make_rounds,
    make_runner,
    make_sampler,
    runner_settings,
)
from lsh_native.report.evidence import evidence_text
from lsh_native.report.finish import finish_study
from lsh_native.search.constraint import Constraint
from lsh_native.search.coordinator import Limits
from lsh_native.search.errors import ConfigurationError
from lsh_native.search.events import Event, StudyStarted
from lsh_native.search.rounds import Elimination
from lsh_native.search.score import recorded_scores
from lsh_native.search.space import Space
from lsh_native.search.spectral import spectrum_distance
from lsh_native.search.start import start_warning
from lsh_native.search.store import Store
from lsh_native.search.study import Study
from lsh_native.search.training_runner import SpectrumSettings
from lsh_native.training import Recipe

__all__ = ["search"]


def search(
    data: Path | None = None,
    output: Path = Path("lsh-study"),
    sparsity: float = 0.67,
    candidates: int = 6,
    score: str | None = None,
    rounds: Literal["elimination", "insertion", "halving", "asha", "hyperband", "full"]
    | None = None,
    rungs: RungSettings = RungSettings(),  # noqa: B008 - frozen
    preset: Literal["lsh2022"] | None = None,
    seed: int = 0,
    sampler: str = "bayesian",
    seeds: int = 1,
    ahead: int = 4,
    max_non_zeros: int | None = None,
    max_token_milliseconds: float | None = None,
    evidence: int = 0,
    board: Path | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    space: Space = Space(),  # noqa: B008
    spectrum: SpectrumSettings = SpectrumSettings(),  # noqa: B008
    text: DataSettings = DataSettings(),  # noqa: B008
    running: RunningSettings = RunningSettings(),  # noqa: B008
) -> None:
    """Finds a sparse recurrent language model for a text by Lyapunov-spectrum-based hyperpruning.

    Args:
        data: folder with train, valid and test text; without it a text of known entropy is made.
        output: folder for the study; one that holds this study already is gone on with.
        sparsity: share of all weight matrices to remove, in [0, 1).
        candidates: how many ways to prune are tried.
        score: what decides at a rung: `rank_mean`, the mean of the ranks by validation loss and by
            distance of spectra (the default), `loss`, `lyapunov` and its kin, `training_losses`,
            `extrapolation`, or `surrogate`, a model of the configuration; `a+b` for the mean of
            the ranks by several, `module:function` for one of your own.
        rounds: who is compared when: eliminations from a third of the schedule (the default), the
            same with insertion of candidates near the best, or a rival.
        rungs: when they are compared and how many go on, where the rounds leave it open.
        preset: `lsh2022` for the published rounds, score and spectrum.
        seed: of everything random.
        sampler: who proposes candidates: `bayesian`, `random`, `grid`, or one of Optuna's, such as
            `optuna_tpe`, where Optuna is installed.
        seeds: trainings of every candidate with other seeds, judged by their mean.
        ahead: candidates in training at once while proposals are made.
        max_non_zeros: a candidate with more connections is ranked behind all others.
        max_token_milliseconds: likewise one that takes longer for a token on this machine, one
            sequence at a time. A measured time is never quite the same, so neither is such a study.
        evidence: how many stopped candidates are trained to the end after the search, to see what
            each score was worth.
        board: folder for TensorBoard, where it is installed: a run for each trial.
        recipe: model and training.
        space: what is searched over.
        spectrum: which spectrum is taken of a candidate.
        text: how the text becomes tokens.
        running: where trials run and what they may spend.
    """
    options = dict(locals())
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}")
    if max_token_milliseconds is not None and not 0 < max_token_milliseconds < math.inf:
        raise ValueError(
            f"max_token_milliseconds must be positive and finite, got {max_token_milliseconds}"
        )
    counts = {"candidates": 1, "seed": 0, "seeds": 1, "ahead": 1, "evidence": 0, "max_non_zeros": 1}
    for name, least in counts.items():
        if options[name] is not None and options[name] < least:
            raise ValueError(f"{name} must be at least {least}, got {options[name]}")
    if preset is not None:
        _refuse_beside_preset(preset, score=score, rounds=rounds, rungs=rungs)
        spectrum = replace(spectrum, reference=preset)
    _refuse_ignored(spectrum)
    score = score or ("lyapunov" if preset else "rank_mean")
    scores = recorded_scores(score)
    proposer = make_sampler(sampler)
    compared = (
        Elimination.lsh2022(recipe.total_epochs)
        if preset
        else make_rounds(rounds or "elimination", recipe.total_epochs, rungs)
    )
    check_running(running)
    shown = None if board is None else Board(board)
    settings = runner_settings(
        data=data,
        text=text,
        recipe=recipe,
        density=1 - sparsity,
        folder=output / "trials",
        spectrum=spectrum,
        device=running.device,
    )
    runner = make_runner(settings)
    corpus = runner.corpus
    if not (output / CONFIGURATION).exists():
        runner.refuse(space)
    output.mkdir(parents=True, exist_ok=True)
    with Store(output / STORE) as store, Progress() as progress:
        study = Study(
            store=store,
            space=space,
            sampler=proposer,
            rounds=compared,
            executor=make_executor(running, settings, progress.on_step),
            distance=spectrum_distance,
            candidates=candidates,
            seed=seed,
            score=score,
            scores=scores,
            ahead=ahead,
            seeds=seeds,
            constraints=tuple(
                Constraint(name=name, at_most=most)
                for name, most in (
                    ("non_zeros", max_non_zeros),
                    ("token_milliseconds", max_token_milliseconds),
                )
                if most is not None
            ),
            settings={
                "data": {"name": corpus.name, "hash": corpus.hash, **asdict(text)},
                "recipe": recipe.to_dict(),
                "sparsity": sparsity,
                "spectrum": asdict(spectrum),
            },
            versions=_versions(),
        )
        introduction = _introduction(corpus.name, len(corpus.train), len(corpus.vocabulary), study)
        warning = start_warning(space.extremes(), 1 - sparsity, score)
        heard: list[Callable[[Event], None]] = [progress.on_event]
        if shown is not None:
            heard.append(partial(shown.on_event, store))

        def on_event(event: Event) -> None:
            if isinstance(event, StudyStarted):  # so it is the study that the store holds
                keep_options(options, output / CONFIGURATION, without=("output", "evidence"))
                progress.recall(store)
                if not store.finished:
                    progress.say(introduction)
                    if warning:
                        progress.say(f"Warning: {warning}")
            for hear in heard:
                hear(event)

        limits = Limits(epochs=running.max_epochs, seconds=running.max_seconds)
        progress.expect(*_planned(study), limits)
        try:
            study.run(on_event, limits=limits, retries=running.retries)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}; name another --output for another study") from None
        if not store.finished:
            return
        if evidence:
            progress.expect(None, False, limits)
            progress.say(f"Training {evidence} stopped candidates to the end, for evidence.")
            found = study.gather_evidence(
                evidence, on_event, limits=limits, retries=running.retries
            )
        progress.say("Measuring the dense network and the one found.")
        finished = finish_study(store, runner, output)
    print(finished.text())
    if evidence:
        print(f"\n{evidence_text(found)}")


def _refuse_beside_preset(
    preset: str, *, score: str | None, rounds: str | None, rungs: RungSettings
) -> None:
    """Refuses what a preset says otherwise."""
    given = {"rounds": rounds, **{f"rungs.{name}": value for name, value in rungs.said.items()}}
    given["score"] = None if score == "lyapunov" else score
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{name} must be left to the preset {preset}, which is the published search, got "
                f"{value}"
            )


def _refuse_ignored(spectrum: SpectrumSettings) -> None:
    """Refuses settings that the published spectrum does not read."""
    if spectrum.reference is None:
        return
    default = SpectrumSettings(reference=spectrum.reference, sequences=spectrum.sequences)
    for name, value in asdict(spectrum).items():
        if value != getattr(default, name):
            raise ValueError(
                f"spectrum.{name} must be left to {spectrum.reference}, which fixes it, got {value}"
            )


def _introduction(name: str, tokens: int, types: int, study: Study) -> str:
    plan = study.rounds.plan(study.candidates)
    rungs = ", ".join(f"{rung.entering} → {rung.kept} after epoch {rung.epoch}" for rung in plan)
    return (
        f"{name}: {tokens:,} training tokens, {types:,} types. "
        f"{study.candidates} candidates, {study.rounds.total} epochs at most"
        f"{': ' + rungs if rungs else ''}."
    )


def _planned(study: Study) -> tuple[int, bool]:
    """The epochs that a study takes if no trial is lost, and whether it cannot take fewer."""
    total, left, reached, spent, entered = study.rounds.total, 0, 0, 0, 0
    plan = study.rounds.plan(study.candidates)
    for rung in plan:
        if rung.epoch <= reached:  # another bracket of Hyperband begins
            spent, left, reached = spent + left * (total - reached), 0, 0
        new = rung.entering - left
        spent += left * (rung.epoch - reached) + new * rung.epoch
        left, reached, entered = rung.kept, rung.epoch, entered + new
    spent += left * (total - reached) + max(0, study.candidates - entered) * total
    return total + study.seeds * spent, bool(plan)


def _versions() -> dict[str, str]:
    return {
        "lsh_native": version("lsh-native"),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
