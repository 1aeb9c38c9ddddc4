"""The folded product of every cell beside the sparse one, which is checked against definitions."""

import pytest
import torch
from random_layer import RandomLayer

from lsh_native.cells import ELMAN, FREE_RHN, GRU, LSTM, RHN, can_fold, folded_tangent, run, tangent

SHAPES = ((1, 1, 3, 5, 1), (3, 5, 4, 70, 2))  # T, B, I, H, K


@pytest.mark.parametrize("cell", [ELMAN, FREE_RHN, GRU, LSTM, RHN], ids=lambda cell: cell.name)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folded_and_sparse_products_agree(cell, shape, dtype, tolerance):
    T, B, I, H, K = shape  # noqa: E741
    depth = 3 if "rhn" in cell.name else 1
    layer = RandomLayer(T=T, B=B, I=I, H=H, dtype=dtype, cell=cell, D=depth)
    weights = layer.weights()
    state = torch.zeros(len(cell.states), B, H, dtype=dtype)
    trajectory = run(cell, layer["input"], state, weights).trajectory
    assert can_fold(cell, trajectory)
    vectors = torch.randn(B, len(cell.states), H, K, dtype=dtype)
    dense = [
        weight.masked_fill(~layer["mask_hh" + (str(d) if d else "")], 0)
        for d, weight in enumerate(weights.weight_hh)
    ]
    found = folded_tangent(cell, vectors, trajectory, dense)
    _, expected = tangent(cell, vectors, trajectory, weights)
    torch.testing.assert_close(found, expected, **tolerance(dtype))


def test_bent_steps_are_not_folded():
    layer = RandomLayer(T=2, B=3, I=2, H=4, bent=("hold",))
    state = torch.zeros(2, 3, 4, dtype=torch.float64)
    hold = torch.full((2, 2, 3, 4), 0.5, dtype=torch.float64)
    trajectory = run(LSTM, layer["input"], state, layer.weights(), hold=hold).trajectory
    assert not can_fold(LSTM, trajectory)
