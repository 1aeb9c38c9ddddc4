"""Spoilt operands of the recurrent operators: an error that says so, or results of the right shape.

What is spoilt is drawn: one operand of one operator of one cell gets another shape, dtype, layout
or content. No such call may read or write outside its operands, which the sanitisers of a
debugging build look for.
"""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_layer import RandomLayer
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

from lsh_native.cells import ELMAN, FREE_RHN, GRU, LSTM, PROJECTED_LSTM, RHN, Cell

CELLS = [ELMAN, GRU, LSTM, PROJECTED_LSTM, RHN, FREE_RHN]
BENDS = ("batch_sizes", "hold", "state_scale")
KINDS = ("forward", "backward", "tangent")


def arguments(cell: Cell, kind: str, depth: int, packed: bool) -> dict[str, Any]:
    layer = RandomLayer(T=3, B=5, I=4, H=2, D=depth, cell=cell, bent=BENDS, packed=packed)
    weights, done = layer.weights(), layer.run()
    matrices = {
        "weight_ih": weights.weight_ih,
        "weight_hh": list(weights.weight_hh),
        "pattern_ih": weights.pattern_ih,
        "pattern_hh": list(weights.pattern_hh),
    }
    biases = {"bias_ih": weights.bias_ih, "bias_hh": weights.bias_hh}
    trajectory = {
        "activations": done.trajectory.activations,
        "states": done.trajectory.states,
    }
    start = {"input": layer["input"], "state": layer["state"]}
    if kind == "forward":
        flags = {"dense_gradient": False, "trajectory": True}
        return {**start, **matrices, **biases, **layer.bends, **flags}
    if kind == "backward":
        grads = {"grad_output": layer["grad_output"], "grad_final": layer["grad_final"]}
        flags = {"input_gradient": True, "dense_gradient": False}
        return {**grads, **start, **trajectory, **matrices, **biases, **layer.bends, **flags}
    S = len(cell.states)
    vectors = {
        "tangent": torch.randn(5, S, 2, 3).double(),
        "input_tangent": torch.randn(3, 5, 4, 3).double(),
    }
    return {**vectors, **trajectory, **matrices, **layer.bends, "outputs": True}


def blank(value: Any) -> Any:
    return torch.empty(value.shape, dtype=value.dtype) if isinstance(value, Tensor) else value


@st.composite
def spoilt(draw: st.DrawFn, tensor: Tensor) -> Any:
    """The tensor with one thing about it wrong, or another legal one."""
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    how = draw(
        st.sampled_from(["content", "cut", "longer", "fewer", "more", "dtype", "strides", "none"])
    )
    dim = draw(st.integers(0, tensor.dim() - 1))
    if how == "content" and tensor.dtype in (torch.int32, torch.int64):
        spoilt, at = tensor.clone(), draw(st.integers(0, tensor.numel() - 1))
        spoilt[at] = draw(
            st.sampled_from([-1, 0, 1, 7, 2**31 - 1, -(2**31)]) | st.integers(-20, 200)
        )
        return spoilt
    if how == "content":
        bad = draw(st.sampled_from([float("nan"), float("inf"), -1e30, 0.0]))
        return torch.full_like(tensor, bad)
    if how == "cut":
        return tensor.narrow(dim, 0, draw(st.integers(0, tensor.shape[dim] - 1))).contiguous()
    if how == "longer":
        return torch.cat([tensor, tensor], dim)
    if how == "fewer":
        return tensor.select(dim, 0).contiguous()
    if how == "more":
        return tensor.unsqueeze(dim)
    if how == "dtype":
        other = draw(st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool]))
        return tensor.to(other)
    if how == "strides":
        return tensor.repeat_interleave(2, dim)[(slice(None),) * dim + (slice(None, None, 2),)]
    return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)


@given(st.data())
@settings(max_examples=300)
def test_no_operand_is_trusted(data: st.DataObject) -> None:
    cell = data.draw(st.sampled_from(CELLS), label="cell")
    kind = data.draw(st.sampled_from(KINDS), label="operator")
    given = arguments(cell, kind, data.draw(st.integers(1, 2)), data.draw(st.booleans()))
    name = data.draw(st.sampled_from([n for n, v in given.items() if not isinstance(v, bool)]))
    value = given[name]
    if isinstance(value, list):
        at = data.draw(st.integers(0, len(value) - 1))
        given[name] = [*value[:at], data.draw(spoilt(value[at])), *value[at + 1 :]]
    else:
        given[name] = data.draw(spoilt(value), label=name)
    op = getattr(torch.ops.lsh, f"{cell.name}_{kind}").default
    try:
        found = op(**given)
    except RuntimeError as error:
        if " must " not in str(error):
            raise
        return
    with FakeTensorMode():
        shapes = tree_map(blank, given)
        expected = op(**shapes)
    for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        assert a.shape == b.shape


@pytest.mark.parametrize("kind", KINDS)
def test_bends_are_looked_at_by_every_operator(kind: str) -> None:
    for name, wrong, message in (
        ("batch_sizes", torch.tensor([5, 6, 0]), r"batch_sizes must be in \[0, 5\], got 6"),
        ("batch_sizes", torch.tensor([5.0, 3, 1]), "batch_sizes must be int64 on the CPU"),
        ("hold", torch.ones(3, 2, 5, 3).double(), "hold must have shape"),
        ("state_scale", torch.ones(5, 2), "state_scale must have the dtype of input"),
    ):
        given = arguments(LSTM, kind, 1, False) | {name: wrong}
        with pytest.raises(RuntimeError, match=message):
            getattr(torch.ops.lsh, f"lstm_{kind}").default(**given)
