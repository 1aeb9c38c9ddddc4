"""Heartbeats of workers, and the timeouts by which a hung one is known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lsh_native.search.executors.job import Message, Stepped
from lsh_native.search.trial import Trial

Steps = Callable[[Trial, int, int, int, float], None]

# Seconds in which a worker must be up: it loads torch, and perhaps a text.
_START = 600.0


@dataclass(kw_only=True)
class Heartbeat:
    """When a worker took a job up and was last heard of, by a clock that never jumps.

    Args:
        ready: Whether it has said that it works on the job, or on one before.
        began: When it took the job up; endless while the job waits for a place.
        heard: When it was last heard of.
    """

    ready: bool = False
    began: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)

    @classmethod
    def none(cls) -> Heartbeat:
        """Return that of a job that waits for a place of its cluster, for as long as it takes."""
        return cls(began=math.inf, heard=math.inf)

    def note(self, *, started: bool = False) -> None:
        """Note that the worker was heard of, perhaps that it has now started."""
        self.heard = time.monotonic()
        self.began = min(self.began, self.heard)
        if started:
            self.ready, self.began = True, self.heard


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Limits of what a worker may take.

    Args:
        silence: Seconds without a sign of life after which it is taken for hung.
        time_limit: Seconds that a job may take at most.

    Raises:
        ValueError: If a limit is not above 0.
    """

    silence: float = 900.0
    time_limit: float | None = None

    def __post_init__(self) -> None:
        for name in ("silence", "time_limit"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0 seconds, got {value}")

    @property
    def pause(self) -> float:
        """Seconds after which it is time to look again."""
        return min(1.0, self.silence / 4, (self.time_limit or math.inf) / 4)

    def fault(self, heartbeat: Heartbeat) -> str | None:
        """Say why a job is given up, or None where it is waited for."""
        now = time.monotonic()
        if not heartbeat.ready:
            late = now - heartbeat.began > _START
            return f"its worker did not start within {_START:g} s" if late else None
        if now - heartbeat.heard > self.silence:
            return f"its worker gave no sign of life for {self.silence:g} s"
        if self.time_limit is not None and now - heartbeat.began > self.time_limit:
            return f"it took longer than the limit of {self.time_limit:g} s"
        return None


def tell_steps(send: Callable[[Message], None], pause: float) -> Steps:
    """Return a callback of training steps that tells one every `pause` seconds at most."""
    told = -math.inf

    def on_step(trial: Trial, epoch: int, step: int, steps: int, loss: float) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= pause:
            told = now
            send(Stepped(number=trial.number, epoch=epoch, step=step, steps=steps, loss=loss))

    return on_step
