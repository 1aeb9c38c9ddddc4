"""Trials on a Ray cluster: metrics, spectra and checkpoints come back to the one coordinator.

A worker keeps nothing that matters, so a trial of a lost node goes on elsewhere from its last
epoch. Tasks carry JSON and the bytes of a checkpoint. Ray runs what anybody who reaches its ports
sends, so a cluster started here has no dashboard and asks for a token.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from lsh_native.search.executors.job import (
    Done,
    EpochMeasured,
    Faulted,
    Job,
    Message,
    RunnerSource,
    Send,
    Stepped,
    job_from_dict,
    job_to_dict,
    message_from_dict,
    message_to_dict,
    perform,
)
from lsh_native.search.trial import State
from lsh_native.training import replace_file

if "ray" not in sys.modules:  # Ray reads it once, when it is loaded
    os.environ.setdefault("RAY_AUTH_MODE", "token")
import ray

_LOG = logging.getLogger(__name__)


class RayCluster:
    """Does jobs as tasks of a Ray cluster; CPUs and GPUs are its resources.

    Args:
        source: How a worker makes its runner. The settings must hold a `folder`, where the
            coordinator keeps the checkpoints; a worker is given another one of its own.
        address: Of a running cluster; without it one is started on this machine.
        threads: CPUs a trial.
        gpus: GPUs a trial; fractions share one.
        workers: Trials at once; as many as the cluster has room for by default.
    """

    def __init__(
        self,
        source: RunnerSource,
        *,
        address: str | None = None,
        threads: int = 1,
        gpus: float = 0.0,
        workers: int | None = None,
    ) -> None:
        self._source, self._threads = source, threads
        self._folder = Path(source.settings["folder"])
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray would hide the GPUs of tasks that ask for none, and warns that it will stop doing so.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._own = not ray.is_initialized()
        if self._own:
            _connect(address)
        room = ray.cluster_resources()
        fits = int(room.get("CPU", 0) // threads)
        if gpus:
            fits = min(fits, int(room.get("GPU", 0) / gpus))
        self._places = workers or max(1, fits)
        self._task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(_work)
        self._running: dict[Any, Job] = {}

    @property
    def free(self) -> int:
        """See `Executor`."""
        return self._places - len(self._running)

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        path = self._checkpoint(job.trial.number)
        checkpoint = path.read_bytes() if path.exists() else None
        source, values = json.dumps(asdict(self._source)), json.dumps(job_to_dict(job))
        self._running[self._task.remote(source, values, checkpoint, self._threads)] = job

    def work(self, send: Send) -> None:
        """See `Executor`."""
        ready, _ = ray.wait(list(self._running), timeout=1.0, fetch_local=False)
        for answers in ready:
            try:
                text, checkpoint = ray.get(next(answers))
            except StopIteration:
                self._end(answers, None, send)
            except (ray.exceptions.RayError, OSError) as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                self._end(answers, f"its node or process was lost: {reason}", send)
            else:
                self._hear(answers, message_from_dict(json.loads(text)), checkpoint, send)

    def finish(self, send: Send) -> None:
        """See `Executor`; a task cannot be asked to stop, so its epoch in flight is given up."""
        self.close()

    def close(self) -> None:
        """See `Executor`."""
        for answers in self._running:
            ray.cancel(answers, force=True)
        self._running.clear()
        if self._own and ray.is_initialized():
            ray.shutdown()

    def _hear(self, answers: Any, message: Message, checkpoint: bytes | None, send: Send) -> None:
        if checkpoint is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._checkpoint(message.number), checkpoint)
        if isinstance(message, Done | Faulted):
            self._running.pop(answers, None)
        send(message)

    def _end(self, answers: Any, reason: str | None, send: Send) -> None:
        job = self._running.pop(answers, None)
        if job is not None:
            reason = reason or "its task ended without a word"
            number = job.trial.number
            send(Faulted(number=number, state=State.FAILED, reason=reason, retry=True))

    def _checkpoint(self, number: int) -> Path:
        return self._folder / f"{number:04d}.safetensors"


def _connect(address: str | None) -> None:
    """Join a cluster, or start one on this machine."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        if os.environ.get("RAY_AUTH_MODE") == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray.init(include_dashboard=False, **options)
        return
    if os.environ.get("RAY_AUTH_MODE") != "token":
        _LOG.warning(
            "The Ray cluster at %s is joined without a token: whoever reaches its ports can run "
            "code on it. Start it with RAY_AUTH_MODE=token and set that here too.",
            address,
        )
    ray.init(address=address, **options)


def _work(
    source: str, values: str, checkpoint: bytes | None, threads: int
) -> Iterator[tuple[str, bytes | None]]:
    """Do a job in a worker; yield messages as JSON, that of an epoch with its checkpoint."""
    torch.set_num_threads(threads)
    job = job_from_dict(json.loads(values))
    made = RunnerSource(**json.loads(source))
    with tempfile.TemporaryDirectory(prefix="lsh-") as folder:
        path = Path(folder) / f"{job.trial.number:04d}.safetensors"
        if checkpoint is not None:
            path.write_bytes(checkpoint)
        told: queue.Queue[tuple[str, bytes | None] | None] = queue.Queue()

        def send(message: Message) -> None:
            data = path.read_bytes() if isinstance(message, EpochMeasured) else None
            told.put((json.dumps(message_to_dict(message)), data))

        def run() -> None:
            number = job.trial.number
            try:
                moved = replace(made, settings={**made.settings, "folder": folder})
                runner = moved.make(
                    lambda trial, epoch, step, steps, loss: (
                        send(Stepped(number=number, epoch=epoch, step=step, steps=steps, loss=loss))
                        if step % max(1, steps // 4) == 0
                        else None
                    )
                )
                perform(runner, job, send)
            except Exception as error:  # of the program; the trial pays, the study goes on
                reason = f"{type(error).__name__}: {error}"
                send(Faulted(number=number, state=State.FAILED, reason=reason))
            finally:
                told.put(None)

        threading.Thread(target=run, daemon=True).start()
        while (answer := told.get()) is not None:  # Ray cannot drive a delegated generator
            yield answer
