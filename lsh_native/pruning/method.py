"""A pruning method as a record of slots, and the one update that all of them share.

n → shrink to density(t) → drop ⌈fraction · n⌉ → grow to Σ n = round(density(t) · Σ size), exactly
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Self

import torch

from lsh_native.pruning.between import Between
from lsh_native.pruning.criterion import Drop, Grow, magnitude, needs_gradient, random_growth
from lsh_native.pruning.redistribution import Redistribution, keep_counts
from lsh_native.pruning.schedule import Never, Schedule
from lsh_native.pruning.structure import Structure
from lsh_native.sparsity.connections import Connections, Masks, State, Weights, count_live
from lsh_native.sparsity.mask import Counts, Distribution, apportion, uniform


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
        first: Which connections are the first, grown from none.
        shrink: Which connections go for good where the density falls; None for those of `drop`.
        structure: What shape a mask may have.
        between: What happens at every optimizer step, and what is remembered of it.

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
    first: Grow = random_growth
    shrink: Drop | None = None
    structure: Structure = field(default_factory=Structure)
    between: Between = field(default_factory=Between)

    @property
    def needs_gradient(self) -> bool:
        """Whether an update reads the gradients of dead connections."""
        slots = (self.drop, self.grow, self.shrink, self.redistribute, self.between)
        return any(map(needs_gradient, slots))

    def needs_gradient_at(self, step: int) -> bool:
        """Whether the gradients of dead connections are read after this step."""
        if needs_gradient(self.between):
            return True
        return self.needs_gradient and self.due(step)

    @property
    def follows(self) -> bool:
        """Whether every step is to be followed, not only those that end in an update."""
        return self.between.acts

    def over(self, steps: int | None) -> Self:
        """The same method for a training of this many optimizer steps; see `Schedule.over`."""
        return replace(self, schedule=self.schedule.over(steps), between=self.between.over(steps))

    def due(self, step: int) -> bool:
        """Whether the topology changes after this optimizer step, counted from 1."""
        return self.schedule.due(step)

    def budget(self, connections: Connections, step: int) -> Counts:
        """Connections that each matrix has after this step where nothing is redistributed."""
        return self.initial(connections.sizes, self.schedule.density(step, connections.density))

    def start(self, connections: Connections, generator: torch.Generator) -> tuple[Masks, State]:
        """The first masks, with exactly the counts of the initial distribution, and first state.

        Args:
            connections: The model's weights; which are live does not matter.
            generator: Source of randomness, on the CPU.

        Raises:
            ValueError: A matrix or the density does not fit the structure.
        """
        nothing = {name: torch.zeros_like(mask) for name, mask in connections.masks.items()}
        there = self.structure.reduce(replace(connections, masks=nothing))
        masks, state = self.structure.grow(
            self.first, there, there.masks, self.budget(there, 0), {}, generator
        )
        masks = self.structure.expand(masks, connections)
        return masks, {**state, **self.between.begin(replace(connections, masks=masks))}

    def refuse(self, masks: Masks) -> None:
        """Raise ValueError where masks cannot be of this method."""
        self.structure.refuse(masks)

    def follow(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Weights, State]:
        """What changes at every step where the method `follows`; see `Between.follow`."""
        there = replace(connections, progress=self.schedule.progress(step))
        return self.between.follow(there, step, state, generator)

    def update(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Masks, State, Weights]:
        """Shrink, drop, redistribute and grow once. Only the generator is written.

        Args:
            connections: The model's connections after optimizer step `step`.
            step: Optimizer step, counted from 1.
            state: What the last update or step returned, or `start`.
            generator: Source of randomness, on the CPU.

        Returns:
            The new masks, exactly as many connections as the budget holds, the new state, and
            values for the weights that are to be live and are neither kept nor zero.

        Raises:
            ValueError: A drop criterion left more connections than the budget holds, or fewer
                where nothing grows.
            NaNError: A criterion has to choose among values that hold NaN.
        """
        whole = replace(connections, progress=self.schedule.progress(step))
        whole = self.between.present(whole, state)
        there = self.structure.reduce(whole)
        budget = self.budget(there, step)
        there, live, state = self._shrink(there, budget, state, generator)
        masks, state = self._rewire(there, live, budget, step, state, generator)
        masks = self.structure.expand(masks, whole)
        state = self.between.after(whole, masks, state)
        return masks, state, self.between.restart(whole, masks, state)

    def trained(self, masks: Masks, state: State) -> Masks:
        """The connections whose optimizer state is kept; see `Between.trained`."""
        return self.between.trained(masks, state)

    def _shrink(
        self, there: Connections, budget: Counts, state: State, generator: torch.Generator
    ) -> tuple[Connections, Counts, State]:
        """Drop what a falling density leaves over; what there is then, and how many."""
        live = there.counts()
        excess = sum(live.values()) - sum(budget.values())
        if excess <= 0:
            return there, live, state
        above = {name: max(0, count - budget[name]) for name, count in live.items()}
        drop = self.shrink or self.drop
        losses = apportion(excess, above, live)
        masks, state = self.structure.shrink(drop, there, losses, state, generator)
        return replace(there, masks=masks), count_live(masks), state

    def _rewire(
        self,
        there: Connections,
        live: Counts,
        budget: Counts,
        step: int,
        state: State,
        generator: torch.Generator,
    ) -> tuple[Masks, State]:
        """Drop a fraction and grow as many."""
        if self.grow is None:
            self._refuse_excess(self.drop, budget, sum(live.values()))
            return there.masks, state
        fraction = self.schedule.drop_fraction(step)
        losses = {
            # 0.07 · 100 is 7.000000000000001 in floating point and must not become 8
            name: math.ceil(round(fraction * count, 6))
            for name, count in live.items()
        }
        survivors, state = self.drop(there, losses, state, generator)
        left = count_live(survivors)
        self._refuse_excess(self.drop, budget, sum(left.values()))
        free = {name: mask.numel() - left[name] for name, mask in survivors.items()}
        wanted = sum(budget.values()) - sum(left.values())
        gains = apportion(wanted, self.redistribute(there, survivors, budget), free)
        return self.structure.grow(self.grow, there, survivors, gains, state, generator)

    def _refuse_excess(self, drop: Drop, budget: Counts, left: int) -> None:
        total = sum(budget.values())
        if left > total or (left < total and self.grow is None):
            raise ValueError(
                f"{_name(drop)} must leave {total} connections "
                f"{'or fewer' if self.grow else 'because nothing grows'}, left {left}"
            )

    def describe(self) -> dict[str, str]:
        """Slot by slot, what tells this method from others; the later slots where they are used."""
        always = ("initial", "schedule", "drop", "grow", "redistribute")
        plain = type(self)()
        return {
            slot.name: _name(getattr(self, slot.name))
            for slot in fields(self)
            if slot.name in always or getattr(self, slot.name) != getattr(plain, slot.name)
        }


def _name(slot: object) -> str:
    """A slot in words that are the same in every process."""
    if isinstance(slot, partial):
        arguments = [*map(_name, slot.args), *(f"{k}={_name(v)}" for k, v in slot.keywords.items())]
        return f"{_name(slot.func)}({', '.join(arguments)})"
    if name := getattr(slot, "__name__", None) or getattr(slot, "name", None):
        return str(name)
    if is_dataclass(slot):
        parts = (
            f"{part.name}={_name(getattr(slot, part.name))}"
            for part in fields(slot)
            if part.name != "name"  # which is empty here
        )
        return f"{type(slot).__name__}({', '.join(parts)})"
    return repr(slot) if isinstance(slot, int | float | str | Mapping | None) else str(slot)
