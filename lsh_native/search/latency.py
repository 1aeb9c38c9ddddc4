"""How long a model takes for one token of a text that it writes, on this machine's kernels."""

from __future__ import annotations

import time

import torch

from lsh_native.nn import LanguageModel
from lsh_native.sparsity.packed import PackedWeights

__all__ = ["token_milliseconds"]

_BLOCKS, _TOKENS = 5, 8


@torch.no_grad()
def token_milliseconds(model: LanguageModel) -> float:
    """Milliseconds from one token to the logits of the next: one sequence, the state carried.

    The best of a few blocks of tokens, so that what else the machine does counts little. The
    weights are packed once, as a program that generates text would.

    Args:
        model: it is put into evaluation mode for as long as it takes.
    """
    device = model.embedding.weight.device
    token = torch.zeros(1, 1, dtype=torch.int64, device=device)
    training = model.training
    model.eval()
    try:
        with PackedWeights():
            _, state = model(token)
            seconds = []
            for _ in range(_BLOCKS):
                started = time.perf_counter()
                for _ in range(_TOKENS):
                    _, state = model(token, state)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                seconds.append(time.perf_counter() - started)
    finally:
        model.train(training)
    return 1e3 * min(seconds) / _TOKENS
