"""From the options of a command to the parts of a study: runner, rounds, sampler, executor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from lsh_native.cli.data import DataSettings, load_corpus
from lsh_native.cli.device import require_device
from lsh_native.search.executors.heartbeat import Steps, Timeouts
from lsh_native.search.executors.inline import Inline
from lsh_native.search.executors.job import Executor, RunnerSource
from lsh_native.search.executors.local import Local, visible_devices
from lsh_native.search.extras import require
from lsh_native.search.halving import ASHA, Halving, Hyperband
from lsh_native.search.rounds import Elimination, Full, Rounds
from lsh_native.search.sampler import BayesianSampler, GridSampler, RandomSampler, Sampler
from lsh_native.search.training_runner import SpectrumSettings, TrainingRunner
from lsh_native.training import Recipe

__all__ = [
    "ROUNDS",
    "SAMPLERS",
    "RungSettings",
    "RunningChanges",
    "RunningSettings",
    "check_running",
    "make_executor",
    "make_rounds",
    "make_runner",
    "make_sampler",
    "moved",
    "runner_settings",
]
ExecutorName = Literal["local", "inline", "ray", "slurm"]

SAMPLERS: Mapping[str, Callable[[], Sampler]] = {
    "bayesian": BayesianSampler,
    "random": RandomSampler,
    "grid": GridSampler,
}


@dataclass(frozen=True, kw_only=True)
class RungSettings:
    """When candidates are compared and how many go on; what is not said is the rounds' own.

    Args:
        first: epoch of the first comparison; by default a third of the schedule, a ninth for
            `asha` and `hyperband`.
        every: epochs from one elimination to the next; by default they are spread evenly over the
            rest. For `elimination` and `insertion`.
        survivors: share of the candidates that an elimination leaves, in (0, 1); by default
            ⌊n/2⌋ + 1 of n. For `elimination` and `insertion`.
        insertions: candidates that come near the best ones after each elimination but the last; 2
            by default. For `insertion`.
        eta: by which a rung has fewer candidates and more epochs than the one before; 3 by default.
            For `halving`, `asha` and `hyperband`.

    Raises:
        ValueError: a number is out of range.
    """

    first: int | None = None
    every: int | None = None
    survivors: float | None = None
    insertions: int | None = None
    eta: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("first", 1), ("every", 1), ("insertions", 1), ("eta", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"rungs.{name} must be at least {least}, got {value}")
        if self.survivors is not None and not 0 < self.survivors < 1:
            raise ValueError(f"rungs.survivors must be a share in (0, 1), got {self.survivors}")

    @property
    def said(self) -> dict[str, Any]:
        """The settings that were said."""
        return {name: value for name, value in asdict(self).items() if value is not None}


_RULE, _ETA = ("first", "every", "survivors"), ("first", "eta")
# What the rounds call a setting, where it is not by the same name.
_FIELDS = {"eta": "factor"}

ROUNDS: Mapping[str, tuple[Callable[..., Rounds], tuple[str, ...], int]] = {
    "elimination": (Elimination, _RULE, 3),
    "insertion": (partial(Elimination, insertions=2), (*_RULE, "insertions"), 3),
    "halving": (Halving, _ETA, 3),
    "asha": (ASHA, _ETA, 9),
    "hyperband": (Hyperband, _ETA, 9),
    "full": (Full, (), 0),
}
"""How rounds are made, which settings they read, and after which part of a schedule they begin."""


@dataclass(frozen=True, kw_only=True)
class RunningChanges:
    """Where trials run, as far as it is said; the result does not depend on it.

    Args:
        executor: `local` for processes on this machine, `inline` for this process, `ray` for a Ray
            cluster, `slurm` for jobs of a Slurm cluster.
        workers: trials at once. By default one a GPU, or as many as there are cores for their
            threads, eight at most: a trial on one thread goes on where another program takes a
            core, one on all of them waits for it. On a Ray cluster as many as it has room for,
            under Slurm four jobs.
        threads: threads a worker; by default the cores divided among them, of a cluster one.
        device: `cpu` or `cuda`.
        silence: seconds without a sign of life after which a worker is taken for hung.
        time_limit: seconds that a trial may take from one rung to the next.
        retries: how often a trial whose process died is begun anew from its last epoch.
        address: of a running Ray cluster; without it one is started on this machine.
        partition: of Slurm, in which jobs wait; its default without it.
        account: that Slurm charges; the user's default without it.
        job_minutes: after which Slurm ends a job, which trains to the next rung; a day by default.
        max_epochs: epochs of training, all trials together, after which the study pauses.
        max_seconds: seconds after which the study pauses.
    """

    executor: ExecutorName | None = None
    workers: int | None = None
    threads: int | None = None
    device: Literal["cpu", "cuda"] | None = None
    silence: float | None = None
    time_limit: float | None = None
    retries: int | None = None
    address: str | None = None
    partition: str | None = None
    account: str | None = None
    job_minutes: int | None = None
    max_epochs: int | None = None
    max_seconds: float | None = None

    @property
    def said(self) -> dict[str, Any]:
        """The settings that were said."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class RunningSettings(RunningChanges):
    """Where trials run; the result does not depend on it."""

    executor: ExecutorName = "local"
    device: Literal["cpu", "cuda"] = "cpu"
    silence: float = 900.0
    retries: int = 2


