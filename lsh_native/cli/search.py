"""`lsh-native search`: finds a sparse network for a text, from dense reference to report."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy
import torch

from lsh_native.cli.data import DataSettings, load_corpus
from lsh_native.cli.progress import Progress
from lsh_native.cli.threads import use_threads
from lsh_native.report.finish import finish_study
from lsh_native.search.rounds import Rounds
from lsh_native.search.sampler import BayesianSampler, GridSampler, RandomSampler, Sampler
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.study import Study
from lsh_native.search.training_runner import (
    SpectrumSettings,
    TrainingRunner,
    spectrum_distance,
)
from lsh_native.training import Recipe

__all__ = ["CONFIGURATION", "STORE", "search"]

STORE = "study.db"
CONFIGURATION = "configuration.json"

_SAMPLERS: dict[str, Sampler] = {
    "bayesian": BayesianSampler(),
    "random": RandomSampler(),
    "grid": GridSampler(),
}


def search(
    data: Path | None = None,
    output: Path = Path("lsh-study"),
    sparsity: float = 0.67,
    candidates: int = 6,
    score: Literal["rank_mean", "lyapunov", "loss"] | None = None,
    preset: Literal["lsh2022"] | None = None,
    seed: int = 0,
    sampler: Literal["bayesian", "random", "grid"] = "bayesian",
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    space: Space = Space(),  # noqa: B008
    spectrum: SpectrumSettings = SpectrumSettings(),  # noqa: B008
    text: DataSettings = DataSettings(),  # noqa: B008
    threads: int | None = None,
) -> None:
    """Finds a sparse LSTM language model for a text by Lyapunov-spectrum-based hyperpruning.

    Args:
        data: folder with train, valid and test text; without it a text of known entropy is made.
        output: folder for the study; one that holds this study already is gone on with.
        sparsity: share of all weight matrices to remove, in [0, 1).
        candidates: how many ways to prune are tried.
        score: what decides at an elimination: the mean of the ranks by validation loss and by
            distance of spectra (the default), or one of the two alone.
        preset: `lsh2022` for the published rounds, score and spectrum.
        seed: of everything random.
        sampler: who proposes candidates.
        recipe: model and training.
        space: what is searched over.
        spectrum: which spectrum is taken of a candidate.
        text: how the text becomes tokens.
        threads: threads to compute on; torch's choice by default.
    """
    options = dict(locals())
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}")
    use_threads(threads)
    if preset == "lsh2022":
        spectrum = replace(spectrum, reference="lsh2022")
    corpus = load_corpus(data, text)
    output.mkdir(parents=True, exist_ok=True)
    with Store(output / STORE) as store, Progress() as progress:
        runner = TrainingRunner(
            corpus=corpus,
            recipe=recipe,
            density=1 - sparsity,
            folder=output / "trials",
            spectrum_settings=spectrum,
            on_step=progress.on_step,
        )
        study = Study(
            store=store,
            space=space,
            sampler=_SAMPLERS[sampler],
            rounds=Rounds.lsh2022(recipe.epochs) if preset else Rounds.spread(recipe.epochs),
            runner=runner,
            distance=spectrum_distance,
            candidates=candidates,
            seed=seed,
            score=score or ("lyapunov" if preset else "rank_mean"),
            settings={
                "data": {"name": corpus.name, "hash": corpus.hash, **asdict(text)},
                "recipe": recipe.to_dict(),
                "sparsity": sparsity,
                "spectrum": asdict(spectrum),
            },
            versions=_versions(),
        )
        _keep_options(options, output / CONFIGURATION)
        progress.say(_introduction(corpus.name, len(corpus.train), len(corpus.vocabulary), study))
        study.run(progress.on_event)
        progress.say("Measuring the dense network and the one found.")
        finished = finish_study(store, runner, output)
    print(finished.text())


def _keep_options(options: dict[str, Any], path: Path) -> None:
    """Writes the options of a search beside its study, for `resume`, unless they are there."""
    if path.exists():
        return
    plain = {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in options.items()
    }
    plain |= {"data": options["data"] and str(options["data"].resolve())}
    del plain["output"]
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def _introduction(name: str, tokens: int, types: int, study: Study) -> str:
    plan = study.rounds.plan(study.candidates)
    rungs = ", ".join(f"{rung.entering} → {rung.kept} after epoch {rung.epoch}" for rung in plan)
    return (
        f"{name}: {tokens:,} training tokens, {types:,} types. "
        f"{study.candidates} candidates, {study.rounds.total} epochs at most: {rungs or 'no cut'}."
    )


def _versions() -> dict[str, str]:
    return {
        "lsh_native": version("lsh-native"),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
