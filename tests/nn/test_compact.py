"""Compact stacks compute what the whole ones do, with fewer units; and which units those are."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from lsh_native.nn import (
    SparseGRU,
    SparseLinear,
    SparseLSTM,
    SparseRHN,
    SparseRNN,
    compact,
)

T, B, I, H, O = 5, 3, 4, 8, 5  # noqa: E741
KINDS: dict[str, Callable[..., Any]] = {
    "LSTM": SparseLSTM,
    "GRU": SparseGRU,
    "projected LSTM": lambda i, h, **options: SparseLSTM(i, h, proj_size=O, **options),
    "RNN": SparseRNN,
    "RHN": lambda i, h, **options: SparseRHN(i, h, 2, **options),
}
kinds = pytest.mark.parametrize("kind", KINDS)
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {"num_layers": 3}) for kind in KINDS),
    *((kind, {"num_layers": 2, "bidirectional": True}) for kind in KINDS if kind != "RHN"),
    ("LSTM", {"batch_first": True, "bias": False}),
    ("RHN", {"coupled": False, "num_layers": 2}),
    ("GRU", {"num_layers": 2, "zoneout": 0.3}),
]


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(kind: str, density: float, **options: Any) -> Any:
    torch.manual_seed(3)
    return KINDS[kind](I, H, density=density, dtype=torch.float64, **options)


def flat(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [t for part in result for t in flat(part)]


def state_for(stack: Any) -> Any:
    count = stack.num_layers * (2 if stack.bidirectional else 1)
    states = [draw(count, B, n, seed=7 + i) for i, n in enumerate(stack._state_sizes())]
    return tuple(states) if len(states) > 1 else states[0]


def some(stack: Any) -> Tensor:
    """A quarter of the outputs."""
    return torch.arange(stack._state_sizes()[0] * (2 if stack.bidirectional else 1)) % 4 == 1


def assert_same(small: Any, stack: Any, read: Tensor) -> None:
    """Outputs that are read, and final states of the units kept, whatever the initial state."""
    x, hx = draw(T, B, I), state_for(stack)
    found, expected = small(x, hx), stack(x, hx)
    torch.testing.assert_close(found[0][..., read], expected[0][..., read])
    parts = [part for layer in stack._needed(read) for part in layer]
    kept = [torch.stack(kind) for kind in zip(*parts, strict=True)]  # outputs, units
    for i, (a, b) in enumerate(zip(flat(found[1]), flat(expected[1]), strict=True)):
        assert a.shape == b.shape
        needed = kept[min(i, 1)]
        torch.testing.assert_close(a * needed[:, None], b * needed[:, None])


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
@pytest.mark.parametrize("density", [0.03, 0.1])
def test_the_same_function_with_fewer_units(
    kind: str, options: dict[str, Any], density: float
) -> None:
    stack = build(kind, density, **options).eval()
    if stack.batch_first:
        stack.batch_first = False
    for read in (torch.ones_like(some(stack)), some(stack)):
        small = compact(stack, read)
        assert_same(small, stack, read)
        assert not small.training
    entries = [sum(p.numel() for p in module.parameters()) for module in (small, stack)]
    assert entries[0] < entries[1] or density > 0.05


@kinds
def test_gradients_and_packed_sequences(kind: str) -> None:
    stack = build(kind, 0.1, num_layers=2)
    small = compact(stack)
    packed = pack_sequence([draw(4, I), draw(2, I, seed=2)])
    torch.testing.assert_close(small(packed)[0].data, stack(packed)[0].data)
    grads = []
    for module in (small, stack):
        module(packed)[0].data.cos().sum().backward()
        grads.append(sum(p.grad.square().sum() for n, p in module.named_parameters() if "l1" in n))
    torch.testing.assert_close(*grads)


def test_units_by_hand() -> None:
    """Unit 0 is read, 1 feeds 0, 2 feeds 1, 3 feeds itself, 4 is fed only, 5 has nothing."""
    layer = SparseRNN(2, 6)
    recurrent = torch.zeros(6, 6, dtype=torch.bool)
    recurrent[[0, 1, 3, 4], [1, 2, 3, 0]] = True
    layer.set_masks({"weight_hh_l0": recurrent})
    [[needed]] = layer.needed_units(torch.arange(6) == 0)
    assert needed.tolist() == [True, True, True, False, False, False]
    assert layer.needed_units()[0][0].all()


def test_whole_units_removed_run_as_a_smaller_dense_stack() -> None:
    stack, decoder = SparseLSTM(I, H, 2, dtype=torch.float64), SparseLinear(H, 3)
    live = torch.arange(H) < 3
    rows = live.repeat(4)[:, None]
    stack.set_masks(
        {
            "weight_ih_l0": rows.expand(-1, I),
            **dict.fromkeys(("weight_hh_l0", "weight_ih_l1", "weight_hh_l1"), rows & live),
        }
    )
    decoder.set_masks({"weight": live.expand(3, -1)})
    assert stack.explain().endswith(
        "5 of 8 units of layer 0 have no effect: compact() removes them"
    )
    small = compact(stack, decoder.masks()["weight"].any(0))
    lines = small.explain().splitlines()
    assert lines[0] == f"weight_ih_l0: 12 x {I}, fully connected: torch's dense LSTM"
    assert lines[2] == "weight_ih_l1: 12 x 3, fully connected: torch's dense LSTM"
    assert_same(small, stack, live)
    assert "units=[3, 3]" in repr(small)
    one = small.eval()
    torch._dynamo.reset()
    compiled = torch.compile(one, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(draw(T, B, I))[0], one(draw(T, B, I))[0])


@kinds
def test_a_layer_that_nobody_reads_keeps_one_unit(kind: str) -> None:
    stack = build(kind, 0.5, num_layers=2)
    masks = stack.masks()
    stack.set_masks({name: torch.zeros_like(m) for name, m in masks.items() if "ih_l1" in name})
    small = compact(stack)
    assert small.weight_ih_l1.shape[1] == 1
    torch.testing.assert_close(small(draw(T, B, I))[0], stack(draw(T, B, I))[0])


@kinds
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_dtypes(kind: str, copied: Callable[[Any], Any]) -> None:
    small = compact(build(kind, 0.1, num_layers=2))
    twin = copied(small)
    x = draw(T, B, I)
    assert torch.equal(twin(x)[0], small(x)[0])
    twin.load_state_dict(small.state_dict())
    narrow = copied(small).to(torch.bfloat16)
    assert narrow(x.to(torch.bfloat16))[0].dtype == torch.bfloat16


@kinds
def test_dropout_in_training(kind: str) -> None:
    stack = build(kind, 0.1, num_layers=2, dropout=0.3, weight_dropout=0.3, state_dropout=0.3)
    small = compact(stack)
    torch.manual_seed(0)
    found = small(draw(T, B, I))[0]
    torch.manual_seed(0)
    assert torch.equal(small(draw(T, B, I))[0], found)
    assert not torch.equal(small(draw(T, B, I))[0], found)


def test_errors() -> None:
    stack = build("GRU", 0.1)
    with pytest.raises(TypeError, match="stack must be a sparse recurrent stack, got GRU"):
        compact(nn.GRU(I, H))
    with pytest.raises(ValueError, match="must not be compact already"):
        compact(compact(stack))
    with pytest.raises(TypeError, match=r"read must be a bool tensor, got torch\.float32"):
        compact(stack, torch.ones(H))
    with pytest.raises(ValueError, match=r"read must have shape \(8,\), got \(7,\)"):
        compact(stack, torch.ones(7, dtype=torch.bool))
