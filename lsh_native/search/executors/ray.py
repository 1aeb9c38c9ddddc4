"""Trials on a Ray cluster: metrics, spectra and checkpoints come back to the one coordinator.

A worker keeps nothing that matters, so a trial of a lost node goes on elsewhere from its last
epoch. Tasks carry JSON and the bytes of a checkpoint. Ray runs what anybody who reaches its ports
sends, so a cluster started here listens on this machine alone, has no dashboard and asks for a
token.
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
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from lsh_native.search.executors.heartbeat import Heartbeat, Timeouts, tell_steps
from lsh_native.search.executors.job import (
    Done,
    EpochMeasured,
    Faulted,
    Job,
    Message,
    RunnerSource,
    Send,
    Started,
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
# Ray that was loaded before, without it, asks for tokens of its own in `ray.init`, if at all.
_TOKENS = os.environ.get("RAY_AUTH_MODE") == "token"
import ray  # noqa: E402

_LOG = logging.getLogger(__name__)

# Steps are told so often at most, in seconds: each is a message through the cluster.
_PAUSE = 1.0

# Without it, and its constant, Ray takes for its node an address that others can reach.
_CLUSTER = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@dataclass
class _Task:
    """A job on the cluster, and its heartbeat; none while it waits for a place."""

    job: Job
    heartbeat: Heartbeat = field(default_factory=Heartbeat.none)


class RayCluster:
    """Does jobs as tasks of a Ray cluster; CPUs and GPUs are its resources.

    Closed and used again, it joins or starts a cluster anew, with the same settings.

    Args:
        source: How a worker makes its runner. The settings must hold a `folder`, where the
            coordinator keeps the checkpoints; a worker is given another one of its own.
        address: Of a running cluster; without it one is started on this machine.
        threads: CPUs a trial.
        gpus: GPUs a trial; fractions share one.
        workers: Trials at once; as many as the cluster has room for by default.
        silence: Seconds without a sign of life after which a worker is taken for hung.
        time_limit: Seconds that a job may take at most; none of those it waits for a place.

    Raises:
        ValueError: If a limit is not above 0.
        ConnectionError: If there is no cluster at the address; or without one, if this Ray has
            no way known here to start one that listens on this machine alone.
    """

    def __init__(
        self,
        source: RunnerSource,
        *,
        address: str | None = None,
        threads: int = 1,
        gpus: float = 0.0,
        workers: int | None = None,
        silence: float = 900.0,
        time_limit: float | None = None,
    ) -> None:
        self._source, self._address = source, address
        self._threads, self._gpus, self._workers = threads, gpus, workers
        self._timeouts = Timeouts(silence=silence, time_limit=time_limit)
        self._folder = Path(source.settings["folder"])
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray would hide the GPUs of tasks that ask for none, and warns that it will stop doing so.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._running: dict[Any, _Task] = {}
        self._work: Any = None
        self._open()

    @property
    def free(self) -> int:
        """See `Executor`."""
        self._open()
        return self._places - len(self._running)

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        path = self._checkpoint(job.trial.number)
        checkpoint = path.read_bytes() if path.exists() else None
        source, values = json.dumps(asdict(self._source)), json.dumps(job_to_dict(job))
        answers = self._work.remote(source, values, checkpoint, self._threads)
        self._running[answers] = _Task(job=job)

    def work(self, send: Send) -> None:
        """See `Executor`."""
        ready = self._ready(self._timeouts.pause)
        while ready:  # all there is, before anybody is taken for hung
            for answers in ready:
                self._read(answers, send)
            ready = self._ready(0)
        for answers, task in list(self._running.items()):
            if (hung := self._timeouts.fault(task.heartbeat)) is not None:
                ray.cancel(answers, force=True)
                self._end(answers, hung, send)

    def finish(self, send: Send) -> None:
        """See `Executor`; a task cannot be asked to stop, so its epoch in flight is given up."""
        self.close()

    def close(self) -> None:
        """See `Executor`."""
        for answers in self._running:
            ray.cancel(answers, force=True)
        self._running.clear()
        self._work = None
        if self._own and ray.is_initialized():
            ray.shutdown()

    def _open(self) -> None:
        """Join or start a cluster and see how many places it has, unless that is done."""
        if self._work is not None:
            return
        self._own = not ray.is_initialized()
        if self._own:
            _connect(self._address)
        room = ray.cluster_resources()
        fits = int(room.get("CPU", 0) // self._threads)
        if self._gpus:
            fits = min(fits, int(room.get("GPU", 0) / self._gpus))
        self._places = self._workers or max(1, fits)
        remote = ray.remote(num_cpus=self._threads, num_gpus=self._gpus, max_retries=0)
        self._work = remote(_work)

    def _ready(self, timeout: float) -> list[Any]:
        """Return the tasks that have something to tell, one at least unless the time is up."""
        tasks: list[Any] = list(self._running)
        if not tasks:
            return []
        count = 1 if timeout else len(tasks)
        ready: list[Any]
        ready, _ = ray.wait(tasks, num_returns=count, timeout=timeout, fetch_local=False)
        return ready

    def _read(self, answers: Any, send: Send) -> None:
        """Take the next message of a task, or its end."""
        try:
            text, checkpoint = ray.get(next(answers))
        except StopIteration:
            self._end(answers, None, send)
        except (ray.exceptions.RayError, OSError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            self._end(answers, f"its node or process was lost: {reason}", send)
        else:
            self._running[answers].heartbeat.note()
            if text:
                self._hear(answers, message_from_dict(json.loads(text)), checkpoint, send)

    def _hear(self, answers: Any, message: Message, checkpoint: bytes | None, send: Send) -> None:
        if isinstance(message, Started):
            self._running[answers].heartbeat.note(started=True)
        if checkpoint is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._checkpoint(message.number), checkpoint)
        if isinstance(message, Done | Faulted):
            self._running.pop(answers, None)
        send(message)

    def _end(self, answers: Any, reason: str | None, send: Send) -> None:
        task = self._running.pop(answers, None)
        if task is not None:
            reason = reason or "its task ended without a word"
            number = task.job.trial.number
            send(Faulted(number=number, state=State.FAILED, reason=reason, retry=True))

    def _checkpoint(self, number: int) -> Path:
        return self._folder / f"{number:04d}.safetensors"


def _connect(address: str | None) -> None:
    """Join a cluster, or start one on this machine."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        if _TOKENS:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with _on_this_machine():
            ray.init(include_dashboard=False, **options)
        return
    if os.environ.get("RAY_AUTH_MODE") != "token":
        _LOG.warning(
            "The Ray cluster at %s is joined without a token: whoever reaches its ports can run "
            "code on it. Start it with RAY_AUTH_MODE=token and set that here too.",
            address,
        )
    ray.init(address=address, **options)


