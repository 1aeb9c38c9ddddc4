"""A process that does jobs: one line of JSON in for each, a line of JSON out for each message.

It ends with its input, so no worker outlives its coordinator, however that ended.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import torch

from lsh_native.search.executors.heartbeat import tell_steps
from lsh_native.search.executors.job import (
    Faulted,
    Interrupted,
    Message,
    RunnerSource,
    job_from_dict,
    message_to_dict,
    perform,
)
from lsh_native.search.trial import Runner, State

# Steps are told so often at most, in seconds.
_PAUSE = 0.25


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints must not get between the answers
    lines = sys.stdin
    greeting = json.loads(lines.readline())
    sys.path[:0] = [path for path in greeting["path"] if path not in sys.path]
    torch.set_num_threads(greeting["threads"])
    stop = threading.Event()
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(lines, jobs, stop), daemon=True).start()
    serve(RunnerSource(**greeting["source"]), iter(jobs.get, None), _writer(answers), stop.is_set)


def serve(
    source: RunnerSource,
    jobs: Iterator[dict[str, Any]],
    send: Callable[[Message], None],
    stop: Callable[[], bool],
) -> None:
    """Do jobs one after the other; a fault of the program ends the job, not the process."""
    runner: Runner | None = None
    for values in jobs:
        job = job_from_dict(values)
        try:
            if runner is None:
                runner = source.make(tell_steps(send, _PAUSE))
            perform(runner, job, send, stop)
        except Interrupted:
            reason = "interrupted"
            send(Faulted(number=job.trial.number, state=State.WAITING, reason=reason))
        except Exception as error:  # of the program; the trial pays, the study goes on
            reason = f"{type(error).__name__}: {error}"
            send(Faulted(number=job.trial.number, state=State.FAILED, reason=reason))


def _read(lines: TextIO, jobs: queue.Queue[dict[str, Any]], stop: threading.Event) -> None:
    for line in lines:
        values = json.loads(line)
        if "stop" in values:
            stop.set()
        else:
            jobs.put(values)
    os._exit(0)


def _writer(answers: TextIO) -> Callable[[Message], None]:
    def send(message: Message) -> None:
        try:
            answers.write(json.dumps(message_to_dict(message)) + "\n")
            answers.flush()
        except BrokenPipeError:
            os._exit(0)

    return send


if __name__ == "__main__":
    main()
