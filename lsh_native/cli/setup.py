"""From the options of a command to the parts of a study: runner, rounds, sampler, executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lsh_native.cli.data import DataSettings, load_corpus
from lsh_native.search.executors.inline import Inline
from lsh_native.search.executors.job import Executor, RunnerSource
from lsh_native.search.executors.local import Local
from lsh_native.search.halving import ASHA, Halving, Hyperband
from lsh_native.search.race import Rounds
from lsh_native.search.rounds import Elimination
from lsh_native.search.sampler import BayesianSampler, GridSampler, RandomSampler, Sampler
from lsh_native.search.training_runner import SpectrumSettings, TrainingRunner
from lsh_native.search.trial import Trial
from lsh_native.training import Recipe

__all__ = [
    "ROUNDS",
    "SAMPLERS",
    "RunningSettings",
    "Steps",
    "make_executor",
    "make_rounds",
    "make_runner",
    "make_sampler",
    "runner_settings",
]

Steps = Callable[[Trial, int, int, int, float], None]

SAMPLERS: Mapping[str, Callable[[], Sampler]] = {
    "bayesian": BayesianSampler,
    "random": RandomSampler,
    "grid": GridSampler,
}

ROUNDS: Mapping[str, Callable[[int], Rounds]] = {
    "elimination": Elimination.spread,
    "insertion": lambda total: Elimination.spread(total, insertions=2),
    "halving": lambda total: Halving(total=total, first=_third(total)),
    "asha": lambda total: ASHA(total=total, first=_ninth(total)),
    "hyperband": lambda total: Hyperband(total=total, first=_ninth(total)),
    "full": Elimination.full,
}


@dataclass(frozen=True, kw_only=True)
class RunningSettings:
    """Where trials run; the result does not depend on it.

    Args:
        executor: `local` for processes on this machine, `inline` for this process, `ray` for a Ray
            cluster, `slurm` for jobs of a Slurm cluster.
        workers: trials at once; by default one a GPU, or one for every two cores.
        threads: threads a worker; the cores divided among them by default.
        device: `cpu` or `cuda`.
        silence: seconds without a sign of life after which a worker is taken for hung.
        time_limit: seconds that a trial may take from one rung to the next.
        retries: how often a trial whose process died is begun anew from its last epoch.
        address: of a running Ray cluster; without it one is started on this machine.
        max_epochs: epochs of training, all trials together, after which the study pauses.
        max_seconds: seconds after which the study pauses.
    """

    executor: Literal["local", "inline", "ray", "slurm"] = "local"
    workers: int | None = None
    threads: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    silence: float = 900.0
    time_limit: float | None = None
    retries: int = 2
    address: str | None = None
    max_epochs: int | None = None
    max_seconds: float | None = None


def make_sampler(name: str) -> Sampler:
    """Make a sampler by name.

    Raises:
        ValueError: there is none of that name, or what it needs is not installed.
    """
    if name.startswith("optuna_"):
        from lsh_native.search.optuna_sampler import OptunaSampler

        return OptunaSampler(name.removeprefix("optuna_"))
    if name not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)} or optuna_…, got {name!r}")
    return SAMPLERS[name]()


def make_rounds(name: str, total: int) -> Rounds:
    """Make rounds by name for a schedule of so many epochs."""
    return ROUNDS[name](total)


def make_runner(settings: Mapping[str, Any], on_step: Steps | None = None) -> TrainingRunner:
    """Make the runner of a study from plain values, here or in a worker."""
    data = settings["data"]
    return TrainingRunner(
        corpus=load_corpus(None if data is None else Path(data), DataSettings(**settings["text"])),
        recipe=Recipe(**settings["recipe"]),
        density=settings["density"],
        folder=Path(settings["folder"]),
        spectrum_settings=SpectrumSettings(**settings["spectrum"]),
        device=settings["device"],
        on_step=on_step,
    )


def runner_settings(
    *,
    data: Path | None,
    text: DataSettings,
    recipe: Recipe,
    density: float,
    folder: Path,
    spectrum: SpectrumSettings,
    device: str,
) -> dict[str, Any]:
    """Return what `make_runner` needs, as JSON values."""
    return {
        "data": None if data is None else str(data.resolve()),
        "text": asdict(text),
        "recipe": recipe.to_dict(),
        "density": density,
        "folder": str(folder.resolve()),
        "spectrum": asdict(spectrum),
        "device": device,
    }


def make_executor(
    running: RunningSettings, settings: Mapping[str, Any], on_step: Steps
) -> Executor:
    """Make the executor that the options ask for."""
    source = RunnerSource("lsh_native.cli.setup:make_runner", settings)
    if running.executor == "inline":
        if running.threads is not None:
            torch.set_num_threads(running.threads)
        return Inline(make_runner(settings, on_step))
    if running.executor == "ray":
        from lsh_native.search.executors.ray import RayCluster

        return RayCluster(
            source,
            address=running.address,
            threads=running.threads or 1,
            gpus=1.0 if running.device == "cuda" else 0.0,
            workers=running.workers,
        )
    if running.executor == "slurm":
        from lsh_native.search.executors.slurm import Slurm

        return Slurm(
            source,
            folder=Path(settings["folder"]).parent / "slurm",
            workers=running.workers or 4,
            threads=running.threads or 1,
            gpus=int(running.device == "cuda"),
        )
    gpus = torch.cuda.device_count() if running.device == "cuda" else 0
    cores = torch.get_num_threads()
    return Local(
        source,
        workers=running.workers or gpus or max(1, cores // 2),
        threads=running.threads,
        devices=[str(index) for index in range(gpus)],
        silence=running.silence,
        time_limit=running.time_limit,
    )


def _third(total: int) -> int:
    return max(1, -(-total // 3))


def _ninth(total: int) -> int:
    return max(1, -(-total // 9))
