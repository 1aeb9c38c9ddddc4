"""Trials in processes of their own on this machine: a crash, a kill or a hang costs one job."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import IO

from lsh_native.search.executors.heartbeat import Heartbeat, Timeouts
from lsh_native.search.executors.job import (
    Done,
    Faulted,
    Job,
    Message,
    RunnerSource,
    Send,
    Started,
    job_to_dict,
    message_from_dict,
)
from lsh_native.search.trial import State

_MODULE = "lsh_native.search.executors.worker"


def visible_devices(count: int) -> list[str]:
    """Return values of CUDA_VISIBLE_DEVICES for the GPUs that this process sees, one for each.

    Where the variable is set, they are the entries of its list, numbers or UUIDs: numbers from 0 on
    would be GPUs of somebody else.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(index) for index in range(count)]
    return [entry.strip() for entry in listed.split(",")][:count]


class Local:
    """Workers on this machine, started when they are needed; only JSON goes to and fro.

    Args:
        source: How a worker makes its runner.
        workers: How many; a GPU each where `devices` says so.
        threads: Threads a worker; by default the cores divided among them.
        devices: Values of CUDA_VISIBLE_DEVICES, handed out in turn.
        silence: Seconds without a sign of life after which a worker is taken for hung.
        time_limit: Seconds that a job may take at most.

    Raises:
        ValueError: If a number is below 1, or a limit not above 0.
    """

    def __init__(
        self,
        source: RunnerSource,
        *,
        workers: int,
        threads: int | None = None,
        devices: Sequence[str] = (),
        silence: float = 900.0,
        time_limit: float | None = None,
    ) -> None:
        if threads is None:
            threads = max(1, len(os.sched_getaffinity(0)) // max(workers, 1))
        for name, value in (("workers", workers), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self._source, self._threads, self._devices = source, threads, tuple(devices)
        self._timeouts = Timeouts(silence=silence, time_limit=time_limit)
        self._heard: queue.Queue[tuple[_Worker, Message | None]] = queue.Queue()
        self._idle: list[int] = list(range(workers))[::-1]
        self._workers: dict[int, _Worker] = {}

    @property
    def free(self) -> int:
        """See `Executor`."""
        return len(self._idle)

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        place = self._idle.pop()
        worker = self._workers.get(place)
        if worker is None:
            worker = self._workers[place] = self._start(place)
        worker.take(job)

    def work(self, send: Send) -> None:
        """See `Executor`."""
        try:
            worker, message = self._heard.get(timeout=self._timeouts.pause)
        except queue.Empty:
            pass
        else:
            self._hear(worker, message, send)
            while not self._heard.empty():
                self._hear(*self._heard.get(), send)
        self._end_the_hung(send)

    def finish(self, send: Send) -> None:
        """See `Executor`."""
        for worker in self._workers.values():
            worker.say({"stop": True})
        while any(worker.job is not None for worker in self._workers.values()):
            self.work(send)
        self.close()

    def close(self) -> None:
        """See `Executor`."""
        for worker in self._workers.values():
            worker.end()
        self._idle = sorted({*self._idle, *self._workers}, reverse=True)
        self._workers.clear()

    def _start(self, place: int) -> _Worker:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._threads)}
        if self._devices:
            environment["CUDA_VISIBLE_DEVICES"] = self._devices[place % len(self._devices)]
        return _Worker(place, self._source, self._threads, environment, self._heard)

    def _hear(self, worker: _Worker, message: Message | None, send: Send) -> None:
        if self._workers.get(worker.place) is not worker:
            return  # of a process that was given up
        worker.heartbeat.note(started=isinstance(message, Started))
        if message is None:
            self._bury(worker, *_cause(worker.end()), send)
            return
        if isinstance(message, Done | Faulted):
            worker.job = None
            self._idle.append(worker.place)
        send(message)

    def _end_the_hung(self, send: Send) -> None:
        for worker in list(self._workers.values()):
            reason = self._timeouts.fault(worker.heartbeat) if worker.job is not None else None
            if reason is not None:
                worker.end()
                self._bury(worker, State.FAILED, reason, send)

    def _bury(self, worker: _Worker, state: State, reason: str, send: Send) -> None:
        del self._workers[worker.place]
        job, worker.job = worker.job, None
        if job is not None:
            self._idle.append(worker.place)
            send(Faulted(number=job.trial.number, state=state, reason=reason, retry=True))


class _Worker:
    """A process, the job it does, and its heartbeat."""

    def __init__(
        self,
        place: int,
        source: RunnerSource,
        threads: int,
        environment: dict[str, str],
        heard: queue.Queue[tuple[_Worker, Message | None]],
    ) -> None:
        self.place = place
        self.job: Job | None = None
        self.heartbeat = Heartbeat()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE],  # not what lies in the current folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C is for the coordinator, who decides
        )
        self.say({"source": asdict(source), "threads": threads, "path": sys.path})
        assert self._process.stdout is not None
        arguments = (self._process.stdout, heard)
        threading.Thread(target=self._listen, args=arguments, daemon=True).start()

    def take(self, job: Job) -> None:
        """Hand a job over."""
        self.job = job
        self.heartbeat = Heartbeat(ready=self.heartbeat.ready)
        self.say(job_to_dict(job))

    def say(self, values: dict[str, object]) -> None:
        """Send a line; that the process is gone is noticed where it is listened to."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()

    def end(self) -> int:
        """Kill the process if it still runs, and return its exit status."""
        ended = self._process.poll()
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        return self._process.returncode if ended is None else ended

    def _listen(self, lines: IO[str], heard: queue.Queue[tuple[_Worker, Message | None]]) -> None:
        with lines:
            for line in lines:
                try:
                    message = message_from_dict(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    break  # a line that a kill cut short
                heard.put((self, message))
        self._process.wait()
        heard.put((self, None))


def _cause(status: int) -> tuple[State, str]:
    """Say what an exit status means for the trial."""
    if status == -signal.SIGKILL:
        return (
            State.OUT_OF_MEMORY,
            "its process was killed by signal 9, as the system does when memory runs out",
        )
    if status < 0:
        name = signal.Signals(-status).name if -status in signal.valid_signals() else -status
        return State.FAILED, f"its process crashed with {name}"
    return State.FAILED, f"its process ended with status {status}"
