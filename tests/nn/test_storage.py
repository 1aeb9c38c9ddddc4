"""Sparse modules as named tensors: what is kept, what it takes, and that no tensor is trusted."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import prune

from lsh_native.nn import (
    LanguageModel,
    SparseEmbedding,
    SparseGRU,
    SparseLinear,
    SparseLSTM,
    SparseRHN,
    load_csr_,
    masks_in,
    stored_bytes,
    to_csr,
)
from lsh_native.nn.storage import compressed, expanded


def language_model(density: float) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(
        SparseEmbedding(11, 6), SparseLSTM(6, 6, 2), SparseLinear(6, 11), tied=True
    )
    masks = {n: torch.rand(m.shape) < density for n, m in model.recurrent.masks().items()}
    model.recurrent.set_masks(masks)
    return model


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
def test_a_matrix_by_hand() -> None:
    layer = SparseLinear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    layer.set_masks({"weight": torch.tensor([[True, False, True], [False, False, True]])})
    found = to_csr(layer)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "weight.values": [1, 3, 6],
        "weight.col_indices": [0, 2, 2],
        "weight.crow_indices": [0, 2, 3],
        "weight.shape": [2, 3],
    }
    parts = [found[f"weight.{key}"] for key in ("crow_indices", "col_indices", "values")]
    with torch.sparse.check_sparse_tensor_invariants():
        csr = torch.sparse_csr_tensor(parts[0].long(), parts[1].long(), parts[2], size=(2, 3))
    assert torch.equal(csr.to_dense(), layer.masked_weight("weight"))
    assert stored_bytes(found) == 3 * 4 + 3 * 2 + 3 * 4 + 2 * 8


@pytest.mark.parametrize("shape", [(7, 5), (1, 40), (40, 1), (3, 0), (0, 3)])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_masked_weights_of_a_state_come_back(shape: tuple[int, int], density: float) -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(shape, generator=generator) < density
    weight = torch.randn(shape, generator=generator).to(torch.bfloat16)
    state = {"w": weight, "w_mask": mask, "bias": torch.tensor([5.0])}
    restored = expanded(compressed(state))
    assert restored.keys() == state.keys()
    assert torch.equal(restored["w_mask"], mask)
    assert torch.equal(restored["w"], weight * mask)
    assert restored["bias"] is state["bias"]


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_through_a_safetensors_file(tmp_path: Path, density: float) -> None:
    model, fresh = language_model(density), language_model(0.5)
    save_file(to_csr(model), tmp_path / "model.safetensors")
    load_csr_(fresh, load_file(tmp_path / "model.safetensors"))
    tokens = torch.randint(11, (4, 2))
    assert torch.equal(fresh(tokens)[0], model(tokens)[0])
    for name, mask in model.masks().items():
        assert torch.equal(fresh.masks()[name], mask)


def test_a_file_is_as_small_as_its_connections(tmp_path: Path) -> None:
    layer = SparseLSTM(256, 256, density=0.05)
    tensors = to_csr(layer)
    save_file(tensors, tmp_path / "sparse.safetensors")
    save_file(layer.to_dense().state_dict(), tmp_path / "dense.safetensors")
    size, dense = (
        (tmp_path / f"{kind}.safetensors").stat().st_size for kind in ("sparse", "dense")
    )
    assert 0 <= size - stored_bytes(tensors) < 2048  # the header
    assert size < 0.09 * dense  # 6 bytes a connection instead of 4 an entry, and row offsets


def test_wide_matrices_have_wide_indices() -> None:
    layer = SparseLinear(2**15 + 1, 1, density=0.5)
    assert to_csr(layer)["weight.col_indices"].dtype == torch.int32


def sources(tmp_path: Path) -> dict[str, Any]:
    """The same masks from everywhere, by where from."""
    other = SparseGRU(4, 5, density=0.3)
    pruned = nn.GRU(4, 5)
    for name, mask in other.masks().items():
        prune.custom_from_mask(pruned, name, mask)
    save_file(other.state_dict(), tmp_path / "state.safetensors")
    save_file(to_csr(other), tmp_path / "csr.safetensors")
    around = nn.ModuleDict({"inner": other})
    return {
        "another layer": other.masks(),
        "torch.nn.utils.prune": masks_in(pruned.state_dict()),
        "a file of a state dict": masks_in(load_file(tmp_path / "state.safetensors")),
        "a file of compressed rows": masks_in(load_file(tmp_path / "csr.safetensors")),
        "a layer within a model": masks_in(around.state_dict(), prefix="inner."),
        "compressed rows of a model": masks_in(to_csr(around), prefix="inner."),
    }


def test_masks_from_everywhere(tmp_path: Path) -> None:
    found = sources(tmp_path)
    for masks in found.values():
        layer = SparseGRU(4, 5)
        layer.set_masks(masks)
        for name, mask in found["another layer"].items():
            assert torch.equal(layer.masks()[name], mask)


def test_what_was_pruned_before_stays_so() -> None:
    pruned = nn.GRU(4, 5)
    prune.l1_unstructured(pruned, "weight_hh_l0", amount=0.8)
    kept = pruned.weight_hh_l0_mask.bool()
    assert torch.equal(SparseGRU.from_dense(pruned).masks()["weight_hh_l0"], kept)
    sparser = SparseGRU.from_dense(pruned, density=0.1).masks()["weight_hh_l0"]
    assert int(sparser.sum()) == round(0.1 * kept.numel())
    assert not (sparser & ~kept).any()
    assert torch.equal(SparseGRU.from_dense(pruned, density=0.5).masks()["weight_hh_l0"], kept)


def test_other_sizes_are_refused() -> None:
    tensors = to_csr(SparseRHN(4, 5, 2, density=0.5))
    with pytest.raises((ValueError, RuntimeError), match="must have shape"):
        load_csr_(SparseRHN(4, 6, 2, density=0.5), tensors)
    with pytest.raises(RuntimeError, match="Missing key"):
        load_csr_(SparseRHN(4, 5, 3, density=0.5), tensors)


FAULTS = {
    "columns that ascend": [
        {"col_indices": torch.tensor([2, 0, 2])},
        {"col_indices": torch.tensor([0, 0, 2])},
        {"col_indices": torch.tensor([0, 3, 2])},
        {"col_indices": torch.tensor([-1, 2, 2])},
        {"col_indices": torch.tensor([0, 2, 2**62])},
    ],
    "row offsets that ascend": [
        {"crow_indices": torch.tensor([0, 4, 3])},
        {"crow_indices": torch.tensor([0, 2, 4])},
        {"crow_indices": torch.tensor([1, 2, 3])},
        {"crow_indices": torch.tensor([0, -1, 3])},
    ],
    "as many values as columns": [
        {"values": torch.ones(2)},
        {"values": torch.ones(3, 1)},
        {"crow_indices": torch.tensor([0, 3])},
    ],
    "sizes in": [
        {"shape": torch.tensor([-1, 3]), "crow_indices": torch.tensor([], dtype=torch.long)},
        {"shape": torch.tensor([2, 2**31])},
    ],
    "a shape of two numbers": [
        {"shape": torch.tensor([2])},
        {"shape": torch.tensor([2.0, 3.0])},
        {"col_indices": torch.tensor([0.0, 2.0, 2.0])},
    ],
    "got some of them": [{"values": None}, {"shape": None}],
}


def by_hand() -> dict[str, Tensor]:
    return {
        "weight.values": torch.tensor([1.0, 3.0, 6.0]),
        "weight.col_indices": torch.tensor([0, 2, 2]),
        "weight.crow_indices": torch.tensor([0, 2, 3]),
        "weight.shape": torch.tensor([2, 3]),
    }


@pytest.mark.parametrize("message", FAULTS)
def test_faults_are_named(message: str) -> None:
    layer = SparseLinear(3, 2, bias=False)
    for changes in FAULTS[message]:
        tensors = by_hand() | {f"weight.{name}": tensor for name, tensor in changes.items()}
        given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        with pytest.raises(ValueError, match=f"weight must have.*{message}"):
            load_csr_(layer, given)


@given(st.data())
@settings(max_examples=100)
def test_any_numbers_are_refused_or_a_matrix(data: st.DataObject) -> None:
    tensors = by_hand()
    name = data.draw(st.sampled_from([n for n in tensors if n != "weight.values"]))
    numbers = st.integers(-2, 5) | st.sampled_from([2**31, -(2**31), 2**62])
    tensors[name] = torch.tensor(data.draw(st.lists(numbers, max_size=5)), dtype=torch.long)
    layer = SparseLinear(3, 2, bias=False)
    try:
        load_csr_(layer, tensors)
    except ValueError as error:
        if " must " not in str(error):
            raise
        return
    assert int(layer.masks()["weight"].sum()) == 3
    assert layer.masked_weight("weight").sum() == 10
