"""Plain and averaged SGD against traces computed by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lsh_native.training.optim import (
    AveragedSGD,
    averaged_parameters,
    averaging_is_due,
    clip_gradients_,
)


def parameter(*values):
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def descend(optimizer, weight, *gradient):
    weight.grad = torch.tensor(gradient, dtype=torch.float64)
    optimizer.step()


def averages(optimizer, weight):
    with averaged_parameters(optimizer):
        return weight.tolist()


def test_plain_trace():
    weight = parameter(1.0)
    optimizer = AveragedSGD([weight], lr=0.5, weight_decay=0.25)
    descend(optimizer, weight, 1.0)  # 1 - 0.5 (1 + 0.25 · 1)
    assert weight.item() == 0.375
    descend(optimizer, weight, -2.0)  # 0.375 - 0.5 (-2 + 0.25 · 0.375)
    assert weight.item() == pytest.approx(1.328125, abs=1e-15)
    assert not optimizer.averaging
    assert averages(optimizer, weight) == weight.tolist()


def test_averaging_trace():
    weight = parameter(8.0)
    optimizer = AveragedSGD([weight], lr=1.0)
    descend(optimizer, weight, 1.0)  # 7, before averaging
    optimizer.start_averaging()
    assert optimizer.averaging
    assert averages(optimizer, weight) == [7]  # no step yet: the weight stands for itself
    trace = []
    for gradient in (1.0, 3.0, -4.0, 2.0):  # weights 6, 3, 7, 5
        descend(optimizer, weight, gradient)
        trace.append(averages(optimizer, weight)[0])
    assert trace == pytest.approx([6, 4.5, 16 / 3, 5.25], abs=1e-15)
    assert weight.item() == 5


def test_sparse_averaging_trace():
    """The first weight is dropped after two steps and grown after three; the second stays."""
    weight = parameter(4.0, 4.0)
    optimizer = AveragedSGD([weight], lr=1.0)
    optimizer.start_averaging()

    def clear():  # what a topology does with dropped and grown connections
        for tensor in (weight.data, *optimizer.state[weight].values()):
            assert tensor.shape == weight.shape
            tensor[0] = 0

    descend(optimizer, weight, 2.0, 1.0)  # weights 2, 3
    descend(optimizer, weight, -2.0, 1.0)  # weights 4, 2
    assert averages(optimizer, weight) == [3, 2.5]
    clear()
    assert averages(optimizer, weight) == [0, 2.5]
    descend(optimizer, weight, 0.0, 1.0)  # weights 0, 1
    clear()
    assert averages(optimizer, weight) == [0, 2]
    descend(optimizer, weight, -5.0, 0.0)  # grown: weights 5, 1
    assert averages(optimizer, weight) == [5, 1.75]
    descend(optimizer, weight, 2.0, 0.0)  # weights 3, 1
    assert averages(optimizer, weight) == pytest.approx([4, 1.6], abs=1e-15)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.floats(0, 0.1))
def test_average_is_the_mean_of_the_iterates(gradients, weight_decay):
    weight = parameter(1.0)
    optimizer = AveragedSGD([weight], lr=0.1, weight_decay=weight_decay)
    optimizer.start_averaging()
    iterates = []
    for gradient in gradients:
        descend(optimizer, weight, gradient)
        iterates.append(weight.item())
    assert averages(optimizer, weight)[0] == pytest.approx(
        math.fsum(iterates) / len(iterates), abs=1e-12
    )


def test_agrees_with_torch_before_averaging():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(5))] for _ in range(2))
    optimizers = (
        AveragedSGD(ours, lr=0.3, weight_decay=0.1),
        torch.optim.SGD(theirs, lr=0.3, weight_decay=0.1),
    )
    for _ in range(10):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_starting_twice_keeps_the_averages():
    weight = parameter(3.0)
    optimizer = AveragedSGD([weight], lr=1.0)
    optimizer.start_averaging()
    descend(optimizer, weight, 1.0)
    descend(optimizer, weight, 1.0)
    optimizer.start_averaging()
    assert averages(optimizer, weight) == [1.5]


def test_weights_come_back_bit_for_bit_after_an_error():
    weight = nn.Parameter(torch.tensor([0.1, -0.0, 1e-42, math.pi]))
    optimizer = AveragedSGD([weight], lr=1.0)
    optimizer.start_averaging()
    for _ in range(3):
        weight.grad = torch.full_like(weight, 0.3)
        optimizer.step()
    before = weight.detach().clone().view(torch.int32)

    def fail_inside():
        with averaged_parameters(optimizer):
            assert not torch.equal(weight.view(torch.int32), before)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert torch.equal(weight.detach().view(torch.int32), before)


def test_weight_without_gradient_stays():
    still, moving = parameter(1.0), parameter(1.0)
    optimizer = AveragedSGD([still, moving], lr=1.0, weight_decay=0.5)
    optimizer.start_averaging()
    descend(optimizer, moving, 1.0)
    assert still.item() == 1
    assert averages(optimizer, still) == [1]


def test_closure():
    weight = parameter(1.0)
    optimizer = AveragedSGD([weight], lr=0.25)

    def closure():
        loss = (weight**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 1
    assert weight.item() == 0.5


@pytest.mark.parametrize(("name", "value"), [("lr", -1.0), ("weight_decay", math.nan)])
def test_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name} must be zero or positive, and finite, got"):
        AveragedSGD([parameter(1.0)], **{"lr": 1.0, name: value})


def test_clip_scales_all_gradients_together():
    a, b, without = parameter(0.0), parameter(0.0, 0.0), parameter(0.0)
    a.grad, b.grad = torch.full_like(a, 3), torch.zeros_like(b)
    b.grad[1] = 4
    weights = {"a": a, "b": b, "without": without}
    assert clip_gradients_(weights, 10.0) == 5
    assert (a.grad.tolist(), b.grad.tolist()) == ([3], [0, 4])
    assert clip_gradients_(weights, 2.5) == 5
    assert (a.grad.tolist(), b.grad.tolist()) == ([1.5], [0, 2])


def test_clip_by_the_norm_of_connections():
    weight = parameter(0.0, 0.0)
    weight.grad = torch.tensor([3.0, 4.0], dtype=weight.dtype)
    masks = {"w": torch.tensor([True, False])}
    assert clip_gradients_({"w": weight}, 1.5, masks) == 3
    assert weight.grad.tolist() == [1.5, 2]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_clip_reports_a_gradient_that_is_not_finite(value):
    weight = parameter(0.0)
    weight.grad = torch.full_like(weight, value)
    assert not math.isfinite(clip_gradients_({"w": weight}, 1.0))


@pytest.mark.parametrize(
    ("losses", "nonmono", "due"),
    [
        ([], 1, False),
        ([5.0], 1, False),
        ([5.0, 6.0], 1, False),  # the only earlier loss is overlooked
        ([5.0, 4.0, 5.1], 1, True),  # above 5
        ([5.0, 4.0, 5.0], 1, False),  # not above 5
        ([5.0, 4.0, 4.5], 1, False),  # 4 is overlooked
        ([5.0, 4.0, 4.5, 4.4], 1, True),  # above 4
        ([3.0, 9.0, 9.0, 9.0, 9.0, 9.0], 5, False),
        ([3.0, 9.0, 9.0, 9.0, 9.0, 9.0, 3.1], 5, True),
        ([3.0, 1.0, 9.0, 9.0, 9.0, 9.0, 2.9], 5, False),
        ([1.0, 2.0, 3.0, 4.0], None, False),
    ],
)
def test_trigger(losses, nonmono, due):
    assert averaging_is_due(losses, nonmono) is due


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.integers(1, 5))
def test_trigger_by_its_definition(losses, nonmono):
    log = losses[:-1]
    t = len(log)
    due = t > nonmono and losses[-1] > min(log[: t - nonmono])
    assert averaging_is_due(losses, nonmono) is due
