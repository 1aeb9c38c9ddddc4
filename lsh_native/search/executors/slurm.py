"""Trials as jobs of a Slurm cluster, by submitit, with checkpoints on its shared disk.

A job writes its messages as lines of JSON into a file that the coordinator follows; what submitit
pickles is a function of this module and text.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import submitit
import torch

from lsh_native.search.executors.heartbeat import Heartbeat, Timeouts, tell_steps
from lsh_native.search.executors.job import (
    Done,
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

# Steps are told so often at most, in seconds: each is a line on a shared disk.
_PAUSE = 5.0

# Slurm kills a cancelled job after 30 seconds, unless it is set up to wait longer.
_GRACE = 60.0

# Jobs that go on without the process that submitted them; those of `debug` do not.
_OUTLIVING = {"slurm": submitit.SlurmJob, "local": submitit.LocalJob}


@dataclass
class _Followed:
    """A job of the cluster, how far its messages have been read, and its heartbeat."""

    job: Job
    handle: Any
    path: Path
    read: int = 0
    heartbeat: Heartbeat = field(default_factory=Heartbeat.none)


class Slurm:
    """Does jobs on a Slurm cluster.

    A job goes on when its coordinator is killed, so its number is kept beside its messages: who
    goes on with the study ends it first, since two jobs must not write one checkpoint.

    Args:
        source: How a job makes its runner; its folder must lie on a disk that all nodes share.
        folder: For the files of submitit and the messages, on the same disk.
        workers: Jobs at once.
        threads: CPUs a job.
        gpus: GPUs a job.
        cluster: `local` or `debug` of submitit instead of Slurm.
        silence: Seconds without a sign of life after which a job is taken for hung.
        time_limit: Seconds that a job may take at most; none of those it waits in the queue.
        parameters: More for submitit, such as `slurm_partition` or `timeout_min`.

    Raises:
        ValueError: If a limit is not above 0.
    """

    def __init__(
        self,
        source: RunnerSource,
        *,
        folder: Path,
        workers: int,
        threads: int = 1,
        gpus: int = 0,
        cluster: str | None = None,
        silence: float = 900.0,
        time_limit: float | None = None,
        **parameters: Any,
    ) -> None:
        self._source, self._folder, self._places = source, folder, workers
        self._timeouts = Timeouts(silence=silence, time_limit=time_limit)
        folder.mkdir(parents=True, exist_ok=True)
        self._cluster = submitit.AutoExecutor(folder=folder, cluster=cluster)
        parameters = {"name": "lsh", "timeout_min": 24 * 60, **parameters}
        self._cluster.update_parameters(cpus_per_task=threads, gpus_per_node=gpus, **parameters)
        self._threads = threads
        self._running: list[_Followed] = []
        self._count: int | None = None

    @property
    def free(self) -> int:
        """See `Executor`."""
        return self._places - len(self._running)

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        if self._count is None:  # not before: only now the study is surely ours
            self._end_left_behind()
        self._count = (self._count or 0) + 1
        path = self._folder / f"messages-{time.time_ns()}-{self._count}.jsonl"
        handle = self._cluster.submit(
            run_job,
            json.dumps(asdict(self._source)),
            json.dumps(job_to_dict(job)),
            str(path),
            self._threads,
        )
        path.with_suffix(".job").write_text(str(handle.job_id), encoding="utf-8")
        self._running.append(_Followed(job=job, handle=handle, path=path))

    def work(self, send: Send) -> None:
        """See `Executor`."""
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            if any([self._follow(followed, send) for followed in list(self._running)]):
                return
            time.sleep(0.05)

    def finish(self, send: Send) -> None:
        """See `Executor`; an epoch in flight is given up."""
        for followed in self._running:
            followed.handle.cancel(check=False)
        for followed in self._running:
            number = followed.job.trial.number
            end: Message = Faulted(number=number, state=State.WAITING, reason="interrupted")
            for message in self._lines(followed):
                if isinstance(message, Done | Faulted):
                    end = message
                else:
                    send(message)
            send(end)
        self.close()

    def close(self) -> None:
        """See `Executor`; jobs that are slow to end are waited for when the study goes on."""
        for followed in self._running:
            followed.handle.cancel(check=False)
            if followed.handle.done():
                _forget(followed.path)
        self._running.clear()
        self._count = None

    def _end_left_behind(self) -> None:
        """End the jobs of an earlier coordinator; what they trained is in their checkpoints."""
        kind = _OUTLIVING.get(self._cluster.cluster)
        kept = sorted(self._folder.glob("messages-*.job"))
        left = [kind(self._folder, path.read_text(encoding="utf-8")) for path in kept if kind]
        for handle in left:
            handle.cancel(check=False)
        for handle in left:
            _end(handle)
        for path in self._folder.glob("messages-*"):
            path.unlink()

    def _follow(self, followed: _Followed, send: Send) -> bool:
        """Tell what a job has written since, or that it hangs; return whether there was any."""
        ended = followed.handle.done()  # before the file is read, so nothing is missed
        heard = False
        if math.isinf(followed.heartbeat.began) and followed.path.exists():
            followed.heartbeat.note()  # it has left the queue
        for message in self._lines(followed):
            heard = True
            followed.heartbeat.note(started=isinstance(message, Started))
            if isinstance(message, Done | Faulted):
                self._running.remove(followed)
                followed.handle.wait()
                _forget(followed.path)
                send(message)
                return True
            send(message)
        if heard:
            return True
        if ended:
            reason = f"its job ended as {followed.handle.state}"
        elif (hung := self._timeouts.fault(followed.heartbeat)) is not None:
            _end(followed.handle)
            reason = hung
        else:
            return False
        self._running.remove(followed)
        _forget(followed.path)
        number = followed.job.trial.number
        send(Faulted(number=number, state=State.FAILED, reason=reason, retry=True))
        return True

    def _lines(self, followed: _Followed) -> list[Message]:
        if not followed.path.exists():
            return []
        with followed.path.open("rb") as file:
            file.seek(followed.read)
            whole, _, _ = file.read().rpartition(b"\n")
        if not whole:
            return []
        followed.read += len(whole) + 1
        return [message_from_dict(json.loads(line)) for line in whole.split(b"\n")]


def _end(handle: Any) -> None:
    """Cancel a job and wait until it writes no more."""
    handle.cancel(check=False)
    deadline = time.monotonic() + _GRACE
    while not handle.done(force_check=True) and time.monotonic() < deadline:
        time.sleep(0.5)


def _forget(path: Path) -> None:
    """Remove the messages of a job that has ended, and its number."""
    path.unlink(missing_ok=True)
    path.with_suffix(".job").unlink(missing_ok=True)


def run_job(source: str, values: str, path: str, threads: int) -> None:
    """Do a job on a node of the cluster; every message goes to the end of a file."""
    torch.set_num_threads(threads)
    job = job_from_dict(json.loads(values))
    with Path(path).open("a", encoding="utf-8") as file:

        def send(message: Message) -> None:
            file.write(json.dumps(message_to_dict(message)) + "\n")
            file.flush()

        try:
            runner = RunnerSource(**json.loads(source)).make(tell_steps(send, _PAUSE))
            perform(runner, job, send)
        except Exception as error:  # of the program; the trial pays, the study goes on
            reason = f"{type(error).__name__}: {error}"
            send(Faulted(number=job.trial.number, state=State.FAILED, reason=reason))
