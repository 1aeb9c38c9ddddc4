"""The model of a recipe: drawn from a seed, written and read."""

import pytest
import torch

from lsh_native.data import Vocabulary
from lsh_native.models import StackedLSTM
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology
from lsh_native.training.checkpoint import CheckpointError, save_checkpoint
from lsh_native.training.model import (
    draw_model,
    load_model,
    load_model_state_,
    model_state,
    save_model,
)
from lsh_native.training.recipe import Recipe
from lsh_native.training.result import Snapshot

RECIPE = Recipe(model={"embedding_size": 6, "hidden_size": 6, "dropout": 0.3})
TIED = Recipe(model=StackedLSTM(embedding_size=6, hidden_size=6, tied=True), dtype="float64")
VOCABULARY = Vocabulary(tokens=tuple("abcde"))
TOKENS = torch.tensor([[0, 1], [4, 2], [3, 3]])


def sparse_model(recipe, seed=0):
    model = draw_model(recipe, len(VOCABULARY), seed=seed).eval()
    Topology(model, method("static"), density=0.5, seed=1)
    return model


def test_drawn_from_its_seed_alone():
    before = torch.get_rng_state()
    a, b, other = (draw_model(RECIPE, 5, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in a.items():
        assert torch.equal(weight, b[name])
        assert weight.abs().max() <= RECIPE.model.init_range
    assert not torch.equal(a["embedding.weight"], other["embedding.weight"])


@pytest.mark.parametrize("recipe", [RECIPE, TIED])
def test_comes_back_with_its_masks(tmp_path, recipe):
    path = tmp_path / "model.safetensors"
    model = sparse_model(recipe)
    snapshot = Snapshot(epoch=3, valid_loss=1.5, state=model_state(model))
    save_model(path, snapshot, recipe, VOCABULARY)
    saved = load_model(path)
    assert (saved.epoch, saved.valid_loss) == (3, 1.5)
    assert (saved.recipe, saved.vocabulary) == (recipe, VOCABULARY)
    assert not saved.model.training
    assert saved.model.recurrent.density() == 0.5
    assert (saved.model.decoder.weight is saved.model.embedding.weight) == recipe.model.tied
    assert torch.equal(saved.model(TOKENS)[0], model(TOKENS)[0])


def test_a_tied_weight_is_kept_once():
    model = sparse_model(TIED)
    state = model_state(model)
    assert "embedding.weight" in state
    assert "decoder.weight" not in state
    other = sparse_model(TIED, seed=1)
    load_model_state_(other, state)
    assert torch.equal(other(TOKENS)[0], model(TOKENS)[0])


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, {}, {"kind": "training"})
    with pytest.raises(CheckpointError, match="kind is 'training' there and 'model' here"):
        load_model(path)
    fields = {"kind": "model", "recipe": RECIPE.to_dict(), "vocabulary": VOCABULARY.to_dict()}
    save_checkpoint(path, {}, fields)
    with pytest.raises(CheckpointError, match="does not hold a model of this version"):
        load_model(path)
    save_checkpoint(path, {}, {**fields, "recipe": {"experts": 15}})
    with pytest.raises(CheckpointError, match="experts"):
        load_model(path)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        load_model(tmp_path / "absent")


def test_a_record_that_asks_for_more_than_the_file_holds_is_refused_at_once(tmp_path):
    path = tmp_path / "model.safetensors"
    state = model_state(sparse_model(RECIPE))
    fields = {"kind": "model", "vocabulary": VOCABULARY.to_dict(), "epoch": 1, "valid_loss": 1.0}
    huge = RECIPE.changed(hidden_size=4_000_000).to_dict()
    save_checkpoint(path, state, {**fields, "recipe": huge})
    with pytest.raises(CheckpointError, match=r"must have shape \(16000000, \d+\), got"):
        load_model(path)
