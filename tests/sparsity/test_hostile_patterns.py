"""No content of a pattern tensor can do harm, whichever operator reads it and by whatever path."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lsh_native.cells import LSTM, LayerWeights, run, run_definition, tangent
from lsh_native.sparsity.linear import sparse_linear
from lsh_native.sparsity.pattern import PatternParts, pack_pattern, pattern_parts

HEADER = 8


def draw_mask(rows: int, columns: int, density: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, columns, generator=generator) < density


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
            True,
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


def corrupt(
    fault: Callable[[PatternParts], None], by_columns: bool = False
) -> tuple[Tensor, Tensor]:
    mask = torch.ones(12, 5, dtype=torch.bool)
    mask[4] = False
    pattern = pack_pattern(mask, by_columns=by_columns)
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
    pattern, mask = corrupt(COLUMN_FAULTS[name], by_columns=True)
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


# ------------------------------------------------------------------------------------------- paths


class Paths:
    """The same calls through the operators, through Python's functions, and compiled."""

    def __init__(self, hidden: int, columns: int) -> None:
        calls = Calls(hidden, columns, None)
        self.x, self.weight, self.rows = calls.x, calls.weight, calls.rows
        self.sequence, self.state = calls.sequence, calls.state
        self.recurrent, self.no_recurrence = calls.recurrent, calls.no_recurrence
        full = pack_pattern(torch.ones(self.rows, columns, dtype=torch.bool))
        self.trajectory = run(LSTM, self.sequence, self.state, self._weights(full)).trajectory
        self.operators = [calls.product, calls.product_backward, calls.lstm]
        self.functions = [self.product, self.gradient, self.run, self.tangent]
        self.compiled = [
            torch.compile(call, fullgraph=True, backend="aot_eager", dynamic=False)
            for call in (self.product, self.run)
        ]

    def _weights(self, pattern: Tensor) -> LayerWeights:
        return LayerWeights(
            weight_ih=self.weight,
            weight_hh=(self.recurrent,),
            pattern_ih=pattern,
            pattern_hh=(self.no_recurrence,),
        )

    def product(self, pattern: Tensor) -> Tensor:
        return sparse_linear(self.x, self.weight, pattern, None, self.rows)

    def gradient(self, pattern: Tensor) -> Tensor:
        weight = self.weight.clone().requires_grad_()
        y = sparse_linear(self.x, weight, pattern, None, self.rows)
        return torch.autograd.grad(y.sum(), weight)[0]

    def run(self, pattern: Tensor) -> Tensor:
        return run(LSTM, self.sequence, self.state, self._weights(pattern)).output

    def tangent(self, pattern: Tensor) -> Tensor:
        vectors = self.state.transpose(0, 1).unsqueeze(-1)
        moved = self.sequence.unsqueeze(-1)
        return tangent(
            LSTM,
            vectors,
            self.trajectory,
            self._weights(pattern),
            input_tangent=moved,
            outputs=True,
        )[0]


@cache
def paths() -> Paths:
    torch.compiler.reset()
    return Paths(2, 3)


def refused(call: Callable[[Tensor], object], pattern: Tensor) -> bool:
    try:
        call(pattern)
    except RuntimeError as error:
        if " must " not in str(error):
            raise
        return True
    return False


@given(st.data())
@settings(max_examples=150)
def test_every_path_refuses_the_same_patterns(data: st.DataObject) -> None:
    """Of one size, as compiled code is made for; what is refused once is refused everywhere."""
    mask = draw_mask(8, 3, 0.5, data.draw(st.integers(0, 100)))
    pattern = pack_pattern(mask, 24)
    for _ in range(data.draw(st.integers(1, 3))):
        pattern[data.draw(st.integers(0, pattern.numel() - 1))] = data.draw(NUMBERS)
    calls = [*paths().operators, *paths().functions, *paths().compiled]
    verdicts = {refused(call, pattern) for call in calls}
    assert len(verdicts) == 1
    if verdicts == {False}:
        expected = rows_of(pattern, 8, 3)
        for call in (paths().functions[0], paths().compiled[0]):
            torch.testing.assert_close(call(pattern), paths().x @ (paths().weight * expected).mT)
