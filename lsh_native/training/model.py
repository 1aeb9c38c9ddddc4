"""The model of a recipe: drawn from a seed, written to a file, read from one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lsh_native.data.vocabulary import Vocabulary
from lsh_native.nn.language_model import LanguageModel
from lsh_native.nn.sequence_classifier import SequenceClassifier
from lsh_native.nn.storage import compressed, expanded
from lsh_native.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from lsh_native.training.memory import memory_errors
from lsh_native.training.random_stream import RandomStream
from lsh_native.training.recipe import Recipe
from lsh_native.training.result import Snapshot

_LESS_MODEL = "lower the sizes of recipe.model"


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedModel:
    """A model with all that is needed to use it.

    Args:
        model: In evaluation mode, on the CPU, with its masks.
        recipe: What it was trained by.
        vocabulary: The tokens, or the names of the classes, behind its ids.
        epoch: Epochs that it was trained.
        valid_loss: Its validation loss then, nats per prediction.
    """

    model: LanguageModel | SequenceClassifier
    recipe: Recipe
    vocabulary: Vocabulary
    epoch: int
    valid_loss: float

    @property
    def language_model(self) -> LanguageModel:
        """The model, where it is one of text.

        Raises:
            ValueError: it is a classifier.
        """
        if not isinstance(self.model, LanguageModel):
            raise ValueError(
                f"the model must be a language model, got a {self.recipe.model.family}, "
                "which reads images"
            )
        return self.model

    def require_vocabulary(self, vocabulary: Vocabulary, name: str) -> None:
        """Refuses a text whose tokens are numbered otherwise.

        Raises:
            ValueError: the vocabulary is not the model's.
        """
        if vocabulary.hash != self.vocabulary.hash:
            raise ValueError(
                f"the text must have the model's vocabulary of {len(self.vocabulary)} types, "
                f"{name} has another of {len(vocabulary)}; read a text of the model's"
            )


def draw_model(recipe: Recipe, outcomes: int, *, seed: int) -> LanguageModel | SequenceClassifier:
    """Make an untrained dense model on the CPU; the same seed gives the same weights."""
    with RandomStream(seed, torch.device("cpu")), memory_errors("for the model", _LESS_MODEL):
        return recipe.model.build(outcomes, recipe.torch_dtype)


def save_model(
    path: str | os.PathLike[str], snapshot: Snapshot, recipe: Recipe, vocabulary: Vocabulary
) -> None:
    """Write a model without what training needs, masked weights as compressed sparse rows.

    Raises:
        OSError: The file could not be written; an older one is kept.
    """
    save_checkpoint(
        path,
        compressed(snapshot.state),
        {
            "kind": "model",
            "recipe": recipe.to_dict(),
            "vocabulary": vocabulary.to_dict(),
            **snapshot.measures(),
        },
    )


def load_model(path: str | os.PathLike[str]) -> SavedModel:
    """Read a model that `save_model` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, or not a model's.
    """
    state, metadata = load_checkpoint(path, expected={"kind": "model"})
    try:
        recipe = Recipe(**metadata["recipe"])
        vocabulary = Vocabulary.from_dict(metadata["vocabulary"])
        whole = expanded(state)
        _require_shapes(whole, recipe, len(vocabulary))
        model = draw_model(recipe, len(vocabulary), seed=0).eval()
        load_model_state_(model, whole)
        return SavedModel(
            model=model,
            recipe=recipe,
            vocabulary=vocabulary,
            epoch=metadata["epoch"],
            valid_loss=metadata["valid_loss"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold a model of this version: {error}") from error


def _require_shapes(state: Mapping[str, Tensor], recipe: Recipe, outcomes: int) -> None:
    """Refuses a state that is not the recipe's before memory is taken for what the recipe says."""
    with RandomStream(0, torch.device("cpu")), torch.device("meta"):
        model = recipe.model.build(outcomes, recipe.torch_dtype)
    for name, parameter in model.named_parameters():
        shape = tuple(state[name].shape) if name in state else None
        if shape != tuple(parameter.shape):
            raise ValueError(f"{name} must have shape {tuple(parameter.shape)}, got {shape}")


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a model without second names of the same parameter; not copied."""
    names = _first_names(model)
    return {name: tensor for name, tensor in model.state_dict().items() if names[name] == name}


def dense_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model by `torch.nn`'s names, zero where they are not connected."""
    state = model_state(model)
    masks = {name.removesuffix("_mask"): mask for name, mask in state.items() if "_mask" in name}
    return {
        name: tensor.masked_fill(~masks[name], 0) if name in masks else tensor
        for name, tensor in state.items()
        if not name.endswith("_mask")
    }


def load_model_state_(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a state of `model_state` into a model.

    Raises:
        RuntimeError: The state is another model's.
    """
    second = {
        name: state[first]
        for name, first in _first_names(model).items()
        if first in state and name not in state
    }
    model.load_state_dict({**state, **second})


def _first_names(model: nn.Module) -> dict[str, str]:
    """For each name in the state dict the first name under which the same parameter stands.

    Masks keep each name of theirs: whether two are one tensor changes with time.
    """
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(tensor), name) if isinstance(tensor, nn.Parameter) else name
        for name, tensor in model.state_dict(keep_vars=True).items()
    }
