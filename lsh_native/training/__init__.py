"""A recipe, a trainer that follows it, what it leaves, and how all of that is kept on disk."""

from lsh_native.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    replace_file,
    save_checkpoint,
    write_tensors,
)
from lsh_native.training.evaluate import evaluate, perplexity
from lsh_native.training.generate import generate
from lsh_native.training.image_class import ImageClass, evaluate_classifier
from lsh_native.training.live_adam import LiveAdam
from lsh_native.training.lock import LockedError
from lsh_native.training.memory import MemoryExhaustedError
from lsh_native.training.model import (
    SavedModel,
    dense_state,
    draw_model,
    load_model,
    model_state,
    save_model,
)
from lsh_native.training.next_token import NextToken
from lsh_native.training.onnx_file import write_onnx
from lsh_native.training.optim import AveragedSGD, averaged_parameters
from lsh_native.training.recipe import Recipe
from lsh_native.training.result import (
    DivergedError,
    EpochResult,
    Snapshot,
)
from lsh_native.training.session import CHECKPOINT, train
from lsh_native.training.task import Evaluation, Objective, Task
from lsh_native.training.tracking import (
    EpochTable,
    JsonLines,
    Scalars,
    StepResult,
    Tracker,
    summary_writer,
    tensorboard,
)
from lsh_native.training.trainer import Trainer

__all__ = [
    "CHECKPOINT",
    "AveragedSGD",
    "CheckpointError",
    "DivergedError",
    "EpochResult",
    "EpochTable",
    "Evaluation",
    "ImageClass",
    "JsonLines",
    "LiveAdam",
    "LockedError",
    "MemoryExhaustedError",
    "NextToken",
    "Objective",
    "Recipe",
    "SavedModel",
    "Scalars",
    "Snapshot",
    "StepResult",
    "Task",
    "Tracker",
    "Trainer",
    "averaged_parameters",
    "dense_state",
    "draw_model",
    "evaluate",
    "evaluate_classifier",
    "generate",
    "load_checkpoint",
    "load_model",
    "model_state",
    "perplexity",
    "replace_file",
    "save_checkpoint",
    "save_model",
    "summary_writer",
    "tensorboard",
    "train",
    "write_onnx",
    "write_tensors",
]
