"""The task of a classifier: the class of an image, read row by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lsh_native.data import Images, Window, image_batches
from lsh_native.sparsity.packed import PackedWeights
from lsh_native.training.recipe import Recipe
from lsh_native.training.task import Evaluation, Objective, State

__all__ = ["ImageClass", "evaluate_classifier"]


class ImageClass:
    """Batches of images in an order that is new in every epoch; see `Task`.

    Args:
        model: maps rows (T, B, I) to logits (B, classes).
        images: what it reads, some of them held out.
        recipe: how.

    Raises:
        ValueError: no image is held out, or the model reads rows of another length.
    """

    def __init__(self, model: nn.Module, images: Images, recipe: Recipe) -> None:
        device = next(model.parameters()).device
        if not len(images.valid):
            raise ValueError(f"{images.name} must have images held out for validation, got none")
        columns = getattr(recipe.model, "columns", images.train.shape[2])
        if columns != images.train.shape[2]:
            raise ValueError(
                f"columns must be those of {images.name}, {images.train.shape[2]}, got {columns}"
            )
        self.identity: Mapping[str, str] = {
            "corpus": images.hash,
            "vocabulary": images.vocabulary.hash,
        }
        self._model = model
        self._recipe = recipe
        kind = recipe.torch_dtype
        self._train = images.train.to(device, kind), images.train_labels.to(device)
        self._valid = images.valid.to(device, kind), images.valid_labels.to(device)

    def batches(self, epoch: int, seed: int) -> Iterable[Window]:
        """The batches of an epoch."""
        # seeds of neighbouring runs and epochs must not meet
        generator = torch.Generator().manual_seed((seed + (epoch << 32)) % 2**63)
        return image_batches(*self._train, self._recipe.batch_size, generator)

    def objective(self, batch: Window, state: State | None) -> Objective:
        """The loss of a batch; nothing is carried to the next."""
        mean = cross_entropy(self._model(batch.input), batch.target)
        return Objective(objective=mean, mean=mean, state=())

    def evaluate(self) -> Evaluation:
        """Mean loss and accuracy on the images held out."""
        return evaluate_classifier(
            self._model, *self._valid, batch_size=self._recipe.evaluation_batch_size
        )


@torch.no_grad()
def evaluate_classifier(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int
) -> Evaluation:
    """Mean loss and accuracy over images, dropout off.

    Args:
        model: maps rows (T, B, I) to logits (B, classes).
        images: (N, rows, columns), of the model's dtype and on its device.
        labels: int64 (N,).
        batch_size: images at once, which bound the memory and not the result.

    Raises:
        ValueError: there is no image, or the batch size is below 1.
    """
    if not len(images) or batch_size < 1:
        raise ValueError(
            "images and batch_size must be at least 1, "
            f"got {len(images)} images and a batch_size of {batch_size}"
        )
    training = model.training
    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=images.device)
    right = torch.zeros((), dtype=torch.int64, device=images.device)
    try:
        with PackedWeights():
            for batch in image_batches(images, labels, batch_size):
                logits = model(batch.input)
                total += cross_entropy(logits.double(), batch.target, reduction="sum")
                right += (logits.argmax(1) == batch.target).sum()
    finally:
        model.train(training)
    return Evaluation(loss=total.item() / len(images), accuracy=right.item() / len(images))
