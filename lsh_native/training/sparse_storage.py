"""Masked weights on disk: compressed sparse rows instead of a dense tensor and its mask.

A weight `w` (R, C) with a mask becomes `w.values` (N,), `w.columns` (N,) and `w.row_offsets`
(R + 1,), both int32, and `w.shape`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["compress_masked", "expand_masked"]

_MASK = "_mask"
_PARTS = (".values", ".columns", ".row_offsets", ".shape")


def compress_masked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stores each weight with a mask beside it, `w` and `w_mask`, as compressed rows.

    Args:
        state: tensors by name; those without a mask stay as they are.

    Returns:
        The same content, from which `expand_masked` restores every connection; values outside a
        mask are not kept.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith(_MASK) and name.removesuffix(_MASK) in state:
            continue
        mask = state.get(name + _MASK)
        if mask is None:
            result[name] = tensor
            continue
        rows, columns = mask.nonzero(as_tuple=True)
        offsets = torch.zeros(mask.shape[0] + 1, dtype=torch.int32)
        offsets[1:] = mask.sum(dim=1).cumsum(0).to(torch.int32)
        result[name + ".values"] = tensor[rows, columns]
        result[name + ".columns"] = columns.to(torch.int32)
        result[name + ".row_offsets"] = offsets
        result[name + ".shape"] = torch.tensor(mask.shape, dtype=torch.int64)
    return result


def expand_masked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Restores what `compress_masked` stored: dense weights, zero outside their masks.

    Raises:
        ValueError: a weight's parts are missing or contradict each other.
    """
    result = {name: tensor for name, tensor in state.items() if not name.endswith(_PARTS)}
    for key, shape in state.items():
        if not key.endswith(".shape"):
            continue
        name = key.removesuffix(".shape")
        try:
            values, columns, offsets = (state[name + part] for part in _PARTS[:3])
        except KeyError as error:
            raise ValueError(f"{name} must be stored with all its parts, lacks {error}") from None
        weight, mask = _expand(name, values, columns, offsets, shape)
        result[name], result[name + _MASK] = weight, mask
    return result


def _expand(
    name: str, values: Tensor, columns: Tensor, offsets: Tensor, shape: Tensor
) -> tuple[Tensor, Tensor]:
    rows, width = (int(size) for size in shape.tolist()) if shape.numel() == 2 else (-1, -1)
    counts = offsets.diff()
    if (
        rows < 0
        or width < 0
        or offsets.shape != (rows + 1,)
        or values.dim() != 1
        or columns.shape != values.shape
        or int(offsets[0]) != 0
        or int(offsets[-1]) != len(values)
        or bool((counts < 0).any())
        or bool(((columns < 0) | (columns >= width)).any())
    ):
        raise ValueError(f"{name} must be stored as the rows of a matrix, its parts contradict")
    index = torch.arange(rows).repeat_interleave(counts.long())
    mask = torch.zeros(rows, width, dtype=torch.bool)
    mask[index, columns.long()] = True
    if int(mask.sum()) != len(values):
        raise ValueError(f"{name} must be stored with every entry once, some come twice")
    weight = torch.zeros(rows, width, dtype=values.dtype)
    weight[index, columns.long()] = values
    return weight, mask
