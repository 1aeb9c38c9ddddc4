"""What a cell is: the definition of one time step, which every kernel is checked against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Cell"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One recurrent cell.

    Attributes:
        name: names the operators, `lsh::{name}_forward` and so on.
        gates: names of the G gates, in the order of the weights' rows.
        states: names of the S states of a unit; the first is the output and enters the recurrent
            product.
        activations: how many numbers A per unit a step keeps for its derivatives.
        step: `step(recurrent, projected, state) -> (activation, next)` with recurrent and
            projected pre-activations (…, G * H), states (S, …, H), activations (A, …, H): plain
            torch, any dtype, differentiable to any order.
        projects: whether the output is R_1 of what `step` gives, R_1 (O, H) with O <= H, instead of
            that itself. The first state then has O channels, which are followed by zeros up to H
            where states stand together.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    activations: int
    step: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    projects: bool = False

    def depth(self, matrices: int) -> int:
        """The micro-steps D of a time step of a layer with so many recurrent matrices."""
        return 1 if self.projects else matrices
