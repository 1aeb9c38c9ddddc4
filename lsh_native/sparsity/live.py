"""The values of a weight's connections, apart from the weight: read, written back, averaged."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators
from lsh_native.sparsity.pattern import pattern_parts

__all__ = [
    "AdamStep",
    "adam_live_",
    "adam_live_definition_",
    "average_live_",
    "average_live_definition_",
    "live_entries",
    "read_live",
    "write_live_",
]


@torch.no_grad()
def read_live(weight: Tensor, pattern: Tensor) -> Tensor:
    """The values of a weight's connections, `weight[live_entries(pattern)]`.

    Args:
        weight: (R, C), contiguous, float32 or float64, on the CPU.
        pattern: of the weight, see `lsh_native.sparsity.pattern`.

    Returns:
        (N,), in the pattern's row order.
    """
    values: Tensor = torch.ops.lsh.read_live.default(weight, pattern)
    return values


@torch.no_grad()
def write_live_(weight: Tensor, values: Tensor, pattern: Tensor) -> None:
    """Writes values (N,) where `read_live` reads them; the weight's other entries stay."""
    torch.ops.lsh.write_live_.default(weight, values, pattern)


@torch.no_grad()
def average_live_(age: Tensor, mean: Tensor, values: Tensor, pattern: Tensor) -> None:
    """Lets values enter their running means: age ← age + 1, mean ← mean + (value − mean) / age.

    Args:
        age: (R, C), how many values each mean is of; changed in place at the connections.
        mean: (R, C), likewise.
        values: (N,).
        pattern: of the matrices.
    """
    torch.ops.lsh.average_live_.default(age, mean, values, pattern)


@torch.no_grad()
def average_live_definition_(age: Tensor, mean: Tensor, values: Tensor, pattern: Tensor) -> None:
    """What `lsh::average_live_` computes, in plain torch."""
    live = live_entries(pattern)
    age[live] += 1
    mean[live] += (values - mean[live]) / age[live]


@dataclass(frozen=True, kw_only=True)
class AdamStep:
    """The factors of a step of Adam, in the order that its operator takes them.

    Attributes:
        beta1: share of the mean gradient that stays.
        beta2: share of the mean square that stays.
        rate: step size, corrected for the start of the mean at zero.
        root: square root of the correction of the mean square.
        epsilon: added to the root of the mean square.
    """

    beta1: float
    beta2: float
    rate: float
    root: float
    epsilon: float


@torch.no_grad()
def adam_live_(
    mean: Tensor,
    square: Tensor,
    values: Tensor,
    gradient: Tensor,
    pattern: Tensor,
    step: AdamStep,
) -> None:
    """A step of Adam for the values of connections: as `adam_live_definition_`, in one pass.

    Args:
        mean: (R, C), running mean of gradients; changed in place at the connections.
        square: (R, C), of their squares; likewise.
        values: (N,), moved.
        gradient: (N,), of the values.
        pattern: of the matrices.
        step: the step's factors.

    Raises:
        RuntimeError: shapes or dtypes do not fit, saying which must be what.
    """
    torch.ops.lsh.adam_live_.default(mean, square, values, gradient, pattern, *astuple(step))


@torch.no_grad()
def adam_live_definition_(
    mean: Tensor, square: Tensor, values: Tensor, gradient: Tensor, pattern: Tensor, step: AdamStep
) -> None:
    """What `lsh::adam_live_` computes, in plain torch."""
    live = live_entries(pattern)
    mean[live] = mean[live].lerp(gradient, 1 - step.beta1)
    square[live] = square[live] * step.beta2 + gradient.square() * (1 - step.beta2)
    values -= step.rate * mean[live] / (square[live].sqrt() / step.root + step.epsilon)


def live_entries(pattern: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of a pattern's connections, each (N,) int64, row by row."""
    parts = pattern_parts(pattern)
    rows = torch.arange(parts.rows, device=pattern.device)
    return rows.repeat_interleave(parts.row_offsets.diff().long()), parts.column_of.long()


def _counted(name: str, changed: int) -> None:
    """Tells autograd of what an operator changes, its first `changed` arguments."""

    def call(*arguments: Any) -> None:
        with torch._C._AutoDispatchBelowADInplaceOrView():
            getattr(torch.ops.lsh, name).default(*arguments)
        for tensor in arguments[:changed]:
            torch.autograd.graph.increment_version(tensor)

    torch.library.impl(f"lsh::{name}", "ADInplaceOrView")(call)


_counted("write_live_", 1)
_counted("average_live_", 2)
_counted("adam_live_", 3)


@torch.library.register_fake("lsh::read_live")
def _(weight: Tensor, pattern: Tensor) -> Tensor:
    return weight.new_empty(torch.library.get_ctx().new_dynamic_size())


@torch.library.register_fake("lsh::write_live_")
def _(weight: Tensor, values: Tensor, pattern: Tensor) -> None:
    return None


@torch.library.register_fake("lsh::average_live_")
def _(age: Tensor, mean: Tensor, values: Tensor, pattern: Tensor) -> None:
    return None


@torch.library.register_fake("lsh::adam_live_")
def _(
    mean: Tensor, square: Tensor, values: Tensor, gradient: Tensor, pattern: Tensor, *step: float
) -> None:
    return None
