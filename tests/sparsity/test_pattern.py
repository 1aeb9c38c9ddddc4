"""Patterns: what packing writes, and that no content of a pattern tensor can do harm."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lsh_native.cells import LSTM, run_definition
from lsh_native.sparsity.pattern import (
    PatternParts,
    empty_pattern,
    pack_pattern,
    pack_pattern_,
    pattern_parts,
)

HEADER = 8
SHAPES = [(1, 1), (1, 9), (9, 1), (4, 4), (12, 5), (3, 70), (64, 17), (0, 5), (5, 0), (0, 0)]


@pytest.fixture(autouse=True)
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.set_num_threads
    torch.set_num_threads(before)


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
    assert parts.row_of.tolist() == by_row[order, 0].tolist()
    assert parts.source.tolist() == order.tolist()
    assert parts.row_offsets.tolist() == [0, *mask.sum(1).cumsum(0).tolist()]
    assert parts.column_offsets.tolist() == [0, *mask.sum(0).cumsum(0).tolist()]


# ------------------------------------------------------------------------------------------ packing


def test_a_pattern_by_hand() -> None:
    pattern = pack_pattern(torch.tensor([[0, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=torch.bool))
    assert pattern.dtype == torch.int32
    assert pattern[2:].tolist() == [
        *(3, 3, 4, 4, 0, 0),  # rows, columns, non-zeros, capacity, two spare numbers
        *(0, 2, 2, 4),
        *(1, 2, 0, 2),
        *(0, 1, 2, 4),
        *(2, 0, 0, 2),
        *(2, 0, 1, 3),
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("room", [0, 5])
def test_packing_is_its_definition(shape: tuple[int, int], density: float, room: int) -> None:
    mask = draw_mask(*shape, density)
    count = int(mask.sum())
    capacity = min(count + room, mask.numel())
    parts = pattern_parts(pack_pattern(mask, capacity))
    assert_describes(parts, mask)
    assert parts.capacity == capacity


@given(st.integers(0, 20), st.integers(0, 20), st.floats(0, 1), st.integers(0, 2**31))
def test_packing_random_masks(rows: int, columns: int, density: float, seed: int) -> None:
    mask = draw_mask(rows, columns, density, seed)
    assert_describes(pattern_parts(pack_pattern(mask)), mask)


def test_packing_by_several_threads_gives_the_same_bits(
    set_threads: Callable[[int], None],
) -> None:
    uneven = torch.arange(600)[:, None] < 2 * torch.arange(560)[None]
    for mask in (draw_mask(600, 560, 0.9), uneven, uneven.flip(0).clone()):
        expected = pack_pattern(mask)
        assert_describes(pattern_parts(expected), mask)
        for threads in (2, 3, 3, 3):
            set_threads(threads)
            assert torch.equal(pack_pattern(mask), expected)
        set_threads(1)


def test_the_room_by_default_is_the_number_of_connections() -> None:
    mask = draw_mask(7, 5, 0.5)
    assert pattern_parts(pack_pattern(mask)).capacity == int(mask.sum())


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


def test_a_pattern_of_negative_size() -> None:
    with pytest.raises(ValueError, match="rows"):
        empty_pattern(-1, -1, 0)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (torch.zeros(20, dtype=torch.int64), "pattern must be int32, got int64"),
        (torch.zeros(4, 5, dtype=torch.int32), "pattern must have 1 dimensions"),
        (torch.zeros(16, dtype=torch.int32), "pattern must hold 17 . 3 . capacity numbers"),
        (torch.zeros(18, dtype=torch.int32), "pattern must hold 17 . 3 . capacity numbers"),
        (torch.zeros(100, dtype=torch.int32)[::2], "pattern must be contiguous"),
        (torch.zeros(0, dtype=torch.int32), "pattern must hold 17 . 3 . capacity numbers"),
    ],
    ids=["dtype", "dimensions", "short", "remainder", "strides", "empty"],
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
        (0, 0, "must be a packed pattern of version 1, got other content"),
        (1, 2, "must be a packed pattern of version 1, got other content"),
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


# ------------------------------------------------------------------------------- corrupted patterns


Compare = Callable[[Tensor], tuple[Tensor, Tensor]]


class Calls:
    """Every operator on one pattern of a (4 H, C) matrix, beside plain products.

    A method gives what the operator found and what the plain definition says for a dense mask.
    """

    def __init__(self, hidden: int, columns: int, packed: int | None) -> None:
        generator = torch.Generator().manual_seed(hidden + columns)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.rows, self.hidden = 4 * hidden, hidden
        self.x, self.sequence = draw(5, columns), draw(2, 3, columns)
        self.weight = draw(self.rows, columns) if packed is None else draw(packed)
        self.state = torch.zeros(2, 3, hidden, dtype=torch.float64)
        self.recurrent = torch.zeros(self.rows, hidden, dtype=torch.float64)
        self.no_recurrence = pack_pattern(self.recurrent.bool())
        self.grad = draw(5, self.rows)

    def dense(self, mask: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            return self.weight * mask
        dense = torch.zeros(mask.shape, dtype=torch.float64)
        dense[mask] = self.weight[: int(mask.sum())]
        return dense

    def stored(self, gradient: Tensor, mask: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            return gradient * mask
        values = gradient[mask]
        return torch.cat([values, values.new_zeros(len(self.weight) - len(values))])

    def product(self, pattern: Tensor) -> Compare:
        y = torch.ops.lsh.sparse_linear(self.x, self.weight, pattern, None, self.rows, False)
        return lambda mask: (y, self.x @ self.dense(mask).mT)

    def product_backward(self, pattern: Tensor) -> Compare:
        d_x, d_weight, _ = torch.ops.lsh.sparse_linear_backward(
            self.grad, self.x, self.weight, pattern, True, True, False
        )
        return lambda mask: (
            torch.cat([d_x.flatten(), d_weight.flatten()]),
            torch.cat(
                [
                    (self.grad @ self.dense(mask)).flatten(),
                    self.stored(self.grad.mT @ self.x, mask).flatten(),
                ]
            ),
        )

    def _lstm(self, pattern: Tensor) -> tuple[Tensor, ...]:
        result: tuple[Tensor, ...] = torch.ops.lsh.lstm_forward(
            self.sequence,
            self.state,
            self.weight,
            [self.recurrent],
            pattern,
            [self.no_recurrence],
            *[None] * 5,
            False,
        )
        return result

    def lstm(self, pattern: Tensor) -> Compare:
        output = self._lstm(pattern)[0]
        return lambda mask: (
            output,
            run_definition(LSTM, self.sequence, self.state, self.dense(mask), [self.recurrent])[0],
        )

    def lstm_backward(self, pattern: Tensor) -> Compare:
        output, _, activations, states = self._lstm(pattern)
        d_x = torch.ops.lsh.lstm_backward(
            torch.ones_like(output),
            None,
            self.sequence,
            self.state,
            activations,
            states,
            self.weight,
            [self.recurrent],
            pattern,
            [self.no_recurrence],
            *[None] * 5,
            True,
            False,
        )[0]

        def defined(mask: Tensor) -> tuple[Tensor, Tensor]:
            x = self.sequence.clone().requires_grad_()
            y = run_definition(LSTM, x, self.state, self.dense(mask), [self.recurrent])[0]
            return d_x, torch.autograd.grad(y.sum(), x)[0]

        return defined


def unless_refused(call: Callable[[Tensor], Compare], pattern: Tensor) -> Compare | None:
    """What an operator found; None where it refused the pattern in a sentence."""
    try:
        return call(pattern)
    except RuntimeError as error:
        if "must " not in str(error):
            raise
        return None


def rows_of(pattern: Tensor, rows: int, columns: int) -> Tensor:
    """The mask that the part by rows describes, made entry by entry."""
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    offsets = pattern[HEADER : HEADER + rows + 1].tolist()
    column_of = pattern[HEADER + rows + 1 :].tolist()
    for row in range(rows):
        entries = column_of[offsets[row] : offsets[row + 1]]
        assert entries == sorted(set(entries))
        mask[row, entries] = True
    return mask


NUMBERS = st.one_of(
    st.integers(-3, 20),
    st.sampled_from([-(2**31), -(2**30), 2**16, 2**30, 2**31 - 2, 2**31 - 1]),
    st.integers(-(2**31), 2**31 - 1),
)


@st.composite
def corruptions(draw: st.DrawFn) -> tuple[Tensor, Calls, int]:
    """A pattern with a few numbers replaced, moved by one, exchanged or repeated."""
    hidden, columns = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    mask = draw_mask(4 * hidden, columns, draw(st.floats(0, 1)), draw(st.integers(0, 1000)))
    count = int(mask.sum())
    pattern = pack_pattern(mask, min(mask.numel(), count + draw(st.sampled_from([0, 0, 3]))))
    packed = draw(st.sampled_from([None, count]))
    places = st.integers(0, pattern.numel() - 1)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["replace", "shift", "exchange", "repeat"]))
        place, other = draw(places), draw(places)
        if kind == "replace":
            pattern[place] = draw(NUMBERS)
        elif kind == "shift":
            pattern[place] += draw(st.sampled_from([-1, 1]))
        elif kind == "exchange":
            pattern[[place, other]] = pattern[[other, place]]
        else:
            pattern[place] = pattern[other]
    return pattern, Calls(hidden, columns, packed), columns


@settings(max_examples=200)
@given(corruptions())
def test_a_corrupted_pattern_is_refused_or_describes_another_matrix(
    case: tuple[Tensor, Calls, int],
) -> None:
    pattern, calls, columns = case
    for call in (calls.product, calls.product_backward, calls.lstm, calls.lstm_backward):
        if (compare := unless_refused(call, pattern)) is not None:
            torch.testing.assert_close(*compare(rows_of(pattern, calls.rows, columns)))


@settings(max_examples=100)
@given(st.integers(1, 3), st.integers(1, 5), st.data())
def test_any_numbers_behind_a_valid_header_do_no_harm(
    hidden: int, columns: int, data: st.DataObject
) -> None:
    mask = draw_mask(4 * hidden, columns, 0.5)
    pattern = pack_pattern(mask)
    size = pattern.numel() - HEADER
    few = st.lists(st.integers(-1, columns + 2), min_size=size, max_size=size)
    pattern[HEADER:] = torch.tensor(data.draw(few), dtype=torch.int32)
    calls = Calls(hidden, columns, None)
    for call in (calls.product, calls.product_backward, calls.lstm, calls.lstm_backward):
        if (compare := unless_refused(call, pattern)) is not None:
            torch.testing.assert_close(*compare(rows_of(pattern, calls.rows, columns)))


FAULTS: dict[str, tuple[Callable[[PatternParts], None], str]] = {
    "offsets start above zero": (lambda p: p.row_offsets[:1].fill_(1), "row offsets that ascend"),
    "offsets end too early": (lambda p: p.row_offsets[-1:].sub_(1), "row offsets that ascend"),
    "offsets descend": (lambda p: p.row_offsets[3:4].fill_(0), "row offsets that ascend"),
    "offsets beyond the end": (lambda p: p.row_offsets[3:4].fill_(2**30), "row offsets that asc"),
    "negative column": (lambda p: p.column_of[:1].fill_(-1), "columns that ascend"),
    "column outside": (lambda p: p.column_of[-1:].fill_(5), "columns that ascend"),
    "huge column": (lambda p: p.column_of[-1:].fill_(2**31 - 1), "columns that ascend"),
    "column twice": (lambda p: p.column_of[1:2].copy_(p.column_of[:1]), "columns that ascend"),
    "columns not sorted": (lambda p: p.column_of.copy_(p.column_of.flip(0)), "columns that ascend"),
}
COLUMN_FAULTS: dict[str, Callable[[PatternParts], None]] = {
    "offsets start above zero": lambda p: p.column_offsets[:1].fill_(1),
    "offsets beyond the end": lambda p: p.column_offsets[2:3].fill_(2**30),
    "negative row": lambda p: p.row_of[:1].fill_(-1),
    "row outside": lambda p: p.row_of[-1:].fill_(12),
    "source outside": lambda p: p.source[:1].fill_(2**30),
    "sources all the same": lambda p: p.source.fill_(0),
}


def corrupt(fault: Callable[[PatternParts], None]) -> tuple[Tensor, Tensor]:
    mask = torch.ones(12, 5, dtype=torch.bool)
    mask[4] = False
    pattern = pack_pattern(mask)
    fault(pattern_parts(pattern))
    return pattern, mask


@pytest.mark.parametrize("name", FAULTS)
def test_faults_by_rows_are_named(name: str) -> None:
    fault, message = FAULTS[name]
    pattern, _ = corrupt(fault)
    calls = Calls(3, 5, None)
    for call in (calls.product, calls.product_backward, calls.lstm):
        with pytest.raises(RuntimeError, match=f"pattern(_ih)? must have {message}"):
            call(pattern)


@pytest.mark.parametrize("name", COLUMN_FAULTS)
def test_the_part_by_columns_is_not_read_on_the_cpu(name: str) -> None:
    pattern, mask = corrupt(COLUMN_FAULTS[name])
    calls = Calls(3, 5, None)
    for call in (calls.product, calls.product_backward, calls.lstm, calls.lstm_backward):
        torch.testing.assert_close(*call(pattern)(mask))


def test_every_worker_checks_its_share(set_threads: Callable[[int], None]) -> None:
    """One fault anywhere in a pattern that several threads check is found."""
    mask = torch.ones(560, 500, dtype=torch.bool)
    x, g, weight = (torch.ones(n, m) for n, m in ((1, 500), (1, 560), (560, 500)))
    good = pack_pattern(mask)
    set_threads(3)
    N = int(mask.sum())
    for place in (0, N // 3 + 7, N // 2, 2 * N // 3 + 7, N - 1):
        pattern = good.clone()
        pattern[HEADER + 561 + place] = 2**30
        with pytest.raises(RuntimeError, match="pattern must have columns"):
            torch.ops.lsh.sparse_linear_backward(g, x, weight, pattern, True, True, False)
        with pytest.raises(RuntimeError, match="pattern must have columns"):
            torch.ops.lsh.sparse_linear(x, weight, pattern, None, 560, False)
