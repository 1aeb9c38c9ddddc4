"""Masked weights as compressed rows: nothing of the mask is lost, broken parts are refused."""

import pytest
import torch

from lsh_native.training.sparse_storage import compress_masked, expand_masked

WEIGHT = torch.tensor([[1.0, 9.0, 0.0], [9.0, 9.0, 9.0], [9.0, 9.0, -2.0]])
# The live zero at (0, 2) is a connection like every other; row 1 has none.
MASK = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 1]], dtype=torch.bool)
STATE = {"w": WEIGHT, "w_mask": MASK, "bias": torch.tensor([5.0])}


def test_a_small_matrix_by_hand():
    stored = compress_masked(STATE)
    assert {name: part.tolist() for name, part in stored.items()} == {
        "w.values": [1.0, 0.0, -2.0],
        "w.columns": [0, 2, 2],
        "w.row_offsets": [0, 2, 2, 3],
        "w.shape": [3, 3],
        "bias": [5.0],
    }
    restored = expand_masked(stored)
    assert torch.equal(restored["w"], WEIGHT * MASK)
    assert torch.equal(restored["w_mask"], MASK)
    assert torch.equal(restored["bias"], STATE["bias"])


@pytest.mark.parametrize("shape", [(7, 5), (1, 40), (40, 1), (3, 0), (0, 3)])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_random_masks_come_back(shape, density):
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(shape, generator=generator) < density
    weight = torch.randn(shape, generator=generator).to(torch.bfloat16)
    restored = expand_masked(compress_masked({"w": weight, "w_mask": mask}))
    assert torch.equal(restored["w_mask"], mask)
    assert torch.equal(restored["w"], weight * mask)


@pytest.mark.parametrize(
    ("part", "tensor", "sentence"),
    [
        ("w.columns", None, "lacks 'w.columns'"),
        ("w.columns", [0, 2, 3], "contradict"),
        ("w.columns", [0, -1, 2], "contradict"),
        ("w.columns", [2, 2, 2], "some come twice"),
        ("w.row_offsets", [0, 2, 1, 3], "contradict"),
        ("w.row_offsets", [0, 2, 3], "contradict"),
        ("w.row_offsets", [1, 2, 2, 3], "contradict"),
        ("w.row_offsets", [0, 2, 2, 4], "contradict"),
        ("w.values", [1.0, 0.0], "contradict"),
        ("w.values", [[1.0, 0.0, -2.0]], "contradict"),
        ("w.shape", [3], "contradict"),
        ("w.shape", [3, -3], "contradict"),
        ("w.shape", [2**40, 3], "contradict"),
    ],
)
def test_broken_parts_are_refused(part, tensor, sentence):
    stored = compress_masked(STATE)
    if tensor is None:
        del stored[part]
    else:
        stored[part] = torch.tensor(tensor, dtype=stored[part].dtype)
    with pytest.raises(ValueError, match=f"w must be stored .*{sentence}"):
        expand_masked(stored)