_BESIDE = ("local", "ray", "slurm")  # executors whose workers are processes of their own
_READERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("workers", "silence", "time_limit"), _BESIDE),
    "address": ("ray",),
    **dict.fromkeys(("partition", "account", "job_minutes"), ("slurm",)),
}
"""The executors that read a setting, where not all do."""


def moved(running: RunningSettings, executor: ExecutorName) -> RunningSettings:
    """The same settings on another executor, without those that it does not read."""
    on = replace(running, executor=executor)
    return replace(on, **{name: getattr(RunningSettings, name) for name in _ignored(on)})


def _ignored(running: RunningSettings) -> list[str]:
    """The settings that were said and that the executor does not read."""
    return [
        name
        for name, readers in _READERS.items()
        if running.executor not in readers
        and getattr(running, name) != getattr(RunningSettings, name)
    ]


def make_sampler(name: str) -> Sampler:
    """Make a sampler by name.

    Raises:
        ValueError: there is none of that name, or what it needs is not installed.
    """
    if name.startswith("optuna_"):
        require("optuna")
        from lsh_native.search.optuna_sampler import OptunaSampler

        return OptunaSampler(name.removeprefix("optuna_"))
    if name not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)} or optuna_…, got {name!r}")
    return SAMPLERS[name]()


def make_rounds(name: str, total: int, rungs: RungSettings) -> Rounds:
    """Make rounds by name for a schedule of so many epochs.

    Raises:
        ValueError: they do not read one of the settings, or it does not suit the schedule.
    """
    make, reads, part = ROUNDS[name]
    told = rungs.said
    if ignored := [setting for setting in told if setting not in reads]:
        readers = [each for each, (_, own, _) in ROUNDS.items() if ignored[0] in own]
        raise ValueError(
            f"rungs.{ignored[0]} must be left to rounds that read it ({', '.join(readers)}), got "
            f"it for {name}"
        )
    if "survivors" in told:
        told["survivors"] = _share(told["survivors"])
    if "first" in reads:
        told.setdefault("first", max(1, -(-total // part)))
    return make(total=total, **{_FIELDS.get(name, name): value for name, value in told.items()})


def _share(share: float) -> Callable[[int], int]:
    """The rule that leaves a share of the candidates, one at least."""

    def survivors(count: int) -> int:
        return max(1, math.floor(share * count + 1e-9))

    survivors.__name__ = f"share_{share:g}"  # by which a study knows it
    return survivors


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


def check_running(running: RunningSettings) -> None:
    """Refuse, before anything is written, where trials cannot run as they are to.

    Raises:
        ValueError: what the executor or the device needs is not there, a number is too small, or
            the executor does not read a setting.
    """
    if running.executor in ("ray", "slurm"):
        require(running.executor)
    if ignored := _ignored(running):
        raise ValueError(
            f"running.{ignored[0]} must be left to executors that read it "
            f"({', '.join(_READERS[ignored[0]])}), got it for {running.executor}"
        )
    require_device(running.device)  # where the network found is read, too, whoever trains
    for name in ("workers", "threads", "job_minutes"):
        count = getattr(running, name)
        if count is not None and count < 1:
            raise ValueError(f"running.{name} must be at least 1, got {count}")
    Timeouts(silence=running.silence, time_limit=running.time_limit)


# Without a word of the user: each holds a process with torch and a network.
_MOST_WORKERS = 8


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
            silence=running.silence,
            time_limit=running.time_limit,
        )
    if running.executor == "slurm":
        from lsh_native.search.executors.slurm import Slurm

        return Slurm(
            source,
            folder=Path(settings["folder"]).parent / "slurm",
            workers=running.workers or 4,
            threads=running.threads or 1,
            gpus=int(running.device == "cuda"),
            silence=running.silence,
            time_limit=running.time_limit,
            **_of_slurm(running),
        )
    gpus = torch.cuda.device_count() if running.device == "cuda" else 0
    cores, threads = torch.get_num_threads(), running.threads or 1
    return Local(
        source,
        workers=running.workers or gpus or min(max(1, cores // threads), _MOST_WORKERS),
        threads=running.threads,
        devices=visible_devices(gpus),
        silence=running.silence,
        time_limit=running.time_limit,
    )


def _of_slurm(running: RunningSettings) -> dict[str, Any]:
    """What was said of a job's place, by submitit's names."""
    values = {
        "slurm_partition": running.partition,
        "slurm_account": running.account,
        "timeout_min": running.job_minutes,
    }
    return {name: value for name, value in values.items() if value is not None}
