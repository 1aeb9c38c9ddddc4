"""When a topology changes, and how much: drop fraction and density at each optimizer step."""

import math
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When and how much; this base says what holds where a schedule says nothing else.

    A step is an optimizer step, counted from 1.
    """

    def over(self, steps: int | None) -> Self:
        """The same schedule for a training of this many optimizer steps.

        Raises:
            ValueError: The number of steps is below 1, or it is None and the schedule needs it.
        """
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        return self

    def due(self, step: int) -> bool:
        """Whether the topology changes after this step."""
        return False

    def drop_fraction(self, step: int) -> float:
        """Share of the live connections to drop in an update after this step."""
        return 0.0

    def density(self, step: int, final: float) -> float:
        """Density to reach in an update after this step, when the last one to reach is `final`."""
        return final


@dataclass(frozen=True, kw_only=True)
class Never(Schedule):
    """The topology stays as it started."""


@dataclass(frozen=True, kw_only=True)
class Periodic(Schedule):
    """Change every so many steps after `begin` and before `until`.

    `begin` and `until` are moments: an int is a step, a float in [0, 1] a share of the training's
    steps, which `over` turns into a step.

    Args:
        every: Steps between updates.
        begin: Moment from which steps are counted; the first update comes `every` steps later.
        until: Moment at which the topology stops to change.

    Raises:
        ValueError: The interval or a moment is out of range.
    """

    every: int
    begin: int | float = 0
    until: int | float = 1.0

    def __post_init__(self) -> None:
        if type(self.every) is not int or self.every < 1:
            raise ValueError(f"every must be an int of at least 1 step, got {self.every!r}")
        for name, moment in (("begin", self.begin), ("until", self.until)):
            step, share = type(moment) is int, type(moment) is float
            if not (step or share) or not 0 <= moment <= (math.inf if step else 1):
                raise ValueError(
                    f"{name} must be an int of steps or a share in [0.0, 1.0], got {moment!r}"
                )
        if type(self.begin) is type(self.until) and self.begin >= self.until:
            raise ValueError(f"begin must be before until, got {self.begin} and {self.until}")

    def over(self, steps: int | None) -> Self:
        """See `Schedule.over`."""
        super().over(steps)
        return replace(self, begin=_at(self.begin, steps), until=_at(self.until, steps))

    def due(self, step: int) -> bool:
        """See `Schedule.due`."""
        begin, until = self._steps()
        return begin < step < until and (step - begin) % self.every == 0

    def progress(self, step: int) -> float:
        """How far the step is from `begin` to `until`, in [0, 1]."""
        begin, until = self._steps()
        return min(max((step - begin) / (until - begin), 0.0), 1.0)

    def _steps(self) -> tuple[int, int]:
        if isinstance(self.begin, float) or isinstance(self.until, float):
            raise ValueError(f"shares must be made steps by over() first, got {self}")
        return self.begin, self.until


@dataclass(frozen=True, kw_only=True)
class CosineDrop(Periodic):
    """Drop a fraction that falls along half a cosine, at constant density.

        fraction(t) = final + (initial − final) · (1 + cos(π · (t − begin) / (until − begin))) / 2

    Nothing changes at `until` itself: at the end of a training it would leave connections that
    were never trained.

    Args:
        initial: Drop fraction at `begin`, in [0, 1).
        final: Drop fraction at `until`, in [0, 1).
        every: Steps between updates.
        begin: Moment from which steps are counted; the first update comes `every` steps later.
        until: Moment at which the topology stops to change.

    Raises:
        ValueError: A fraction, the interval or a moment is out of range.

    Source: T. Dettmers and L. Zettlemoyer, "Sparse networks from scratch", 2019; with final = 0,
    U. Evci et al., "Rigging the lottery", 2020.
    """

    initial: float
    final: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, fraction in (("initial", self.initial), ("final", self.final)):
            if not 0 <= fraction < 1:
                raise ValueError(f"the {name} drop fraction must be in [0, 1), got {fraction}")

    def drop_fraction(self, step: int) -> float:
        """See `Schedule.drop_fraction`."""
        height = (1 + math.cos(math.pi * self.progress(step))) / 2
        return self.final + (self.initial - self.final) * height


@dataclass(frozen=True, kw_only=True)
class CubicDensity(Periodic):
    """Lower the density along a cubic from an initial to the final one, and drop nothing beyond.

        density(t) = final + (initial − final) · (1 − (t − begin) / (until − begin))³

    The last update is at `until`, wherever that is, and reaches the final density exactly.

    Args:
        initial: Density up to `begin`, in [0, 1].
        every: Steps between updates.
        begin: Moment at which the density starts to fall.
        until: Moment at which the final density is reached.

    Raises:
        ValueError: The density, the interval or a moment is out of range.

    Source: M. Zhu and S. Gupta, "To prune, or not to prune", 2017.
    """

    initial: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.initial <= 1:
            raise ValueError(f"the initial density must be in [0, 1], got {self.initial}")

    def due(self, step: int) -> bool:
        """See `Schedule.due`."""
        return super().due(step) or step == self.until

    def density(self, step: int, final: float) -> float:
        """See `Schedule.density`.

        Raises:
            ValueError: The final density is above the initial one.
        """
        if final > self.initial:
            raise ValueError(
                f"the final density must be at most the initial one, got {final} and {self.initial}"
            )
        return final + (self.initial - final) * (1 - self.progress(step)) ** 3


def _at(moment: int | float, steps: int | None) -> int:
    if isinstance(moment, int):
        return moment
    if steps is None:
        raise ValueError(f"the training's steps must be given where a moment is a share, {moment}")
    return round(moment * steps)
