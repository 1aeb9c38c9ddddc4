"""A recipe, a trainer that follows it, what it leaves, and how all of that is kept on disk."""

from lsh_native.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    replace_file,
    save_checkpoint,
)
from lsh_native.training.evaluate import evaluate, perplexity
from lsh_native.training.model import SavedModel, draw_model, load_model, save_model
from lsh_native.training.optim import AveragedSGD, averaged_parameters
from lsh_native.training.recipe import Recipe
from lsh_native.training.result import (
    DivergedError,
    EpochResult,
    MemoryExhaustedError,
    Snapshot,
)
from lsh_native.training.trainer import Trainer

__all__ = [
    "AveragedSGD",
    "CheckpointError",
    "DivergedError",
    "EpochResult",
    "MemoryExhaustedError",
    "Recipe",
    "SavedModel",
    "Snapshot",
    "Trainer",
    "averaged_parameters",
    "draw_model",
    "evaluate",
    "load_checkpoint",
    "load_model",
    "perplexity",
    "replace_file",
    "save_checkpoint",
    "save_model",
]
