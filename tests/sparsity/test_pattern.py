"""Patterns: what packing writes, and what it refuses."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lsh_native.sparsity.pattern import (
    PatternParts,
    empty_pattern,
    full_pattern,
    pack_pattern,
    pack_pattern_,
    pattern_parts,
    pattern_room,
)

HEADER = 8
SHAPES = [(1, 1), (1, 9), (9, 1), (4, 4), (12, 5), (3, 70), (64, 17), (0, 5), (5, 0), (0, 0)]


def draw_mask(rows: int, columns: int, density: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, columns, generator=generator) < density


def assert_describes(parts: PatternParts, mask: Tensor) -> None:
    """The definition: both orders of the non-zeros, and the way from one to the other."""
    rows, columns = mask.shape
    by_row = mask.nonzero()
    order = (by_row[:, 1] * max(rows, 1) + by_row[:, 0]).argsort()
    assert (parts.rows, parts.columns, parts.non_zeros) == (rows, columns, len(by_row))
    assert parts.column_of.tolist() == by_row[:, 1].tolist()
    assert parts.row_offsets.tolist() == [0, *mask.sum(1).cumsum(0).tolist()]
    if parts.column_offsets is None:
        assert (parts.row_of, parts.source) == (None, None)
        return
    assert parts.row_of.tolist() == by_row[order, 0].tolist()
    assert parts.source.tolist() == order.tolist()
    assert parts.column_offsets.tolist() == [0, *mask.sum(0).cumsum(0).tolist()]


# ------------------------------------------------------------------------------------------ packing


@pytest.mark.parametrize("both", [False, True], ids=["rows", "both"])
def test_a_pattern_by_hand(both: bool) -> None:
    mask = torch.tensor([[0, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=torch.bool)
    pattern = pack_pattern(mask, 5, by_columns=both)
    assert pattern.dtype == torch.int32
    found = pattern[2:].tolist()
    assert found[: 6 + 4 + 4] == [
        *(3, 3, 4, 5, 0, 0),  # rows, columns, non-zeros, capacity, two spare numbers
        *(0, 2, 2, 4),
        *(1, 2, 0, 2),
    ]
    if both:
        assert found[15:] == [
            *(0, 1, 2, 4),
            *(2, 0, 0, 2, found[23]),
            *(2, 0, 1, 3, found[28]),
        ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("room", [0, 5])
@pytest.mark.parametrize("both", [False, True], ids=["rows", "both"])
def test_packing_is_its_definition(
    shape: tuple[int, int], density: float, room: int, both: bool
) -> None:
    mask = draw_mask(*shape, density)
    count = int(mask.sum())
    capacity = min(count + room, mask.numel())
    parts = pattern_parts(pack_pattern(mask, capacity, by_columns=both))
    assert_describes(parts, mask)
    assert (parts.column_offsets is not None) == both
    assert capacity <= parts.capacity <= capacity + (not both)


@given(
    st.integers(0, 20), st.integers(0, 20), st.floats(0, 1), st.integers(0, 2**31), st.booleans()
)
def test_packing_random_masks(
    rows: int, columns: int, density: float, seed: int, both: bool
) -> None:
    mask = draw_mask(rows, columns, density, seed)
    assert_describes(pattern_parts(pack_pattern(mask, by_columns=both)), mask)


@pytest.mark.parametrize(("rows", "columns"), [(4, 3), (0, 0), (7, 2), (3, 9)])
def test_a_length_tells_of_both_kinds(rows: int, columns: int) -> None:
    for capacity in range(rows * columns + 1):
        for both in (False, True):
            pattern = empty_pattern(rows, columns, capacity, by_columns=both)
            room, by_columns = pattern_room(pattern.numel(), rows, columns)
            assert by_columns == both
            assert capacity <= room <= capacity + (not both)


def test_packing_by_several_threads_gives_the_same_bits(
    set_threads: Callable[[int], None],
) -> None:
    uneven = torch.arange(600)[:, None] < 2 * torch.arange(560)[None]
    for mask in (draw_mask(600, 560, 0.9), uneven, uneven.flip(0).clone()):
        expected = pack_pattern(mask, by_columns=True)
        assert_describes(pattern_parts(expected), mask)
        for threads in (2, 3, 3, 3):
            set_threads(threads)
            assert torch.equal(pack_pattern(mask, by_columns=True), expected)
        set_threads(1)


def test_the_room_by_default_is_the_number_of_connections() -> None:
    mask = draw_mask(7, 5, 0.5)
    assert pattern_parts(pack_pattern(mask, by_columns=True)).capacity == int(mask.sum())


@pytest.mark.parametrize("shape", [*SHAPES, (2, 2), (6, 7)], ids=str)
def test_a_full_pattern_is_that_of_a_mask_of_ones(shape: tuple[int, int]) -> None:
    mask = torch.ones(shape, dtype=torch.bool)
    found, expected = full_pattern(*shape), pack_pattern(mask)
    assert_describes(pattern_parts(found), mask)
    assert found.numel() == expected.numel()
    assert found[:HEADER].tolist() == expected[:HEADER].tolist()


def test_a_mask_of_any_strides() -> None:
    mask = draw_mask(10, 6, 0.5)
    assert_describes(pattern_parts(pack_pattern(mask.t())), mask.t())
    assert_describes(pattern_parts(pack_pattern(mask[::2, ::3])), mask[::2, ::3])


def test_a_mask_changes_in_place() -> None:
    pattern = empty_pattern(6, 5, 20)
    for seed, density in enumerate((0.6, 0.0, 0.3, 0.5)):
        mask = draw_mask(6, 5, density, seed)
        assert pack_pattern_(pattern, mask) is pattern
        parts = pattern_parts(pattern)
        assert_describes(parts, mask)
        assert parts.capacity == 20


def test_the_room_is_used_to_the_last_place() -> None:
    mask = draw_mask(6, 5, 0.5)
    pattern = empty_pattern(6, 5, int(mask.sum()))
    assert_describes(pattern_parts(pack_pattern_(pattern, mask)), mask)


def test_too_many_connections_leave_the_pattern_as_it_was() -> None:
    pattern = pack_pattern(draw_mask(6, 5, 0.4), 14)
    before = pattern.clone()
    with pytest.raises(RuntimeError, match=r"at most 14 connections.*got 30"):
        pack_pattern_(pattern, torch.ones(6, 5, dtype=torch.bool))
    assert torch.equal(pattern, before)


def test_any_byte_but_zero_is_a_connection() -> None:
    """A bool tensor made from other memory may hold any byte: torch reads it as true."""
    bytes_ = torch.tensor([[0, 1, 2], [255, 0, 0], [128, 3, 0], [0, 0, 0]], dtype=torch.uint8)
    pattern = torch.zeros(HEADER + 5 + 4 + 3 * 400, dtype=torch.int32)
    torch.ops.lsh.pack_pattern_(pattern, bytes_.view(torch.bool))
    assert_describes(pattern_parts(pattern), bytes_ != 0)


# ------------------------------------------------------------------------------------------- errors


def test_errors_of_packing() -> None:
    mask = draw_mask(4, 3, 0.5)
    with pytest.raises(TypeError, match=r"mask must be bool, got torch\.float32"):
        pack_pattern(mask.float())
    with pytest.raises(ValueError, match=r"mask must have 2 dimensions, got shape \(4,\)"):
        pack_pattern(mask[:, 0])
    with pytest.raises(ValueError, match=r"capacity must be in \[0, 12\], got 13"):
        pack_pattern(mask, 13)
    with pytest.raises(ValueError, match=r"capacity must be in \[0, 12\], got -1"):
        pack_pattern(mask, -1)
    with pytest.raises(RuntimeError, match="at most 0 connections"):
        pack_pattern(torch.ones(4, 3, dtype=torch.bool), 0)


@pytest.mark.parametrize(("rows", "columns"), [(-1, -1), (2**31, 1), (1, 2**31)])
def test_a_pattern_of_impossible_sizes(rows: int, columns: int) -> None:
    for make in (lambda: empty_pattern(rows, columns, 0), lambda: full_pattern(rows, columns)):
        with pytest.raises(ValueError, match=r"rows and columns must be in \[0, 2\*\*31\), got"):
            make()


def test_a_pattern_of_more_connections_than_it_can_count() -> None:
    with pytest.raises(ValueError, match=r"capacity must be in \[0, 2147483647\], got 2147483648"):
        empty_pattern(2**16, 2**16, 2**31)
    with pytest.raises(ValueError, match=r"capacity must be in \[0, 2147483647\], got 4294967296"):
        full_pattern(2**16, 2**16)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (torch.zeros(20, dtype=torch.int64), "pattern must be int32, got int64"),
        (torch.zeros(4, 5, dtype=torch.int32), "pattern must have 1 dimensions"),
        (torch.zeros(12, dtype=torch.int32), "pattern must hold 13 . capacity numbers"),
        (torch.zeros(100, dtype=torch.int32)[::2], "pattern must be contiguous"),
        (torch.zeros(0, dtype=torch.int32), "pattern must hold 13 . capacity numbers"),
    ],
    ids=["dtype", "dimensions", "short", "strides", "empty"],
)
def test_errors_of_the_packing_operator(pattern: Tensor, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        torch.ops.lsh.pack_pattern_(pattern, torch.zeros(4, 3, dtype=torch.bool))


def test_errors_of_the_packing_operator_about_the_mask() -> None:
    pattern, mask = empty_pattern(4, 3, 12), draw_mask(4, 3, 0.5)
    for wrong, message in (
        (mask.float(), "mask must be bool, got float32"),
        (mask[0], "mask must have 2 dimensions"),
        (draw_mask(3, 4, 0.5).t(), "mask must be contiguous"),
    ):
        with pytest.raises(RuntimeError, match=message):
            torch.ops.lsh.pack_pattern_(pattern, wrong)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, 0, "must be a packed pattern of version 2, got other content"),
        (1, 1, "must be a packed pattern of version 2, got other content"),
        (2, 5, "pattern must hold"),
        (3, -1, "pattern must hold"),
        (4, -1, "pattern must hold"),
        (4, 10, "pattern must hold"),
        (5, 8, "pattern must hold"),
        (5, -1, "pattern must hold"),
        (5, 2**31 - 1, "pattern must hold"),
    ],
)
def test_parts_of_what_is_no_pattern(position: int, value: int, message: str) -> None:
    pattern = pack_pattern(torch.ones(3, 3, dtype=torch.bool))
    pattern[position] = value
    with pytest.raises(ValueError, match=message):
        pattern_parts(pattern)


def test_parts_of_the_wrong_tensor() -> None:
    for wrong in (torch.zeros(30), torch.zeros(7, dtype=torch.int32), empty_pattern(2, 2, 1)[None]):
        with pytest.raises(ValueError, match="must be a 1-dimensional int32 tensor"):
            pattern_parts(wrong)
