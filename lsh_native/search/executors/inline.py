"""Trials in turn, in this process."""

from __future__ import annotations

from lsh_native.search.executors.job import Job, Send, perform
from lsh_native.search.trial import Runner


class Inline:
    """Does one job at a time when it is waited for; a fault of the program is raised.

    Args:
        runner: Who trains.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._job: Job | None = None

    @property
    def free(self) -> int:
        """See `Executor`."""
        return int(self._job is None)

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        self._job = job

    def work(self, send: Send) -> None:
        """See `Executor`."""
        job, self._job = self._job, None
        if job is not None:
            perform(self._runner, job, send)

    def finish(self, send: Send) -> None:
        """See `Executor`; nothing runs between two calls of `work`."""
        self._job = None

    def close(self) -> None:
        """See `Executor`."""
        self._job = None
