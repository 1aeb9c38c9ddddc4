"""The task of a language model: each next token of a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lsh_native.data import Corpus, Window, columns, random_windows, windows
from lsh_native.nn import LanguageModel, mean_loss
from lsh_native.training.evaluate import evaluate
from lsh_native.training.recipe import Recipe
from lsh_native.training.task import Evaluation, Objective, State

__all__ = ["NextToken"]


class NextToken:
    """Windows of a text side by side, the state carried from each to the next; see `Task`.

    Args:
        model: a `LanguageModel`, or what maps tokens (T, B) and a state (None or a tuple of tensors
            (…, B, H)) to logits (T, B, V) and the next state.
        corpus: what it reads.
        recipe: how.

    Raises:
        ValueError: the recipe asks for penalties that only a `LanguageModel` has.
    """

    def __init__(self, model: nn.Module, corpus: Corpus, recipe: Recipe) -> None:
        device = next(model.parameters()).device
        self.identity: Mapping[str, str] = {
            "corpus": corpus.hash,
            "vocabulary": corpus.vocabulary.hash,
        }
        self._model = model
        self._recipe = recipe
        self._count = recipe.steps_per_epoch(len(corpus.train))
        self._train = columns(corpus.train, recipe.batch_size).to(device)
        self._valid = corpus.valid.to(device)
        penalised = recipe.activation_penalty > 0 or recipe.temporal_penalty > 0
        if penalised and not isinstance(model, LanguageModel):
            raise ValueError(
                "activation_penalty and temporal_penalty need a LanguageModel, "
                f"got {type(model).__name__}"
            )

    def batches(self, epoch: int, seed: int) -> Iterable[Window]:
        """The windows of an epoch."""
        recipe = self._recipe
        if recipe.window_spread == 0:
            return windows(self._train, recipe.window)
        # seeds of neighbouring runs and epochs must not meet
        generator = torch.Generator().manual_seed((seed + (epoch << 32)) % 2**63)
        spread = recipe.window_spread
        return random_windows(self._train, self._count, recipe.window, spread, generator)

    def objective(self, batch: Window, state: State | None) -> Objective:
        """The loss of a window, with the recipe's penalties."""
        model, recipe, target = self._model, self._recipe, batch.target.flatten()
        if not isinstance(model, LanguageModel):
            logits, after = model(batch.input, state)
            mean = cross_entropy(logits.flatten(0, 1), target)
        else:
            encoding = model.encode(batch.input, state)
            mean = mean_loss(model.decoder, encoding.hidden.flatten(0, 1), target)
            after = encoding.state
        objective = mean * len(batch.target) if recipe.loss == "sum" else mean
        if recipe.activation_penalty > 0:
            objective = objective + recipe.activation_penalty * encoding.output.pow(2).mean()
        if recipe.temporal_penalty > 0 and len(batch.input) > 1:
            change = encoding.raw.diff(dim=0).pow(2).mean()
            objective = objective + recipe.temporal_penalty * change
        return Objective(objective=objective, mean=mean, state=after)

    def evaluate(self) -> Evaluation:
        """The mean loss on the validation text."""
        recipe = self._recipe
        loss = evaluate(
            self._model,
            self._valid,
            batch_size=recipe.evaluation_batch_size,
            window=recipe.window,
        )
        return Evaluation(loss=loss)
