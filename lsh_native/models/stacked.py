"""Stacked recurrent layers with dropout between them: LSTM, GRU and simple recurrent networks.

Source: Zaremba, Sutskever & Vinyals, "Recurrent neural network regularization", 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from lsh_native.models.record import (
    POSITIVE,
    PROBABILITY,
    check_counts,
    check_flags,
    check_numbers,
    check_tied,
)
from lsh_native.nn.embedding import SparseEmbedding
from lsh_native.nn.gru import SparseGRU
from lsh_native.nn.language_model import LanguageModel
from lsh_native.nn.linear import SparseLinear
from lsh_native.nn.lstm import SparseLSTM
from lsh_native.nn.rnn import SparseRNN
from lsh_native.nn.torch_recurrent import SparseTorchRecurrent

__all__ = ["StackedGRU", "StackedLSTM", "StackedRNN"]


@dataclass(frozen=True, kw_only=True)
class _Stacked:
    """A language model of stacked recurrent layers.

    Args:
        embedding_size: width of a token's embedding.
        hidden_size: units of each recurrent layer.
        num_layers: recurrent layers in the stack.
        dropout: probability with which an embedding, an output between layers or a last output is
            zeroed, anew in every step.
        tied: whether the decoder shares the embedding's weight, which needs equal sizes.
        init_range: weights and biases start uniform in ± this value, the decoder's bias at zero.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is out of range, or two fields contradict each other.
    """

    family: ClassVar[str]
    reads: ClassVar[Literal["text", "images"]] = "text"
    _layers: ClassVar[type[SparseTorchRecurrent]]

    embedding_size: int = 128
    hidden_size: int = 128
    num_layers: int = 2
    dropout: float = 0.0
    tied: bool = False
    init_range: float = 0.5

    def __post_init__(self) -> None:
        check_counts(self, ("embedding_size", "hidden_size", "num_layers"))
        check_numbers(self, {"dropout": PROBABILITY, "init_range": POSITIVE})
        check_flags(self, ("tied",))
        check_tied(self.tied, self.embedding_size, "hidden_size", self.hidden_size)

    def build(self, outcomes: int, dtype: torch.dtype) -> LanguageModel:
        """The untrained module; see `Model`."""
        return LanguageModel(
            SparseEmbedding(outcomes, self.embedding_size, dtype=dtype),
            self._layers(
                self.embedding_size,
                self.hidden_size,
                self.num_layers,
                dropout=self.dropout if self.num_layers > 1 else 0.0,
                dtype=dtype,
            ),
            SparseLinear(self.hidden_size, outcomes, dtype=dtype),
            input_dropout=nn.Dropout(self.dropout),
            output_dropout=nn.Dropout(self.dropout),
            tied=self.tied,
            init_range=self.init_range,
        )


@dataclass(frozen=True, kw_only=True)
class StackedLSTM(_Stacked):
    """`_Stacked` of long short-term memory layers; the defaults suit the generated text."""

    family: ClassVar[str] = "lstm"
    _layers = SparseLSTM


@dataclass(frozen=True, kw_only=True)
class StackedGRU(_Stacked):
    """`_Stacked` of gated recurrent units."""

    family: ClassVar[str] = "gru"
    _layers = SparseGRU


@dataclass(frozen=True, kw_only=True)
class StackedRNN(_Stacked):
    """`_Stacked` of simple recurrent layers with tanh."""

    family: ClassVar[str] = "rnn"
    _layers = SparseRNN
