"""Forms of masks: by hand, and beside a definition that looks at every entry."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lsh_native.sparsity.form import BLOCK_HEIGHTS, form_of


def draw(rows: int, columns: int, density: float = 0.4, seed: int = 0) -> Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < density


def rows(*texts: str) -> Tensor:
    return torch.tensor([[mark == "x" for mark in text] for text in texts])


@pytest.mark.parametrize(
    ("mask", "gates", "text"),
    [
        (rows("xx", "xx"), 1, "fully connected"),
        (rows("..", ".."), 2, "0 connections (0.0%)"),
        (rows("x.", "xx", ".."), 1, "3 connections (50.0%), 1 rows without any"),
        (rows("xx", "x."), 1, "3 connections (75.0%)"),
        (
            rows("x.", ".x", "x.", ".x"),
            2,
            "4 connections (50.0%), the same for 2 gates, 1 in every row",
        ),
        (rows(*["x.."] * 4, *[".xx"] * 4), 1, "12 connections (50.0%), blocks of 4 x 1"),
        (rows("x.x."), 1, "2 connections (50.0%), 2 in every row, 2 columns without any"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_forms_by_hand(mask: Tensor, gates: int, text: str) -> None:
    assert str(form_of(mask, gates)) == text


@pytest.mark.parametrize("height", BLOCK_HEIGHTS)
def test_blocks_are_aligned_within_a_gate(height: int) -> None:
    mask = draw(2 * 3, 5).repeat_interleave(height, 0)
    assert form_of(mask, 2).block_height == height
    assert form_of(mask.roll(1, 0), 2).block_height == 1
    assert form_of(mask, 2 * 3 * height).block_height == 1  # gates of one unit


@given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.floats(0, 1), st.integers(0, 99))
def test_forms_are_their_definition(
    units: int, columns: int, gates: int, density: float, seed: int
) -> None:
    rows = 4 * units * gates
    mask = draw(rows, columns, density, seed)
    form = form_of(mask, gates)
    per_gate = [mask[g * 4 * units : (g + 1) * 4 * units] for g in range(gates)]
    counts = [sum(row) for row in mask.tolist()]
    assert form.shared_by_gates == all(torch.equal(part, per_gate[0]) for part in per_gate)
    assert (form.block_height >= 4) == all(
        torch.equal(mask[r], mask[r // 4 * 4]) for r in range(rows)
    )
    assert form.fan_in == (counts[0] if rows and len(set(counts)) == 1 else None)
    assert form.empty_rows == counts.count(0)
    assert form.empty_columns == [sum(c) for c in mask.t().tolist()].count(0)
    assert form.connections == sum(counts)


def test_errors() -> None:
    with pytest.raises(TypeError, match=r"mask must be bool, got torch\.float32"):
        form_of(torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"mask must have 2 dimensions, got shape \(2,\)"):
        form_of(torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="gates must divide the 4 rows of mask, got 3"):
        form_of(torch.ones(4, 2, dtype=torch.bool), 3)
