"""Pattern: the mask of one matrix made ready for kernels, in one int32 tensor.

Layout, with R rows, C columns, N non-zeros and room for `capacity` of them::

    header          8         mark, version, R, C, N, capacity, 0, 0
    row_offsets     R + 1     the non-zeros of row r are row_offsets[r] … row_offsets[r + 1] - 1
    columns         capacity  their columns, ascending within a row

and on a device, as the CPU turns the matrix itself, the same by columns::

    column_offsets  C + 1
    rows            capacity  ascending within a column
    sources         capacity  where the k-th non-zero in column order stands in row order

The two kinds are told apart by their length: one by rows has room for a connection more than asked
for where it would else be as long as one by both.

A tensor sized by capacity lets a mask change in place, so that shapes, and with them compiled
code, stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators

__all__ = [
    "PatternParts",
    "empty_pattern",
    "full_pattern",
    "pack_pattern",
    "pack_pattern_",
    "pattern_parts",
    "pattern_room",
    "refuse_overfull",
]

_MARK = 0x4C534850
_VERSION = 2
_HEADER = 8
_NON_ZEROS = 4  # its place in the header


@dataclass(frozen=True, kw_only=True)
class PatternParts:
    """Views into a pattern tensor, cut to the non-zeros it holds.

    Attributes:
        rows: number of rows R.
        columns: number of columns C.
        capacity: how many non-zeros there is room for.
        row_offsets: (R + 1,) int32.
        column_of: (N,) int32, in row order.
        column_offsets: (C + 1,) int32, or None where there is no part by columns.
        row_of: (N,) int32, in column order, or None.
        source: (N,) int32, from column order to row order, or None.
    """

    rows: int
    columns: int
    capacity: int
    row_offsets: Tensor
    column_of: Tensor
    column_offsets: Tensor | None
    row_of: Tensor | None
    source: Tensor | None

    @property
    def non_zeros(self) -> int:
        """How many connections the pattern holds, N."""
        return self.column_of.numel()


def _check_mask(mask: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be bool, got {mask.dtype}")
    if mask.dim() != 2:
        raise ValueError(f"mask must have 2 dimensions, got shape {tuple(mask.shape)}")


def _check_sizes(rows: int, columns: int, capacity: int) -> None:
    """Raises a ValueError unless int32 can tell each connection's place."""
    if not (0 <= rows < 2**31 and 0 <= columns < 2**31):
        raise ValueError(f"rows and columns must be in [0, 2**31), got {rows} and {columns}")
    most = min(rows * columns, 2**31 - 1)
    if not 0 <= capacity <= most:
        raise ValueError(f"capacity must be in [0, {most}], got {capacity}")


def pattern_room(length: int, rows: int, columns: int) -> tuple[int, bool]:
    """What the length of a pattern says.

    Args:
        length: numbers in the tensor.
        rows: R.
        columns: C.

    Returns:
        For how many connections it has room, and whether it has the part by columns.
    """
    by_rows = length - (_HEADER + rows + 1)
    by_both = by_rows - (columns + 1)
    if by_both >= 0 and by_both % 3 == 0:
        return by_both // 3, True
    return by_rows, False


def empty_pattern(
    rows: int,
    columns: int,
    capacity: int,
    device: torch.device | None = None,
    *,
    by_columns: bool | None = None,
) -> Tensor:
    """Room for a pattern.

    Args:
        rows: rows R of the matrix.
        columns: its columns C.
        capacity: how many non-zeros there shall be room for.
        device: where it shall be; the CPU by default.
        by_columns: whether to have the part by columns; by default, elsewhere than on the CPU.

    Returns:
        An int32 tensor whose content is unspecified until `pack_pattern_` fills it.
    """
    _check_sizes(rows, columns, capacity)
    place = torch.device(device or "cpu")
    if by_columns is None:
        by_columns = place.type != "cpu"
    numbers = _HEADER + rows + 1 + (columns + 1 + 3 * capacity if by_columns else capacity)
    if pattern_room(numbers, rows, columns)[1] != by_columns:
        numbers += 1
    return torch.empty(numbers, dtype=torch.int32, device=place)


def pack_pattern_(pattern: Tensor, mask: Tensor) -> Tensor:
    """Writes the pattern of a mask into a pattern tensor, in place.

    Args:
        pattern: from `empty_pattern` with the mask's shape and enough capacity; any device.
        mask: (R, C) bool, True where there is a connection.

    Returns:
        `pattern`.

    Raises:
        RuntimeError: the mask keeps more connections than the capacity, or the tensors do not fit
            each other.
    """
    _check_mask(mask)
    on_device = pattern.device.type == "cuda" and native.libraries.cuda is not None
    packed = pattern if on_device else pattern.cpu()
    torch.ops.lsh.pack_pattern_(packed, mask.detach().to(packed.device).contiguous())
    if packed is not pattern:
        pattern.copy_(packed)
    if on_device and not torch.cuda.is_current_stream_capturing():
        refuse_overfull(pattern, *mask.shape)
    return pattern


