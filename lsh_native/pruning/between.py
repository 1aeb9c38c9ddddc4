"""What a method does at every optimizer step, and what it remembers of it for the next update.

A record here sees the weights as the optimizer left them, before dead ones are cleared. It writes
nothing: it returns new weights and a new state.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from lsh_native.pruning.course import Value, at
from lsh_native.pruning.units import Units
from lsh_native.sparsity.connections import Connections, Masks, State, Weights
from lsh_native.sparsity.mask import count_true, total_count
from lsh_native.sparsity.selection import grow_highest


@dataclass(frozen=True, kw_only=True)
class Between:
    """Nothing; what other records change."""

    acts: ClassVar[bool] = False  # whether `follow` is wanted at every step

    def over(self, steps: int | None) -> Self:
        """The same for a training of this many optimizer steps."""
        return self

    def begin(self, connections: Connections) -> State:
        """The first state, when first masks are known and weights not yet cleared."""
        return {}

    def follow(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Weights, State]:
        """New values of the weights named, and the new state, after an optimizer step."""
        return {}, state

    def present(self, connections: Connections, state: State) -> Connections:
        """What the criteria of an update see."""
        return connections

    def after(self, connections: Connections, masks: Masks, state: State) -> State:
        """The state after an update, from what the criteria saw and the new masks."""
        return state

    def restart(self, connections: Connections, masks: Masks, state: State) -> Weights:
        """Values that live weights have after an update; a grown one not named is zero."""
        return {}

    def trained(self, masks: Masks, state: State) -> Masks:
        """The connections whose optimizer state is kept."""
        return masks


@dataclass(frozen=True, kw_only=True)
class SmoothedGradient(Between):
    """Criteria see a running mean of the gradients in their place: m ← βm + (1 − β) · gradient.

    Args:
        smoothing: β in [0, 1).

    Source: T. Dettmers and L. Zettlemoyer, "Sparse networks from scratch", 2019 (SNFS).
    """

    acts: ClassVar[bool] = True
    reads_gradient: ClassVar[bool] = True
    smoothing: Value = 0.9

    def follow(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Weights, State]:
        """See `Between.follow`."""
        share = 1 - at(self.smoothing, connections.progress)
        means = {}
        for name, gradient in connections.gradients.items():
            old = _of(state, "gradient", name)
            means[f"gradient.{name}"] = (
                share * gradient if old is None else torch.lerp(old, gradient, share)
            )
        return {}, {**state, **means}

    def present(self, connections: Connections, state: State) -> Connections:
        """See `Between.present`."""
        return replace(connections, gradients=_all(state, "gradient", connections))


@dataclass(frozen=True, kw_only=True)
class Langevin(Between):
    """Shrink live weights by a constant and shake them: w ← w − shrink · sign w + noise · N(0, 1).

    Args:
        shrink: Step of the L1 penalty, its coefficient times the learning rate.
        noise: Standard deviation of the walk, √(2 · learning rate · temperature).

    Source: G. Bellec et al., "Deep rewiring", 2018 (DeepR).
    """

    acts: ClassVar[bool] = True
    shrink: Value = 0.0
    noise: Value = 0.0

    def follow(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Weights, State]:
        """See `Between.follow`."""
        shrink, noise = (at(value, connections.progress) for value in (self.shrink, self.noise))
        weights = {}
        for name, weight in connections.weights.items():
            moved = weight - shrink * weight.sign() if shrink else weight
            if noise:
                drawn = torch.randn(weight.shape, generator=generator)  # alike on every device
                moved = moved + noise * drawn.to(weight)
            if moved is not weight:
                weights[name] = moved
        return weights, state

    def restart(self, connections: Connections, masks: Masks, state: State) -> Weights:
        """See `Between.restart`: what died and came back in one update is zero like all that comes.

        The signs are those of `lsh_native.pruning.criterion.sign_flip`.
        """
        signs = _all(state, "sign", connections)
        return {name: connections.weights[name] * (sign != 0) for name, sign in signs.items()}


@dataclass(frozen=True, kw_only=True)
class Rewind(Between):
    """After every update live weights go back to what they were after step `moment`.

    Args:
        moment: An int is a step, 0 the weights before training, a float a share of the steps.

    Source: J. Frankle and M. Carbin, "The lottery ticket hypothesis", 2019; J. Frankle et al.,
    "Stabilizing the lottery ticket hypothesis", 2019, for moments after 0.
    """

    acts: ClassVar[bool] = True
    moment: int | float = 0

    def over(self, steps: int | None) -> Self:
        """See `Between.over`."""
        if isinstance(self.moment, int):
            return self
        if steps is None:
            raise ValueError(
                f"the training's steps must be given where a moment is a share, {self}"
            )
        return replace(self, moment=round(self.moment * steps))

    def begin(self, connections: Connections) -> State:
        """See `Between.begin`."""
        return self._saved(connections) if self.moment == 0 else {}

    def follow(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Weights, State]:
        """See `Between.follow`."""
        return {}, {**state, **self._saved(connections)} if step == self.moment else state

    def restart(self, connections: Connections, masks: Masks, state: State) -> Weights:
        """See `Between.restart`."""
        return _all(state, "saved", connections)

    def _saved(self, connections: Connections) -> dict[str, Tensor]:
        return {f"saved.{name}": weight.clone() for name, weight in connections.weights.items()}


@dataclass(frozen=True, kw_only=True)
class Reserve(Between):
    """Dead weights keep their values, unseen, and some of them train on.

    Those trained are the live connections and, of the dead, the `extra` of largest |w|. All that
    the optimizer moves them by is added to their values.

    Args:
        extra: Share of all connections that trains beyond the live ones.
        decay: Share of a trained weight that is taken away at each step; a dead one loses
            1 / density times as much.

    Source: S. Jayakumar et al., "Top-KAST", 2020.
    """

    acts: ClassVar[bool] = True
    reads_gradient: ClassVar[bool] = True
    extra: Value = 0.1
    decay: Value = 0.0

    def begin(self, connections: Connections) -> State:
        """See `Between.begin`."""
        return self.after(connections, connections.masks, {})

    def follow(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Weights, State]:
        """See `Between.follow`."""
        decay = at(self.decay, connections.progress)
        shrunk, values = {}, {}
        for name, weight in connections.weights.items():
            live, trained = connections.masks[name], _known(state, "trained", name)
            moved = _known(state, "reserve", name) + weight.masked_fill(live | ~trained, 0)
            if decay:
                faster = decay / max(connections.density, decay)
                moved = torch.where(trained, moved * (1 - faster), moved)
                shrunk[name] = weight * (1 - decay)
            values[f"reserve.{name}"] = moved
        return shrunk, {**state, **values}

    def present(self, connections: Connections, state: State) -> Connections:
        """See `Between.present`: dead weights have their values."""
        weights = {
            name: torch.where(connections.masks[name], weight, _known(state, "reserve", name))
            for name, weight in connections.weights.items()
        }
        return replace(connections, weights=weights)

    def after(self, connections: Connections, masks: Masks, state: State) -> State:
        """See `Between.after`.

        Raises:
            ValueError: `extra` is outside [0, 1].
        """
        share = at(self.extra, connections.progress)
        kept: dict[str, Tensor] = {}
        for name, weight in connections.weights.items():
            extra = total_count({name: weight.shape}, share)
            dead = weight.numel() - count_true(masks[name])
            trained = grow_highest(
                {name: weight}, {name: masks[name]}, min(extra, dead), magnitude=True
            )
            kept[f"trained.{name}"] = trained[name]
            kept[f"reserve.{name}"] = weight.masked_fill(masks[name], 0)
        return {**state, **kept}

    def restart(self, connections: Connections, masks: Masks, state: State) -> Weights:
        """See `Between.restart`."""
        return connections.weights

    def trained(self, masks: Masks, state: State) -> Masks:
        """See `Between.trained`."""
        return {name: _known(state, "trained", name) for name in masks}


@dataclass(frozen=True, kw_only=True)
class GroupLasso(Between):
    """Shrink the weights of each hidden unit together: w ← w · max(0, 1 − shrink / ‖unit‖).

    Args:
        shrink: Step of the penalty, its coefficient times the learning rate.
        units: How to find the units.

    Source: W. Wen et al., "Learning intrinsic sparse structures within LSTM", 2018 (ISS).
    """

    acts: ClassVar[bool] = True
    shrink: Value = 0.0
    units: Units = field(default_factory=Units)

    def follow(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Weights, State]:
        """See `Between.follow`."""
        shrink = at(self.shrink, connections.progress)
        factors = {
            layer: (1 - shrink / squares.sqrt()).clamp_min(0).nan_to_num(0)
            for layer, squares in self.units.norms(connections).items()
        }
        weights = dict(connections.weights)
        for name, spread in self.units.spread(factors, connections).items():
            for factor in spread:
                weights[name] = weights[name] * factor.to(weights[name].dtype)
        return weights, state


def _of(state: State, part: str, name: str) -> Tensor | None:
    value = state.get(f"{part}.{name}")
    return value if isinstance(value, Tensor) else None


def _known(state: State, part: str, name: str) -> Tensor:
    value = _of(state, part, name)
    if value is None:
        raise ValueError(f"the method's state must hold {part} of {name}, got {sorted(state)}")
    return value


def _all(state: State, part: str, connections: Connections) -> dict[str, Tensor]:
    """What the state holds of each matrix; nothing where it holds none."""
    found = {name: _of(state, part, name) for name in connections.weights}
    return {name: value for name, value in found.items() if value is not None}
