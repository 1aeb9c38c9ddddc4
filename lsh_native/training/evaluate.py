"""How well a model predicts a text: mean negative log-likelihood per token, and perplexity."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lsh_native.data.batches import IGNORED, Window, evaluation_columns, windows
from lsh_native.nn import LanguageModel, token_losses
from lsh_native.sparsity.packed import PackedWeights


@torch.no_grad()
def evaluate(model: nn.Module, tokens: Tensor, *, batch_size: int, window: int) -> float:
    """Mean negative log-likelihood of every token but the first, each predicted once, dropout off.

    The text is cut into columns that run side by side from a zero state each; see
    `evaluation_columns`.

    Args:
        model: Maps tokens (T, B) and a state to logits (T, B, V) and the next state.
        tokens: Token ids (N,), int64.
        batch_size: Columns B.
        window: Steps T that go through the model at once; it bounds the memory, not the result.

    Returns:
        Nats per token, summed in float64. Not finite if the model's logits are not.

    Raises:
        TypeError: The tokens are not int64.
        ValueError: There are fewer than two tokens, or a size is below 1.
    """
    device = next(model.parameters()).device
    text = evaluation_columns(tokens, batch_size).to(device)
    total = torch.zeros((), dtype=torch.float64, device=device)
    training = model.training
    model.eval()
    try:
        state = None
        with PackedWeights():
            for piece in windows(text, min(window, len(text) - 1)):
                losses, state = _losses(model, piece, state)
                total += losses.sum(dtype=torch.float64)
    finally:
        model.train(training)
    return total.item() / (len(tokens) - 1)


def _losses(model: nn.Module, piece: Window, state: Any) -> tuple[Tensor, Any]:
    """The loss of each token of a window, and the state after it."""
    target = piece.target.flatten()
    if isinstance(model, LanguageModel):
        encoding = model.encode(piece.input, state)
        return token_losses(model.decoder, encoding.hidden.flatten(0, 1), target), encoding.state
    logits, state = model(piece.input, state)
    losses = cross_entropy(logits.flatten(0, 1), target, ignore_index=IGNORED, reduction="none")
    return losses, state


def perplexity(loss: float) -> float:
    """`exp(loss)` for a mean loss in nats per token; infinite where no float can hold it.

    Raises:
        ValueError: The loss is NaN.
    """
    if math.isnan(loss):
        raise ValueError("perplexity needs a loss that is a number, got nan")
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
