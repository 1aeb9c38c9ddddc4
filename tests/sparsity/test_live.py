"""Values of connections apart from their weight, and rows of a sparse table."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lsh_native.sparsity.live import (
    AdamStep,
    adam_live_,
    adam_live_definition_,
    average_live_,
    average_live_definition_,
    live_entries,
    read_live,
    write_live_,
)
from lsh_native.sparsity.pattern import pack_pattern
from lsh_native.sparsity.rows import sparse_rows, sparse_rows_definition


def draw(rows: int, columns: int, density: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A matrix in float64 and a mask."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, columns, generator=generator) < density
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64), mask


@given(
    rows=st.integers(0, 30),
    columns=st.integers(0, 30),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_values_are_those_under_the_mask_and_come_back_there(rows, columns, density, dtype):
    weight, mask = draw(rows, columns, density)
    weight = weight.to(dtype)
    pattern = pack_pattern(mask, rows * columns)
    values = read_live(weight, pattern)
    assert torch.equal(values, weight[mask])
    assert torch.equal(values, weight[live_entries(pattern)])
    expected = weight.masked_scatter(mask, values + 1)
    write_live_(weight, values + 1, pattern)
    assert torch.equal(weight, expected)


def test_every_number_of_threads_moves_every_value() -> None:
    weight, mask = draw(700, 900, 0.9)
    pattern, before = pack_pattern(mask), torch.get_num_threads()
    torch.set_num_threads(2)
    values = read_live(weight, pattern)
    write_live_(weight, -values, pattern)
    torch.set_num_threads(before)
    assert torch.equal(values, -weight[mask])


def test_means_equal_their_definition(tolerance: Callable[..., dict[str, float]]) -> None:
    weight, mask = draw(9, 11, 0.5)
    pattern = pack_pattern(mask)
    age, mean = weight.abs().ceil() - 1, weight.clone()
    expected = age.clone(), mean.clone()
    for _ in range(3):
        values = read_live(torch.randn_like(weight), pattern)
        average_live_(age, mean, values, pattern)
        average_live_definition_(*expected, values, pattern)
    assert torch.equal(age, expected[0])
    torch.testing.assert_close(mean, expected[1], **tolerance(torch.float64))


def test_a_first_mean_is_the_value_whatever_stood_there() -> None:
    age, mean = torch.zeros(1, 1), torch.full((1, 1), torch.inf)
    average_live_(age, mean, torch.tensor([2.0]), pack_pattern(torch.ones(1, 1).bool()))
    assert (age.item(), mean.item()) == (1, 2)


def test_a_step_of_adam_equals_its_definition(tolerance: Callable[..., dict[str, float]]) -> None:
    weight, mask = draw(9, 11, 0.5)
    pattern = pack_pattern(mask)
    ours = weight.clone(), weight.abs(), read_live(weight, pattern)
    expected = tuple(tensor.clone() for tensor in ours)
    for step in range(1, 4):
        gradient = read_live(torch.randn_like(weight), pattern)
        factors = AdamStep(beta1=0.8, beta2=0.9, rate=0.1 / step, root=0.3 * step, epsilon=1e-3)
        adam_live_(*ours, gradient, pattern, factors)
        adam_live_definition_(*expected, gradient, pattern, factors)
    for found, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, wanted, **tolerance(torch.float64))
    assert torch.equal(ours[0][~mask], weight[~mask])


def test_autograd_hears_of_what_is_written() -> None:
    weight, mask = draw(4, 5, 0.5)
    pattern, version = pack_pattern(mask), weight._version
    write_live_(weight, read_live(weight, pattern), pattern)
    assert weight._version > version


def test_operands_that_do_not_fit_are_refused() -> None:
    weight, mask = draw(4, 5, 0.5)
    pattern = pack_pattern(mask)
    values = read_live(weight, pattern)
    other = torch.zeros_like(pattern)
    adam = AdamStep(beta1=0.9, beta2=0.99, rate=0.1, root=1.0, epsilon=1e-8)
    for call in (
        lambda: write_live_(weight, values[1:].clone(), pattern),
        lambda: write_live_(weight, values.float(), pattern),
        lambda: write_live_(weight.mT, values, pattern),
        lambda: average_live_(weight, weight[:3].clone(), values, pattern),
        lambda: adam_live_(weight, weight[:3].clone(), values, values, pattern, adam),
        lambda: adam_live_(weight, weight.clone(), values, values[1:].clone(), pattern, adam),
        lambda: adam_live_(weight, weight.clone(), values, values.float(), pattern, adam),
        lambda: read_live(weight, other),
        lambda: read_live(weight[0], pattern),
    ):
        with pytest.raises(RuntimeError, match="must"):
            call()


# --------------------------------------------------------------------------------------------- rows


@given(count=st.integers(0, 40), density=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(0, 9))
def test_rows_and_their_gradient_equal_their_definition(count, density, seed):
    weight, mask = draw(9, 7, density, seed)
    ids = torch.randint(9, (count,), generator=torch.Generator().manual_seed(seed))
    values = weight[mask].requires_grad_()
    pattern, results = pack_pattern(mask), []
    for call in (sparse_rows, sparse_rows_definition):
        rows = call(ids, values, pattern, (9, 7))
        results.append((rows, *torch.autograd.grad(rows.square().sum(), values)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_rows_have_derivatives_of_any_order() -> None:
    weight, mask = draw(5, 4, 0.5)
    ids, values = torch.tensor([4, 1, 4]), weight[mask].requires_grad_()
    pattern = pack_pattern(mask)

    def call(values: Tensor) -> Tensor:
        return sparse_rows(ids, values, pattern, (5, 4)).pow(3)

    assert torch.autograd.gradcheck(call, values)
    assert torch.autograd.gradgradcheck(call, values)


@pytest.mark.parametrize("ids", [[-1], [5], [2**40]])
def test_ids_outside_the_table_are_refused(ids: list[int]) -> None:
    weight, mask = draw(5, 4, 0.5)
    with pytest.raises(RuntimeError, match=r"ids must be in \[0, 5\)"):
        sparse_rows(torch.tensor(ids), weight[mask], pack_pattern(mask), (5, 4))
