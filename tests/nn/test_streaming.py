"""A stack that goes on where its last call stopped: what it puts out is what the stack does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lsh_native.nn import (
    SparseGRU,
    SparseLinear,
    SparseLSTM,
    SparseRHN,
    SparseRNN,
    Streaming,
    compact,
)
from lsh_native.nn.dtypes import MisfitError
from lsh_native.nn.recurrent import SparseRecurrent
from lsh_native.sparsity.packed import PackedWeights

STACKS: dict[str, Callable[..., SparseRecurrent]] = {
    "lstm": lambda: SparseLSTM(9, 21, num_layers=2, density=0.3),
    "projected-lstm": lambda: SparseLSTM(9, 21, proj_size=6, density=0.3),
    "gru": lambda: SparseGRU(9, 21, num_layers=3, density=0.3),
    "rnn": lambda: SparseRNN(9, 21, bias=False, density=0.3),
    "rhn": lambda: SparseRHN(9, 21, depth=3, density=0.3),
    "without-masks": lambda: SparseGRU(9, 21),
    "zoneout": lambda: SparseLSTM(9, 21, density=0.3, zoneout=(0.1, 0.5)).eval(),
    "dropout": lambda: SparseLSTM(9, 21, 2, dropout=0.5, output_dropout=0.5, density=0.3).eval(),
    "batch-first": lambda: SparseLSTM(9, 21, batch_first=True, density=0.3),
}
stacks = pytest.mark.parametrize("name", STACKS)
LENGTHS = (1, 1, 4, 1, 40, 4)


def as_tuple(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


@stacks
@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@torch.no_grad()
def test_pieces_give_what_the_whole_gives(name: str, batch: int, dtype: torch.dtype) -> None:
    stack = STACKS[name]().to(dtype)
    exact = name != "without-masks" and dtype != torch.bfloat16
    streaming, hx = Streaming(stack, batch), None
    time = 1 if name == "batch-first" else 0
    pieces = torch.randn(sum(LENGTHS), batch, 9, dtype=dtype).split(LENGTHS)
    for piece in pieces:
        x = piece.transpose(0, 1) if time else piece
        with PackedWeights():  # the same kernels for the same numbers of lanes
            expected, hx = stack(x, hx)
        found = streaming(x)
        assert found.dtype == expected.dtype
        if exact:
            assert torch.equal(found, expected)
        elif dtype == torch.bfloat16:  # a stack rounds its state after every call
            torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
        else:  # a stack without masks runs torch's kernels
            torch.testing.assert_close(found, expected)
    if exact:
        for found, expected in zip(as_tuple(streaming.state), as_tuple(hx), strict=True):
            assert torch.equal(found, expected)


def test_one_sequence_needs_no_batch_dimension() -> None:
    stack, x = STACKS["lstm"](), torch.randn(5, 9)
    streaming, beside = Streaming(stack), Streaming(stack)
    assert torch.equal(streaming(x), beside(x.unsqueeze(1)).squeeze(1))


def test_a_state_is_a_copy_and_can_be_set_and_forgotten() -> None:
    stack, x = STACKS["lstm"](), torch.randn(3, 1, 9)
    streaming = Streaming(stack)
    first, state = streaming(x), streaming.state
    second = streaming(x)
    for part in streaming.state:
        part.zero_()
    third = streaming(x)
    streaming.state = state
    assert torch.equal(streaming(x), second)
    assert torch.equal(streaming(x), third)
    streaming.reset()
    assert torch.equal(streaming(x), first)


def test_no_gradient_is_recorded_and_dropout_is_left_out() -> None:
    stack = SparseLSTM(9, 21, 2, dropout=0.5, weight_dropout=0.5, input_dropout=0.5, density=0.3)
    x = torch.randn(3, 1, 9, requires_grad=True)
    found = Streaming(stack.train())(x)
    assert not found.requires_grad
    with torch.no_grad():
        assert torch.equal(found, stack.eval()(x)[0])


def test_weights_are_those_of_when_it_was_made() -> None:
    stack, x = STACKS["gru"](), torch.randn(40, 1, 9)
    streaming = Streaming(stack)
    before = Streaming(stack)(x)
    streaming(x[:1])  # and of no other moment, whatever lengths come later
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.mul_(2)
    stack.set_masks({name: ~mask for name, mask in stack.masks().items()})
    streaming.reset()
    assert torch.equal(streaming(x), before)
    assert not torch.equal(Streaming(stack)(x), before)


def test_an_input_that_does_not_fit_leaves_the_state_alone() -> None:
    streaming = Streaming(STACKS["lstm"](), batch=2)
    streaming(torch.randn(3, 2, 9))
    before = streaming.state
    for wrong, message in (
        (torch.randn(3, 1, 9), r"input must be of 2 sequences, got shape \(3, 1, 9\)"),
        (torch.randn(3, 9), r"input must be of 2 sequences, got shape \(3, 9\)"),
        (torch.randn(3, 2, 8), "the last dimension of input must be input_size 9"),
        (torch.randn(0, 2, 9), "input must have at least one time step"),
        (torch.randn(3, 2, 9).double(), "input must be torch.float32"),
    ):
        with pytest.raises(MisfitError, match=message):
            streaming(wrong)
    with pytest.raises(MisfitError, match=r"the initial h must have shape \(2, 2, 21\)"):
        streaming.state = (torch.zeros(2, 1, 21), torch.zeros(2, 1, 21))
    assert all(torch.equal(a, b) for a, b in zip(streaming.state, before, strict=True))


def test_what_cannot_stream() -> None:
    with pytest.raises(ValueError, match="forwards only, got one with bidirectional=True"):
        Streaming(SparseGRU(9, 21, bidirectional=True))
    for stack in (SparseLinear(9, 21), compact(SparseGRU(9, 21, density=0.1))):
        with pytest.raises(TypeError, match="a recurrent one of this package, and not compact"):
            Streaming(stack)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        Streaming(STACKS["rnn"](), 0)
    with pytest.raises(TypeError, match="batch must be an int, got float"):
        Streaming(STACKS["rnn"](), 1.0)  # type: ignore[arg-type]
