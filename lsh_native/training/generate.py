"""Text that a language model makes up, one token after another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lsh_native.nn import LanguageModel
from lsh_native.sparsity.packed import PackedWeights

__all__ = ["generate"]


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompt: Sequence[int],
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
    banned: Sequence[int] = (),
) -> Iterator[int]:
    """Draws tokens without end, each from what the model expects after all before it.

    Args:
        model: is put into evaluation mode.
        prompt: ids that the text begins with, at least one; they are not repeated.
        generator: where the random numbers come from, on the CPU.
        temperature: logits are divided by it: below 1 likelier tokens get likelier, 0 takes the
            likeliest.
        banned: ids that are never drawn.

    Raises:
        ValueError: the prompt is empty or outside the vocabulary, the temperature is negative or
            not finite, or the model's logits are not finite.
    """
    V = model.embedding.num_embeddings
    if not prompt or min(prompt) < 0 or max(prompt) >= V:
        raise ValueError(f"prompt must hold ids in [0, {V}), got {list(prompt)}")
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be zero or positive, and finite, got {temperature}")
    model.eval()
    device = model.embedding.weight.device
    packed = PackedWeights()  # entered call by call: a generator's context is its caller's
    with packed:
        logits, state = model(torch.tensor(prompt, device=device).unsqueeze(1))
    while True:
        token = _draw(logits[-1, 0].double().cpu(), temperature, banned, generator)
        yield token
        with packed:
            logits, state = model(torch.tensor([[token]], device=device), state)


def _draw(
    logits: Tensor, temperature: float, banned: Sequence[int], generator: torch.Generator
) -> int:
    if not bool(logits.isfinite().all()):
        raise ValueError("the model's logits must be finite, some are not")
    logits[list(banned)] = -math.inf
    if temperature == 0:
        return int(logits.argmax())
    shares = (logits / temperature).softmax(0)
    return int(torch.multinomial(shares, 1, generator=generator))
