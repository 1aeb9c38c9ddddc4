"""AWD-LSTM: LSTM layers with dropped weights, and the same with a mixture of softmaxes.

Source: Merity, Keskar & Socher, "Regularizing and optimizing LSTM language models", 2018; Yang,
Dai, Salakhutdinov & Cohen, "Breaking the softmax bottleneck", 2018.
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
from lsh_native.nn.dropout import LockedDropout
from lsh_native.nn.embedding import SparseEmbedding
from lsh_native.nn.language_model import LanguageModel
from lsh_native.nn.linear import SparseLinear
from lsh_native.nn.lstm_stack import LSTMStack
from lsh_native.nn.mixture import MixtureOfSoftmaxes

__all__ = ["AWDLSTM"]


@dataclass(frozen=True, kw_only=True)
class AWDLSTM:
    """A language model of LSTM layers of several widths; each mask of dropout lasts a window.

    Args:
        embedding_size: width of a token's embedding, and of what an expert hands to the softmax.
        hidden_sizes: units of each layer.
        experts: softmaxes in the mixture; 0 for a single one straight on the last layer.
        tied: whether the softmax shares the embedding's weight; without a mixture this needs a
            last layer of the embedding's width.
        embedding_dropout: probability with which a word is zeroed wherever it stands.
        input_dropout: probability with which a feature of the embeddings is zeroed.
        layer_dropout: the same of every layer's output but the last.
        output_dropout: the same of the last.
        latent_dropout: the same of what the experts hand to the softmax; 0 without a mixture.
        weight_dropout: probability with which a recurrent connection is zeroed.
        init_range: the embedding starts uniform in ± this value, and so does an untied softmax.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is out of range, or two fields contradict each other.
    """

    family: ClassVar[str] = "awd_lstm"
    reads: ClassVar[Literal["text", "images"]] = "text"

    embedding_size: int = 300
    hidden_sizes: tuple[int, ...] = (1150, 1150, 650)
    experts: int = 15
    tied: bool = True
    embedding_dropout: float = 0.0
    input_dropout: float = 0.0
    layer_dropout: float = 0.0
    output_dropout: float = 0.0
    latent_dropout: float = 0.0
    weight_dropout: float = 0.0
    init_range: float = 0.1

    def __post_init__(self) -> None:
        sizes = self.hidden_sizes
        if not isinstance(sizes, list | tuple) or not sizes:
            raise TypeError(f"hidden_sizes must be a list of integers, got {sizes!r}")
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in sizes):
            raise ValueError(f"hidden_sizes must be integers of at least 1, got {list(sizes)}")
        object.__setattr__(self, "hidden_sizes", tuple(sizes))
        check_counts(self, ("embedding_size", *(("experts",) if self.experts != 0 else ())))
        shares = ("embedding", "input", "layer", "output", "latent", "weight")
        rules = {f"{share}_dropout": PROBABILITY for share in shares}
        check_numbers(self, {**rules, "init_range": POSITIVE})
        check_flags(self, ("tied",))
        if self.experts == 0:
            check_tied(self.tied, self.embedding_size, "the last of hidden_sizes", sizes[-1])
            if self.latent_dropout > 0:
                raise ValueError(
                    f"latent_dropout must be 0 without experts, got {self.latent_dropout}"
                )

    def build(self, outcomes: int, dtype: torch.dtype) -> LanguageModel:
        """The untrained module; see `Model`."""
        E, last = self.embedding_size, self.hidden_sizes[-1]
        stack = LSTMStack(
            (E, *self.hidden_sizes),
            dropout=self.layer_dropout,
            weight_dropout=self.weight_dropout,
            dtype=dtype,
        )
        decoder: SparseLinear | MixtureOfSoftmaxes
        if self.experts == 0:
            softmax = decoder = SparseLinear(last, outcomes, dtype=dtype)
        else:
            decoder = MixtureOfSoftmaxes(
                last, E, outcomes, self.experts, dropout=self.latent_dropout, dtype=dtype
            )
            softmax = decoder.output
        model = LanguageModel(
            SparseEmbedding(outcomes, E, dtype=dtype),
            stack,
            decoder,
            input_dropout=LockedDropout(self.input_dropout),
            output_dropout=LockedDropout(self.output_dropout),
            embedding_dropout=self.embedding_dropout,
            tied=self.tied,
        )
        for weight in (model.embedding.weight, softmax.weight):
            nn.init.uniform_(weight, -self.init_range, self.init_range)
        if softmax.bias is not None:
            nn.init.zeros_(softmax.bias)
        return model
