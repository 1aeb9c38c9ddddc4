"""Calls of layers with whatever one can put in: a result of the right shape, or a sentence.

What is wrong is drawn: dimensions, sizes, dtype, layout and device of the input, what stands for
the initial state, a packed sequence made by hand. Nothing else than our errors may come out.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lsh_native.nn import SparseGRU, SparseLinear, SparseLSTM, SparseRHN, SparseRNN

# What torch says of its own kernel, which runs stacks without masks.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

I, H, O = 3, 4, 2  # noqa: E741
LAYERS: dict[str, Callable[..., Any]] = {
    "LSTM": lambda **options: SparseLSTM(I, H, **options),
    "projected LSTM": lambda **options: SparseLSTM(I, H, proj_size=O, **options),
    "GRU": lambda **options: SparseGRU(I, H, **options),
    "RNN": lambda **options: SparseRNN(I, H, **options),
    "RHN": lambda **options: SparseRHN(I, H, 2, **options),
}
DTYPES = [torch.float32, torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64]

sizes = st.integers(0, 4)
shapes = st.lists(sizes, min_size=0, max_size=4).map(tuple) | st.tuples(sizes, sizes, st.just(I))


@cache
def layer_of(kind: str, density: float) -> Any:
    torch.manual_seed(0)
    return LAYERS[kind](num_layers=2, density=density)


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> Tensor:
    given = draw(shapes) if shape is None else draw(st.just(shape) | shapes)
    tensor = torch.zeros(given, dtype=draw(st.sampled_from(DTYPES[:1] * 4 + DTYPES)))
    how = draw(st.sampled_from(["plain"] * 6 + ["sparse", "meta", "strides"]))
    if how == "sparse":
        return tensor.to_sparse()
    if how == "meta":
        return tensor.to("meta")
    if how == "strides" and tensor.dim():
        return tensor.repeat_interleave(2, -1)[..., ::2]
    return tensor


@st.composite
def states(draw: st.DrawFn, layer: Any, batch: int | None) -> Any:
    middle = () if batch is None else (batch,)
    right = [(layer.num_layers, *middle, width) for width in layer._state_sizes()]
    parts = [draw(tensors(shape)) for shape in right]
    form = draw(st.sampled_from(["right"] * 3 + ["tuple", "fewer", "more", "none", "other"]))
    if form == "right":
        return tuple(parts) if len(parts) > 1 else parts[0]
    if form == "other":
        return draw(st.sampled_from([3, "h", {}, [None, None], (0.5,)]))
    parts = {"fewer": parts[:1], "more": [*parts, parts[0]]}.get(form, parts)
    return None if form == "none" else tuple(parts)


@st.composite
def sequences(draw: st.DrawFn) -> Any:
    if draw(st.booleans()):
        return draw(tensors())
    counts = draw(st.lists(st.integers(-1, 3), max_size=3))
    data = draw(tensors((max(0, sum(counts)), I)))
    order = draw(st.none() | st.permutations([0, 1, 2]).map(torch.tensor))
    return PackedSequence(data, torch.tensor(counts, dtype=torch.int64), order, order)


def is_ours(error: Exception) -> bool:
    return isinstance(error, ValueError | RuntimeError | TypeError) and " must " in str(error)


@given(st.data())
@settings(max_examples=200)
def test_a_result_or_a_sentence(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(LAYERS)), label="layer")
    layer = layer_of(kind, data.draw(st.sampled_from([1.0, 0.5, 0.0]), label="density"))
    input = data.draw(sequences(), label="input")
    packed = isinstance(input, PackedSequence)
    batch = 2 if packed else input.shape[1] if input.dim() == 3 else None
    hx = data.draw(st.none() | states(layer, batch), label="hx")
    try:
        output, final = layer(input, hx)
    except Exception as error:
        if not is_ours(error):
            raise
        return
    width = layer._state_sizes()[0]
    rows = input.data if packed else input
    assert (output.data if packed else output).shape == (*rows.shape[:-1], width)
    ends = final if isinstance(final, tuple) else (final,)
    assert [end.shape[-1] for end in ends] == layer._state_sizes()


@given(tensors())
@settings(max_examples=100)
def test_a_linear_layer_gives_a_result_or_a_sentence(input: Tensor) -> None:
    layer = SparseLinear(I, H, density=0.5)
    try:
        output = layer(input)
    except Exception as error:
        if not is_ours(error):
            raise
        return
    assert output.shape == (*input.shape[:-1], H)


@pytest.mark.parametrize("kind", LAYERS)
def test_compiled_calls_say_the_same(kind: str) -> None:
    torch.compiler.reset()
    layer = layer_of(kind, 0.5)
    compiled = torch.compile(layer, backend="eager")
    x, states = torch.zeros(2, 3, I), [torch.zeros(2, 3, n) for n in layer._state_sizes()]

    def state(*changed: Tensor) -> Any:
        parts = [*changed, *states[len(changed) :]]
        return tuple(parts) if len(parts) > 1 else parts[0]

    for input, hx in (
        (x[..., :2], None),
        (x.double(), None),
        (x[:0], None),
        (x, state(states[0][:, :2])),
        (x, state(states[0].double())),
    ):
        said = []
        for call in (layer, compiled):
            with pytest.raises(Exception, match=" must ") as error:
                call(input, hx)
            said.append(str(error.value).split(", got")[0])
        assert said[0] in said[1]
