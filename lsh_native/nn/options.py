"""What recurrent modules take at construction: options beyond `torch.nn`'s, and checks."""

from __future__ import annotations

import numbers
from typing import Any, TypedDict

__all__ = ["Options", "check_sizes", "probability"]


class Options(TypedDict, total=False):
    """What every recurrent stack takes beyond `torch.nn`'s arguments, by keyword.

    Attributes:
        density: share of each weight that is connected, drawn uniformly with an exact count.
        gradient: `"masked"` or `"dense"`, see `SparseModule`.
        weight_dropout: probability of dropping a recurrent connection, drawn once a call
            (DropConnect; Merity, Keskar & Socher 2018).
        input_dropout: probability of dropping a feature of the stack's input in all steps of a
            sequence (variational dropout; Gal & Ghahramani 2016).
        output_dropout: the same of its output.
        state_dropout: the same of the state where it enters a recurrent product, in all steps and
            micro-steps; the state itself is carried on whole.
        zoneout: probability that a unit keeps its state in a time step, one for each state of the
            cell or one for all (Krueger et al. 2017); in evaluation it keeps this share of it.
    """

    density: float
    gradient: str
    weight_dropout: float
    input_dropout: float
    output_dropout: float
    state_dropout: float
    zoneout: float | tuple[float, ...]


def check_sizes(**sizes: Any) -> None:
    """Raises a TypeError or ValueError unless each is an int of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"{name} must be an int, got {type(size).__name__}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def probability(name: str, value: Any) -> float:
    """A number in [0, 1], or a ValueError that names it."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= float(value) <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")
    return float(value)
