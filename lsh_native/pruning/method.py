"""A pruning method as a record of slots, and the one update that all of them share.

n → drop ⌈fraction · n⌉ → survivors → grow until Σ n = round(density(t) · Σ size) again, exactly
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from lsh_native.pruning.criterion import Drop, Grow, magnitude, needs_gradient
from lsh_native.pruning.redistribution import Redistribution, keep_counts
from lsh_native.pruning.schedule import Never, Schedule
from lsh_native.sparsity.connections import Connections, Masks, State, count_live
from lsh_native.sparsity.mask import Counts, Distribution, apportion, draw_masks, uniform


@dataclass(frozen=True, kw_only=True)
class PruningMethod:
    """How a topology starts and changes; `Topology` runs it.

    Args:
        initial: How many connections each matrix starts with, and has where nothing is
            redistributed.
        schedule: When the topology changes, the fraction that is dropped and the density to reach.
        drop: Which connections go.
        grow: Which connections come; None where the density only falls.
        redistribute: Which matrix gets how many of those that come.

    Example:
        A method of one's own is one line:

        >>> from lsh_native.pruning import CosineDrop, global_magnitude, nonzeros, random_growth
        >>> method = PruningMethod(
        ...     schedule=CosineDrop(initial=0.7, every=100),
        ...     drop=global_magnitude,
        ...     grow=random_growth,
        ...     redistribute=nonzeros,
        ... )
    """

    initial: Distribution = uniform
    schedule: Schedule = field(default_factory=Never)
    drop: Drop = magnitude
    grow: Grow | None = None
    redistribute: Redistribution = keep_counts

    @property
    def needs_gradient(self) -> bool:
        """Whether an update reads the gradients of dead connections."""
        return needs_gradient(self.drop) or needs_gradient(self.grow)

    def over(self, steps: int | None) -> Self:
        """The same method for a training of this many optimizer steps; see `Schedule.over`."""
        return replace(self, schedule=self.schedule.over(steps))

    def due(self, step: int) -> bool:
        """Whether the topology changes after this optimizer step, counted from 1."""
        return self.schedule.due(step)

    def budget(self, connections: Connections, step: int) -> Counts:
        """Connections that each matrix has after this step where nothing is redistributed."""
        return self.initial(connections.sizes, self.schedule.density(step, connections.density))

    def start(self, connections: Connections, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the first masks at random with exactly the counts of the initial distribution."""
        return draw_masks(self.budget(connections, 0), connections.sizes, generator)

    def update(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Masks, State]:
        """Drop, redistribute and grow once. Only the generator is written.

        Args:
            connections: The model's connections after optimizer step `step`.
            step: Optimizer step, counted from 1.
            state: What the last update returned; empty at the first one.
            generator: Source of randomness, on the CPU.

        Returns:
            The new masks, exactly as many connections as the budget holds, and the new state.

        Raises:
            ValueError: The drop criterion left more connections than the budget holds, or fewer
                where nothing grows.
            NaNError: A criterion has to choose among values that hold NaN.
        """
        budget = self.budget(connections, step)
        losses = _losses(connections.counts(), budget, self.schedule.drop_fraction(step))
        survivors, state = self.drop(connections, losses, state, generator)
        left = count_live(survivors)
        wanted = sum(budget.values()) - sum(left.values())
        if wanted < 0 or (wanted and self.grow is None):
            raise ValueError(
                f"{_name(self.drop)} must leave {sum(budget.values())} connections "
                f"{'or fewer' if self.grow else 'because nothing grows'}, left {sum(left.values())}"
            )
        if self.grow is None:
            return survivors, state
        free = {name: mask.numel() - left[name] for name, mask in survivors.items()}
        gains = apportion(wanted, self.redistribute(connections, survivors, budget), free)
        return self.grow(connections, survivors, gains, state, generator)

    def describe(self) -> dict[str, str]:
        """Slot by slot, what tells this method from others."""
        return {slot.name: _name(getattr(self, slot.name)) for slot in fields(self)}


def _losses(live: Mapping[str, int], budget: Mapping[str, int], fraction: float) -> Counts:
    """Connections each matrix loses: what a falling density leaves over, then the fraction."""
    above = {name: max(0, count - budget[name]) for name, count in live.items()}
    excess = max(0, sum(live.values()) - sum(budget.values()))
    shrunk = apportion(excess, above, live)
    return {
        # 0.07 · 100 is 7.000000000000001 in floating point and must not become 8
        name: shrunk[name] + math.ceil(round(fraction * (count - shrunk[name]), 6))
        for name, count in live.items()
    }


def _name(slot: Callable[..., Any] | Schedule | None) -> str:
    if isinstance(slot, partial):
        arguments = [*map(repr, slot.args), *(f"{k}={v!r}" for k, v in slot.keywords.items())]
        return f"{_name(slot.func)}({', '.join(arguments)})"
    return str(getattr(slot, "__name__", slot))
