"""Sparse modules as plain tensors: masked weights by compressed rows, and masks found in them.

In the place of a masked weight `w` (R, C) with N connections stand::

    w.values        (N,)      row by row
    w.col_indices   (N,)      ascending within a row; int16 where columns allow it, else int32
    w.crow_indices  (R + 1,)  int32, where each row's entries begin
    w.shape         (2,)      int64, R and C

the parts of `torch.sparse_csr_tensor`. They go into any file of named tensors, safetensors above
all: `save_file(to_csr(model), path)` and `load_csr_(model, load_file(path))`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["compressed", "expanded", "load_csr_", "masks_in", "stored_bytes", "to_csr"]

_PARTS = ("values", "col_indices", "crow_indices", "shape")


def compressed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the entries that are not connected.

    Args:
        state: tensors by name; `w` is a masked weight where `w_mask` stands beside it.

    Returns:
        The four parts of this file's docstring in the place of each masked weight and its mask,
        every other tensor as it is.
    """
    masked = [name for name in state if f"{name}_mask" in state]
    hidden = {*masked, *(f"{name}_mask" for name in masked)}
    return {name: tensor for name, tensor in state.items() if name not in hidden} | {
        f"{name}.{key}": part
        for name in masked
        for key, part in _parts(state[name], state[f"{name}_mask"]).items()
    }


def expanded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict that `compressed` was given, weights zero where they are not connected.

    Raises:
        ValueError: the parts of a weight do not fit each other, saying which must be what.
    """
    state = {name: t for name, t in tensors.items() if _weight_of(name, tensors) is None}
    for name in _weights(tensors):
        mask = _mask(name, tensors)
        values = tensors[f"{name}.values"]
        state[name] = values.new_zeros(mask.shape).masked_scatter(mask, values)
        state[f"{name}_mask"] = mask
    return state


def to_csr(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module, masked weights without the entries that are not connected.

    Args:
        module: any, with sparse modules in it or itself one.

    Returns:
        Tensors by name on the CPU, no two of which share memory: what `compressed` makes of its
        `state_dict()`.
    """
    return {name: t.detach().cpu().clone() for name, t in compressed(module.state_dict()).items()}


def stored_bytes(tensors: Mapping[str, Tensor]) -> int:
    """What tensors take in a file, but for its header."""
    return sum(tensor.nbytes for tensor in tensors.values())


def load_csr_(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts what `to_csr` gave into a module of the same kind and sizes, masks included.

    Raises:
        ValueError: the parts of a weight do not fit each other, saying which must be what.
        RuntimeError: names or shapes are not the module's.
    """
    module.load_state_dict(expanded(tensors))


def masks_in(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The masks that named tensors hold, for `set_masks`.

    Args:
        tensors: a state dict of a sparse module, or of one that `torch.nn.utils.prune` has pruned,
            whose masks end in `_mask`; or what `to_csr` gave; read from a file or not.
        prefix: only names that begin so are looked at; it is taken off.

    Returns:
        Bool masks by the name of the weight.

    Example:
        >>> from lsh_native.nn import SparseLinear
        >>> pruned = nn.utils.prune.random_unstructured(nn.Linear(4, 3), "weight", amount=6)
        >>> layer = SparseLinear(4, 3)
        >>> layer.set_masks(masks_in(pruned.state_dict()))
        >>> layer.density()
        0.5
    """
    masks = {
        name.removesuffix("_mask"): tensor != 0
        for name, tensor in tensors.items()
        if name.endswith("_mask")
    }
    masks |= {name: _mask(name, tensors) for name in _weights(tensors)}
    return {name.removeprefix(prefix): m for name, m in masks.items() if name.startswith(prefix)}


def _parts(weight: Tensor, mask: Tensor) -> dict[str, Tensor]:
    mask = mask != 0  # torch.nn.utils.prune puts numbers there
    index = torch.int16 if mask.shape[1] <= 2**15 else torch.int32
    counts = mask.count_nonzero(1).cumsum(0)
    return {
        "values": weight[mask],
        "col_indices": mask.nonzero()[:, 1].to(index),
        "crow_indices": torch.cat([counts.new_zeros(1), counts]).to(torch.int32),
        "shape": torch.tensor(mask.shape),
    }


def _weight_of(name: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The compressed weight that a tensor is a part of."""
    weight, _, part = name.rpartition(".")
    return weight if part in _PARTS and f"{weight}.crow_indices" in tensors else None


def _weights(tensors: Mapping[str, Tensor]) -> list[str]:
    return [
        name.removesuffix(".crow_indices") for name in tensors if name.endswith(".crow_indices")
    ]


def _mask(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """The mask of a compressed weight, of which nothing is trusted."""
    values, column_of, offsets, shape = (tensors.get(f"{name}.{part}") for part in _PARTS)
    if values is None or column_of is None or offsets is None or shape is None:
        raise ValueError(f"{name} must have {', '.join(_PARTS)}, got some of them")
    if shape.shape != (2,) or any(t.is_floating_point() for t in (column_of, offsets, shape)):
        raise ValueError(f"{name} must have a shape of two numbers and whole numbers for indices")
    rows, columns = (int(size) for size in shape)
    if not (0 <= rows < 2**31 and 0 <= columns < 2**31):
        raise ValueError(f"{name} must have sizes in [0, 2**31), got {rows} x {columns}")
    column_of, offsets, N = column_of.long(), offsets.long(), values.numel()
    if values.dim() != 1 or column_of.shape != (N,) or offsets.shape != (rows + 1,):
        raise ValueError(
            f"{name} must have as many values as columns and {rows + 1} row offsets, "
            f"got {tuple(values.shape)}, {tuple(column_of.shape)} and {tuple(offsets.shape)}"
        )
    counts = offsets.diff()
    if offsets[0] != 0 or offsets[-1] != N or bool((counts < 0).any()):
        raise ValueError(f"{name} must have row offsets that ascend from 0 to {N}")
    row_of = torch.arange(rows).repeat_interleave(counts)
    ascending = (row_of * columns + column_of).diff() > 0
    inside = (column_of >= 0) & (column_of < columns)
    if not bool(ascending.all() & inside.all()):
        raise ValueError(
            f"{name} must have columns that ascend without repeats within each row, "
            f"all in [0, {columns})"
        )
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    mask[row_of, column_of] = True
    return mask
