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
from lsh_native.cli.options import keep_options
from lsh_native.cli.progress import Progress
from lsh_native.cli.setup import (
    RunningSettings,
    make_executor,
    make_rounds,
    make_runner,
    make_sampler,
    runner_settings,
)
from lsh_native.report.evidence import evidence_text
from lsh_native.report.finish import finish_study
from lsh_native.search.coordinator import Limits
from lsh_native.search.errors import ConfigurationError
from lsh_native.search.events import Event, StudyStarted
from lsh_native.search.race import Constraint
from lsh_native.search.rounds import Elimination
from lsh_native.search.score import RECORDED, SCORES
from lsh_native.search.space import Space
from lsh_native.search.spectral import spectrum_distance
from lsh_native.search.store import Store
from lsh_native.search.study import Study
from lsh_native.search.training_runner import SpectrumSettings
from lsh_native.training import Recipe

__all__ = ["CONFIGURATION", "STORE", "search"]

STORE = "study.db"
CONFIGURATION = "configuration.json"


def search(
    data: Path | None = None,
    output: Path = Path("lsh-study"),
    sparsity: float = 0.67,
    candidates: int = 6,
    score: str | None = None,
    rounds: Literal["elimination", "insertion", "halving", "asha", "hyperband", "full"]
    | None = None,
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
            `extrapolation`, or `surrogate`, a model of the configuration.
        rounds: who is compared when: eliminations from a third of the schedule (the default), the
            same with insertion of candidates near the best, or a rival.
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
    if evidence < 0:
        raise ValueError(f"evidence must be at least 0, got {evidence}")
    if preset == "lsh2022":
        spectrum = replace(spectrum, reference="lsh2022")
    score = score or ("lyapunov" if preset else "rank_mean")
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
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
    if not (output / STORE).exists():
        runner.refuse(space)
    output.mkdir(parents=True, exist_ok=True)
    published = Elimination.lsh2022(recipe.epochs) if preset else None
    with Store(output / STORE) as store, Progress() as progress:
        study = Study(
            store=store,
            space=space,
            sampler=make_sampler(sampler),
            rounds=published or make_rounds(rounds or "elimination", recipe.epochs),
            executor=make_executor(running, settings, progress.on_step),
            distance=spectrum_distance,
            candidates=candidates,
            seed=seed,
            score=score,
            scores={name: SCORES[name] for name in dict.fromkeys((*RECORDED, score))},
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
        keep_options(options, output / CONFIGURATION, without=("output", "evidence"))
        introduction = _introduction(corpus.name, len(corpus.train), len(corpus.vocabulary), study)
        heard: list[Callable[[Event], None]] = [progress.on_event]
        if shown is not None:
            heard.append(partial(shown.on_event, store))

        def on_event(event: Event) -> None:
            if isinstance(event, StudyStarted):
                progress.recall(store)
                if not store.finished:
                    progress.say(introduction)
            for hear in heard:
                hear(event)

        limits = Limits(epochs=running.max_epochs, seconds=running.max_seconds)
        try:
            study.run(on_event, limits=limits, retries=running.retries)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}; name another --output for another study") from None
        if not store.finished:
            return
        if evidence:
            progress.say(f"Training {evidence} stopped candidates to the end, for evidence.")
            found = study.gather_evidence(
                evidence, on_event, limits=limits, retries=running.retries
            )
        progress.say("Measuring the dense network and the one found.")
        finished = finish_study(store, runner, output)
    print(finished.text())
    if evidence:
        print(f"\n{evidence_text(found)}")


def _introduction(name: str, tokens: int, types: int, study: Study) -> str:
    plan = study.rounds.plan(study.candidates)
    rungs = ", ".join(f"{rung.entering} → {rung.kept} after epoch {rung.epoch}" for rung in plan)
    return (
        f"{name}: {tokens:,} training tokens, {types:,} types. "
        f"{study.candidates} candidates, {study.rounds.total} epochs at most"
        f"{': ' + rungs if rungs else ''}."
    )


def _versions() -> dict[str, str]:
    return {
        "lsh_native": version("lsh-native"),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