def refuse_overfull(pattern: Tensor, rows: int, columns: int) -> None:
    """Raise a RuntimeError if there was no room for the mask of a pattern packed on a device.

    It waits for the device. Where that may not be, as in a CUDA graph, products with such a
    pattern give NaN.
    """
    kept = int(pattern[_NON_ZEROS])
    capacity, _ = pattern_room(pattern.numel(), rows, columns)
    if kept > capacity:
        raise RuntimeError(
            f"mask must keep at most {capacity} connections, the capacity of the pattern, "
            f"got {kept}"
        )


def pack_pattern(
    mask: Tensor, capacity: int | None = None, *, by_columns: bool | None = None
) -> Tensor:
    """The pattern of a mask.

    Args:
        mask: (R, C) bool, True where there is a connection.
        capacity: room to leave; the number of connections by default.
        by_columns: as `empty_pattern` takes it.

    Returns:
        An int32 tensor on the mask's device, laid out as this file's docstring says.

    Example:
        >>> import torch
        >>> parts = pattern_parts(pack_pattern(torch.eye(3, dtype=torch.bool)))
        >>> parts.column_of.tolist()
        [0, 1, 2]
    """
    _check_mask(mask)
    if capacity is None:
        capacity = int(mask.count_nonzero())
    rows, columns = mask.shape
    pattern = empty_pattern(rows, columns, capacity, mask.device, by_columns=by_columns)
    return pack_pattern_(pattern, mask)


def full_pattern(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """The pattern of a matrix in which everything is connected, made by plain arithmetic.

    Args:
        rows: R.
        columns: C.
        device: where it shall be.

    Returns:
        What `pack_pattern` gives for a mask of ones; a compiler can trace it.
    """
    count = rows * columns
    _check_sizes(rows, columns, count)
    row, column = torch.arange(rows), torch.arange(columns)
    parts = [torch.arange(rows + 1) * columns, column.repeat(rows)]
    room = count
    if torch.device(device or "cpu").type != "cpu":
        parts += [
            torch.arange(columns + 1) * rows,
            row.repeat(columns),
            (column[:, None] + row * columns).flatten(),
        ]
    elif pattern_room(_HEADER + rows + 1 + count, rows, columns)[1]:
        parts.append(torch.zeros(1, dtype=torch.int64))
        room += 1
    header = torch.tensor([_MARK, _VERSION, rows, columns, count, room, 0, 0])
    return torch.cat([header, *parts]).to(device=device, dtype=torch.int32)


def pattern_parts(pattern: Tensor) -> PatternParts:
    """Reads a pattern tensor.

    Args:
        pattern: int32, as `pack_pattern` makes it.

    Returns:
        Views of its parts.

    Raises:
        ValueError: the tensor is no pattern.
    """
    if pattern.dtype != torch.int32 or pattern.dim() != 1 or pattern.numel() < _HEADER:
        raise ValueError(
            f"pattern must be a 1-dimensional int32 tensor of at least {_HEADER} numbers, "
            f"got {pattern.dtype} of shape {tuple(pattern.shape)}"
        )
    mark, version, rows, columns, non_zeros, capacity = pattern[:6].tolist()
    if mark != _MARK or version != _VERSION:
        raise ValueError(
            f"pattern must be a packed pattern of version {_VERSION}, got other content"
        )
    room, by_columns = pattern_room(pattern.numel(), rows, columns)
    if min(rows, columns, non_zeros) < 0 or non_zeros > capacity or capacity != room:
        raise ValueError(
            f"pattern must hold at most {room} connections of a {rows} x {columns} matrix in "
            f"{pattern.numel()} numbers, got {non_zeros} with room for {capacity}"
        )
    sizes = [
        _HEADER,
        rows + 1,
        capacity,
        *((columns + 1, capacity, capacity) if by_columns else ()),
    ]
    _, row_offsets, column_of, *others = pattern.split(sizes)
    column_offsets, row_of, source = others or (None, None, None)
    return PatternParts(
        rows=rows,
        columns=columns,
        capacity=capacity,
        row_offsets=row_offsets,
        column_of=column_of[:non_zeros],
        column_offsets=column_offsets,
        row_of=None if row_of is None else row_of[:non_zeros],
        source=None if source is None else source[:non_zeros],
    )


@torch.library.impl("lsh::pack_pattern_", "ADInplaceOrView")
def _(pattern: Tensor, mask: Tensor) -> None:
    """Tells autograd of the change, so that a backward pass on the old pattern is refused."""
    with torch._C._AutoDispatchBelowADInplaceOrView():
        torch.ops.lsh.pack_pattern_(pattern, mask)
    torch.autograd.graph.increment_version(pattern)
