"""Products with panels packed once beside the sparse ones, which have definitions to answer to."""

from contextlib import suppress

import pytest
import torch
from random_layer import RandomLayer

from lsh_native.cells import (
    ELMAN,
    FREE_RHN,
    GRU,
    LSTM,
    RHN,
    can_panel,
    pack_panels,
    paneled_tangent,
    run,
    tangent,
)

SHAPES = ((1, 1, 3, 5, 1), (3, 5, 4, 70, 2), (2, 2, 3, 150, 61))  # T, B, I, H, K


@pytest.mark.parametrize("cell", [ELMAN, FREE_RHN, GRU, LSTM, RHN], ids=lambda cell: cell.name)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_paneled_and_sparse_products_agree(cell, shape, dtype, tolerance):
    T, B, I, H, K = shape  # noqa: E741
    depth = 3 if "rhn" in cell.name else 1
    layer = RandomLayer(T=T, B=B, I=I, H=H, dtype=dtype, cell=cell, D=depth)
    weights = layer.weights()
    state = torch.zeros(len(cell.states), B, H, dtype=dtype)
    trajectory = run(cell, layer["input"], state, weights).trajectory
    assert can_panel(cell, trajectory)
    vectors = torch.randn(B, len(cell.states), H, K, dtype=dtype)
    panels = pack_panels(cell, weights, H, K)
    found = paneled_tangent(cell, vectors, trajectory, panels)
    _, expected = tangent(cell, vectors, trajectory, weights)
    torch.testing.assert_close(found, expected, **tolerance(dtype))
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    together = paneled_tangent(cell, vectors, trajectory, pack_panels(cell, weights, H, K))
    torch.set_num_threads(threads)
    assert torch.equal(together, found)


def test_panels_that_were_not_packed_for_the_product_are_refused():
    layer = RandomLayer(T=2, B=1, I=2, H=40)
    weights = layer.weights()
    state = torch.zeros(2, 1, 40, dtype=torch.float64)
    trajectory = run(LSTM, layer["input"], state, weights).trajectory
    vectors = torch.randn(1, 2, 40, 30, dtype=torch.float64)
    (packed,) = pack_panels(LSTM, weights, 40, 30)
    others = pack_panels(LSTM, RandomLayer(T=2, B=1, I=2, H=44).weights(), 44, 30)
    with pytest.raises(RuntimeError, match="packed for this product and pattern"):
        paneled_tangent(LSTM, vectors, trajectory, others)
    with pytest.raises(RuntimeError, match="bytes that lsh::pack_weight made"):
        paneled_tangent(LSTM, vectors, trajectory, [packed.float()])
    with pytest.raises(RuntimeError, match="as lsh::pack_weight made it"):
        paneled_tangent(LSTM, vectors, trajectory, [packed[:-64].clone()])
    obeyed = 0
    for begin in range(0, len(packed), 8):
        spoilt = packed.clone()
        spoilt[begin : begin + 8] = 255
        with suppress(RuntimeError):
            paneled_tangent(LSTM, vectors, trajectory, [spoilt])
            obeyed += 8
    places = 2 * int(weights.pattern_hh[0][4])  # bytes: two a connection, all refused
    assert len(packed) - obeyed >= places > 0


def test_bent_steps_take_no_panels():
    layer = RandomLayer(T=2, B=3, I=2, H=4, bent=("hold",))
    state = torch.zeros(2, 3, 4, dtype=torch.float64)
    hold = torch.full((2, 2, 3, 4), 0.5, dtype=torch.float64)
    trajectory = run(LSTM, layer["input"], state, layer.weights(), hold=hold).trajectory
    assert not can_panel(LSTM, trajectory)
