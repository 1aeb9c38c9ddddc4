"""A text as numbers: training, validation and test tokens with their vocabulary."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lsh_native.data.levels import Level
from lsh_native.data.vocabulary import Vocabulary

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """Three token streams over one vocabulary.

    Args:
        name: what a person calls it.
        level: what one token is.
        vocabulary: the tokens, of V types.
        train: int64 (T,), ids in [0, V).
        valid: int64 (T,).
        test: int64 (T,).
        entropy: entropy rate of the source in nats per token, where the source is known.

    Raises:
        TypeError: if a split is not an int64 tensor.
        ValueError: if a split is not 1-D, holds fewer than two tokens or ids outside [0, V), or
            the entropy is not a finite number in [0, log V].
    """

    name: str
    level: Level
    vocabulary: Vocabulary
    train: Tensor
    valid: Tensor
    test: Tensor
    entropy: float | None = None

    def __post_init__(self) -> None:
        V = len(self.vocabulary)
        for split in SPLITS:
            tokens = getattr(self, split)
            if not isinstance(tokens, Tensor) or tokens.dtype != torch.int64:
                came = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
                raise TypeError(f"{split} must be an int64 tensor, got {came}")
            if tokens.ndim != 1 or len(tokens) < 2:
                raise ValueError(
                    f"{split} must be 1-D with at least two tokens, got shape {tuple(tokens.shape)}"
                )
            low, high = (int(bound) for bound in torch.aminmax(tokens))
            if low < 0 or high >= V:
                raise ValueError(f"{split} must hold ids in [0, {V}), got {low} to {high}")
        if self.entropy is not None and not 0 <= self.entropy <= math.log(V) + 1e-9:
            raise ValueError(
                f"entropy must be in [0, log V] = [0, {math.log(V):.6g}], got {self.entropy}"
            )

    @property
    def best_perplexity(self) -> float | None:
        """The perplexity that no model stays below in the long run, exp(entropy), where known.

        On a finite text a model may fall on either side of it by chance: the source itself scores
        exp(-mean log-probability) there (`WordSource.log_probabilities`).
        """
        return None if self.entropy is None else math.exp(self.entropy)

    @cached_property
    def hash(self) -> str:
        """SHA-256 in hexadecimal over vocabulary and tokens; the name plays no part."""
        digest = hashlib.sha256(self.vocabulary.hash.encode())
        for split in SPLITS:
            ids = getattr(self, split).cpu().numpy().astype("<i8")
            digest.update(b"%d:" % len(ids))
            digest.update(ids.tobytes())
        return digest.hexdigest()
