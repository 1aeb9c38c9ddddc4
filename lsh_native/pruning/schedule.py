"""When a topology changes, and how much: drop fraction and density at each optimizer step."""

import math
from dataclasses import dataclass, replace
from typing import Self

from lsh_native.pruning.course import Cosine, Cubic, Value, at


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

    def progress(self, step: int) -> float:
        """How far the topology's changes have come at this step, in [0, 1]."""
        return 0.0


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
            _check_moment(name, moment)
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
        """See `Schedule.progress`: how far the step is from `begin` to `until`."""
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
        return Cosine(self.initial, self.final)(self.progress(step))


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
        return Cubic(self.initial, final)(self.progress(step))


@dataclass(frozen=True, kw_only=True)
class Updates(Periodic):
    """Drop a fraction at every update, while the density may fall along a cubic.

    Args:
        fraction: Drop fraction in [0, 1), a number or a course.
        density_at_begin: Density at `begin`; None where it is constant. The final one is reached
            exactly, by a last update at `until`.
        every: Steps between updates.
        begin: Moment from which steps are counted; the first update comes `every` steps later.
        until: Moment at which the topology stops to change.

    Raises:
        ValueError: The interval or a moment is out of range.
    """

    fraction: Value = 0.0
    density_at_begin: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for progress in (0.0, 1.0):
            self._fraction(progress)
        if self.density_at_begin is not None and not 0 <= self.density_at_begin <= 1:
            raise ValueError(f"the initial density must be in [0, 1], got {self.density_at_begin}")

    def due(self, step: int) -> bool:
        """See `Schedule.due`."""
        return super().due(step) or (self.density_at_begin is not None and step == self.until)

    def drop_fraction(self, step: int) -> float:
        """See `Schedule.drop_fraction`; at `until` itself nothing but the density changes."""
        return 0.0 if step == self.until else self._fraction(self.progress(step))

    def density(self, step: int, final: float) -> float:
        """See `Schedule.density`; a final density above the initial one holds from the start."""
        initial = final if self.density_at_begin is None else max(self.density_at_begin, final)
        return Cubic(initial, final)(self.progress(step))

    def _fraction(self, progress: float) -> float:
        fraction = at(self.fraction, progress)
        if not 0 <= fraction < 1:
            raise ValueError(f"the drop fraction must be in [0, 1), got {fraction}")
        return fraction


@dataclass(frozen=True, kw_only=True)
class Once(Schedule):
    """Start at density 1 and reach the final one in a single update.

    Args:
        moment: When: an int is a step, a float in [0, 1] a share of the training's steps.

    Raises:
        ValueError: The moment is out of range.
    """

    moment: int | float

    def __post_init__(self) -> None:
        _check_moment("moment", self.moment)

    def over(self, steps: int | None) -> Self:
        """See `Schedule.over`; a share of 0 is the first step."""
        super().over(steps)
        return replace(self, moment=max(1, _at(self.moment, steps)))

    def due(self, step: int) -> bool:
        """See `Schedule.due`."""
        return step == self.moment

    def density(self, step: int, final: float) -> float:
        """See `Schedule.density`."""
        return final if step >= self.moment else 1.0


@dataclass(frozen=True, kw_only=True)
class Rounds(Periodic):
    """Start at density 1 and keep the same share of the connections in every round.

        density after round r = max(final, keepʳ)

    Args:
        keep: Share that a round keeps, in (0, 1).
        every: Steps of a round.
        begin: Moment from which rounds are counted.
        until: Moment at which the rounds end.

    Raises:
        ValueError: The share, the interval or a moment is out of range.

    Source: J. Frankle and M. Carbin, "The lottery ticket hypothesis", 2019.
    """

    keep: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.keep < 1:
            raise ValueError(f"keep must be in (0, 1), got {self.keep}")

    def density(self, step: int, final: float) -> float:
        """See `Schedule.density`."""
        begin, until = self._steps()
        rounds = (min(max(step, begin), until - 1) - begin) // self.every
        return max(final, self.keep**rounds)


def _check_moment(name: str, moment: int | float) -> None:
    step, share = type(moment) is int, type(moment) is float
    if not (step or share) or not 0 <= moment <= (math.inf if step else 1):
        raise ValueError(f"{name} must be an int of steps or a share in [0.0, 1.0], got {moment!r}")


def _at(moment: int | float, steps: int | None) -> int:
    if isinstance(moment, int):
        return moment
    if steps is None:
        raise ValueError(f"the training's steps must be given where a moment is a share, {moment}")
    return round(moment * steps)
