"""Dropout that holds for a whole sequence: of features, and of the words of a table."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

__all__ = ["LockedDropout", "locked_dropout", "word_dropout"]


def locked_dropout(x: Tensor, probability: float) -> Tensor:
    """Dropout whose mask is the same in all steps of a sequence (T, B, C).

    Source: Gal & Ghahramani, "A theoretically grounded application of dropout in recurrent neural
    networks", 2016.
    """
    return x * dropout(torch.ones_like(x[0]), probability)


class LockedDropout(nn.Module):
    """`locked_dropout` as a module, in training only.

    Args:
        p: probability of dropping a feature, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drops features of a sequence (T, B, C)."""
        return locked_dropout(x, self.p) if self.training and self.p > 0 else x

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


def word_dropout(rows: Tensor, tokens: Tensor, words: int, probability: float) -> Tensor:
    """Drops whole words: the same ones wherever they stand in the text.

    Args:
        rows: embeddings (…, E) of the tokens.
        tokens: ids (…), in [0, words).
        words: V.
        probability: of dropping a word.
    """
    kept = dropout(rows.new_ones(words, 1), probability)
    return rows * kept[tokens]
