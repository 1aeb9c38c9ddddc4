"""What a recurrent stack is called with: checked, and laid out as kernels want it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from lsh_native.nn.dtypes import MisfitError, covered_by_autocast

__all__ = ["State", "check_features", "check_order", "check_packed", "initial_states", "time_major"]

State = Tensor | tuple[Tensor, ...]


def time_major(input: Tensor, input_size: int, batch_first: bool, weight: Tensor) -> Tensor:
    """An input of one or many sequences as (T, B, I)."""
    if input.dim() not in (2, 3):
        raise ValueError(f"input must have 2 or 3 dimensions, got shape {tuple(input.shape)}")
    check_features(input, "input_size", input_size, weight)
    x = input.unsqueeze(1) if input.dim() == 2 else input
    if batch_first and input.dim() == 3:
        x = x.transpose(0, 1)
    if x.shape[0] == 0:
        raise MisfitError("input must have at least one time step, got none")
    return x


def check_packed(data: Tensor, sizes: Tensor, input_size: int, weight: Tensor) -> None:
    """Raises unless data (N, I) are the steps of sequences of which `sizes` move at a time."""
    if data.dim() != 2:
        raise MisfitError(f"packed data must have 2 dimensions, got shape {tuple(data.shape)}")
    check_features(data, "input_size", input_size, weight)
    counts = sizes.tolist()
    falling = all(a >= b for a, b in pairwise(counts))
    if not counts or not falling or counts[-1] < 1 or sum(counts) != len(data):
        raise MisfitError(
            f"batch_sizes must be at least 1, not rise, and sum up to the {len(data)} rows of "
            f"packed data, got {counts}"
        )


def check_order(order: Tensor | None, name: str, batch: int) -> None:
    """Raises unless the order of packed sequences is absent or holds each of them once."""
    if order is None:
        return
    if order.dim() != 1 or sorted(order.tolist()) != list(range(batch)):
        raise MisfitError(
            f"{name} must hold each of the {batch} sequences once, got {order.tolist()}"
        )


def initial_states(
    hx: State | None,
    x: Tensor,
    widths: Mapping[str, int],
    count: int,
    *,
    single: bool,
    weight: Tensor,
) -> list[Tensor]:
    """The initial states, each (layers and directions, B, H).

    Args:
        hx: as a stack is given it.
        x: (T, B, I).
        widths: of each state by its name.
        count: layers times directions.
        single: whether states have no batch dimension, as one sequence has none.
        weight: for dtype and device.
    """
    if hx is None:
        return [x.new_zeros(count, x.shape[1], width) for width in widths.values()]
    given = (hx,) if len(widths) == 1 else hx
    if not isinstance(given, tuple | list) or len(given) != len(widths):
        raise ValueError(
            f"the initial state hx must be {len(widths)} tensors ({', '.join(widths)}), "
            f"got {_kind(hx)}"
        )
    states, batch = [], x.shape[1]
    for (name, width), state in zip(widths.items(), given, strict=True):
        expected = (count, width) if single else (count, batch, width)
        if not isinstance(state, Tensor):
            raise ValueError(f"the initial {name} must be a tensor, got {_kind(state)}")
        if state.shape != expected:
            raise MisfitError(
                f"the initial {name} must have shape {expected}, got {tuple(state.shape)}"
            )
        if not _fits(state, x.dtype, weight):
            raise MisfitError(
                f"the initial {name} must be {x.dtype} on {x.device} like the input, "
                f"got {_what(state)}"
            )
        states.append(state.unsqueeze(1) if single else state)
    return states


def check_features(input: Tensor, name: str, size: int, weight: Tensor) -> None:
    """Refuses an input (…, size) that is not like the weights.

    Args:
        input: what came.
        name: what the module calls the size.
        size: of the last dimension.
        weight: one of the module's.

    Raises:
        MisfitError: shape, dtype, device or layout do not fit.
    """
    if input.dim() == 0 or input.shape[-1] != size:
        raise MisfitError(
            f"the last dimension of input must be {name} {size}, got shape {tuple(input.shape)}"
        )
    if not _fits(input, weight.dtype, weight):
        raise MisfitError(
            f"input must be {weight.dtype} on {weight.device} like the weights, got {_what(input)}"
        )


def _fits(tensor: Tensor, dtype: torch.dtype, weight: Tensor) -> bool:
    """Whether a tensor is strided, of this dtype or covered by autocast, where the weight is."""
    if tensor.layout != torch.strided or tensor.device != weight.device:
        return False
    if tensor.dtype == dtype:
        return True
    return tensor.dtype.is_floating_point and covered_by_autocast(weight)


def _what(tensor: Tensor) -> str:
    """Dtype, device and, where it is no strided one, layout of a tensor, for a message."""
    layout = "" if tensor.layout == torch.strided else f", {tensor.layout}"
    return f"{tensor.dtype} on {tensor.device}{layout}"


def _kind(value: object) -> str:
    """What came, for a message."""
    return f"{len(value)} of them" if isinstance(value, tuple | list) else type(value).__name__
