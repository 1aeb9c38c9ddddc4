"""Records of the final table: known counts, JSON and back, hostile numbers."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.report.final import (
    Block,
    FinalTable,
    ModelFigures,
    budget_to_dict,
    count_blocks,
)
from lsh_native.search.result import Budget

BLOCK = Block(matrix="w", weights=8, non_zeros=2)
FIGURES = {"method": "dense", "valid_perplexity": 60.0, "epochs": 3, "seconds": 1.5}


def test_blocks_of_known_masks():
    recurrent = torch.zeros(8, 3, dtype=torch.bool)
    recurrent[0, 0] = recurrent[2:4] = recurrent[7, 1:] = True
    masks = {
        "embedding.weight": torch.tensor([[True, False], [True, True]]),
        "recurrent.weight_hh_l0": recurrent,
    }
    found = count_blocks(masks, gates={"recurrent.weight_hh_l0": ("i", "f", "g", "o")})
    assert [(b.matrix.split(".")[1], b.gate, b.weights, b.non_zeros) for b in found] == [
        ("weight", "", 4, 3),
        ("weight_hh_l0", "i", 6, 1),
        ("weight_hh_l0", "f", 6, 6),
        ("weight_hh_l0", "g", 6, 0),
        ("weight_hh_l0", "o", 6, 2),
    ]
    assert found[0].density == 0.75


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_blocks_add_up_to_the_masks(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    masks = {
        name: torch.rand(4 * rows, columns, generator=generator) < 0.3
        for name in ("weight_ih_l0", "decoder.weight")
    }
    found = count_blocks(masks, gates={"weight_ih_l0": "ifgo"})
    assert sum(b.non_zeros for b in found) == sum(int(mask.sum()) for mask in masks.values())
    assert sum(b.weights for b in found) == sum(mask.numel() for mask in masks.values())


def test_rows_must_divide_among_the_gates():
    with pytest.raises(ValueError, match="must have rows for 4 gates, got 6"):
        count_blocks({"w": torch.ones(6, 2, dtype=torch.bool)}, gates={"w": "ifgo"})


def test_a_single_gate_is_its_matrix():
    (block,) = count_blocks({"w": torch.ones(3, 2, dtype=torch.bool)}, gates={"w": ("h",)})
    assert (block.matrix, block.gate, block.weights) == ("w", "", 6)


@pytest.mark.parametrize(("weights", "non_zeros"), [(0, 0), (4, 5), (4, -1)])
def test_impossible_blocks(weights, non_zeros):
    with pytest.raises(ValueError, match="0 <= non_zeros <= weights"):
        Block(matrix="w", weights=weights, non_zeros=non_zeros)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("valid_perplexity", math.nan),
        ("valid_perplexity", 0.5),
        ("test_perplexity", math.inf),
        ("file_bytes", -1),
        ("training_tokens_per_second", math.nan),
        ("seconds", math.inf),
    ],
)
def test_impossible_figures(name, value):
    with pytest.raises(ValueError, match=f"{name} must be finite and at least"):
        ModelFigures(**{**FIGURES, "blocks": (BLOCK,), name: value})


def test_a_model_has_connections():
    with pytest.raises(ValueError, match="at least one matrix"):
        ModelFigures(**FIGURES, blocks=())


def test_the_best_possible_perplexity_is_one():
    model = ModelFigures(**FIGURES, blocks=(BLOCK,))
    budget = Budget(candidates=1, total=1, trial_epochs=1, reference_epochs=1)
    with pytest.raises(ValueError, match="best_possible_perplexity must be finite"):
        FinalTable(dense=model, found=None, budget=budget, best_possible_perplexity=math.nan)


def test_the_budget_beside_its_rivals():
    record = budget_to_dict(
        Budget(
            candidates=40,
            total=100,
            trial_epochs=380,
            reference_epochs=100,
            trial_seconds=760.0,
            reference_seconds=250.0,
            spectrum_seconds=10.0,
        )
    )
    assert record["search"] == {"epochs": 480, "seconds": 1020.0, "over_search": 1.0}
    assert record["full_search"] == {
        "epochs": 4000,
        "seconds": 8000.0,
        "over_search": 4000 / 480,
    }
    assert record["halving"] == {"epochs": 380, "seconds": 760.0, "over_search": 380 / 480}


def test_a_budget_without_epochs_estimates_nothing():
    budget = Budget(candidates=0, total=0, trial_epochs=0, reference_epochs=0)
    assert budget_to_dict(budget)["full_search"]["seconds"] is None


def test_json_and_back(run, final_table):
    run()
    table = final_table()
    record = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert FinalTable.from_dict(record, table.budget) == table
    assert record["found"]["density"] == table.found.non_zeros / table.found.weights
    assert record["found_over_dense"]["file_bytes"] == 29_120 / 42_000


def test_nothing_found(run, final_table):
    run()
    whole = final_table()
    table = FinalTable(dense=whole.dense, found=None, budget=whole.budget)
    record = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert record["found"] is record["found_over_dense"] is None
    assert FinalTable.from_dict(record, table.budget) == table