@contextmanager
def _on_this_machine() -> Iterator[None]:
    """A cluster that is started meanwhile listens on the loopback address alone.

    Ray has no option for it: `_node_ip_address="127.0.0.1"` is replaced by an address that others
    can reach. It does so for its users of macOS, by a switch that holds on Linux too.
    """
    constants, before = _constants(), os.environ.get(_CLUSTER)
    enabled, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    os.environ[_CLUSTER] = "0"
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = enabled
        del os.environ[_CLUSTER]
        if before is not None:
            os.environ[_CLUSTER] = before


def _constants() -> Any:
    """Where that switch is kept, which Ray does not promise to keep there."""
    constants = getattr(getattr(ray, "_private", None), "ray_constants", None)
    if not hasattr(constants, "ENABLE_RAY_CLUSTER"):
        raise ConnectionError(
            f"Ray {ray.__version__} cannot be kept to this machine; give the address of a cluster "
            "that runs, or install Ray 2.60, where it is known how"
        )
    return constants


def _work(
    source: str, values: str, checkpoint: bytes | None, threads: int
) -> Iterator[tuple[str, bytes | None]]:
    """Do a job in a worker; yield messages as JSON, that of an epoch with its checkpoint.

    The first has no text: the job has found a place.
    """
    yield "", None
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
            try:
                moved = replace(made, settings={**made.settings, "folder": folder})
                perform(moved.make(tell_steps(send, _PAUSE)), job, send)
            except Exception as error:  # of the program; the trial pays, the study goes on
                reason = f"{type(error).__name__}: {error}"
                send(Faulted(number=job.trial.number, state=State.FAILED, reason=reason))
            finally:
                told.put(None)

        threading.Thread(target=run, daemon=True).start()
        while (answer := told.get()) is not None:  # Ray cannot drive a delegated generator
            yield answer
