"""The recurrent highway network as a language model, with variational dropout.

Source: Zilly, Srivastava, Koutník & Schmidhuber, "Recurrent highway networks", 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

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
from lsh_native.nn.rhn import SparseRHN

__all__ = ["RHN"]


@dataclass(frozen=True, kw_only=True)
class RHN:
    """A language model of recurrent highway layers; each mask of dropout lasts a window.

    Args:
        embedding_size: width of a token's embedding.
        hidden_size: units of each layer.
        depth: micro-steps, highway layers, in a time step.
        num_layers: recurrent layers in the stack.
        coupled: whether the carry gate is one minus the transform gate.
        tied: whether the decoder shares the embedding's weight, which needs equal sizes.
        transform_bias: where the transform gate's bias starts.
        embedding_dropout: probability with which a word is zeroed wherever it stands.
        input_dropout: probability with which a feature of the embeddings is zeroed.
        state_dropout: the same of the state where it enters a recurrent product.
        output_dropout: the same of the output.
        init_range: weights start uniform in ± this value; biases at zero but the transform gate's.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is out of range, or two fields contradict each other.
    """

    family: ClassVar[str] = "rhn"
    reads: ClassVar[Literal["text", "images"]] = "text"

    embedding_size: int = 830
    hidden_size: int = 830
    depth: int = 10
    num_layers: int = 1
    coupled: bool = True
    tied: bool = True
    transform_bias: float = -2.0
    embedding_dropout: float = 0.0
    input_dropout: float = 0.0
    state_dropout: float = 0.0
    output_dropout: float = 0.0
    init_range: float = 0.04

    def __post_init__(self) -> None:
        check_counts(self, ("embedding_size", "hidden_size", "depth", "num_layers"))
        shares = ("embedding_dropout", "input_dropout", "state_dropout", "output_dropout")
        rules = {**dict.fromkeys(shares, PROBABILITY), "init_range": POSITIVE}
        check_numbers(self, {**rules, "transform_bias": ("finite", math.isfinite)})
        check_flags(self, ("coupled", "tied"))
        check_tied(self.tied, self.embedding_size, "hidden_size", self.hidden_size)

    def build(self, outcomes: int, dtype: torch.dtype) -> LanguageModel:
        """The untrained module; see `Model`."""
        recurrent = SparseRHN(
            self.embedding_size,
            self.hidden_size,
            self.depth,
            self.num_layers,
            coupled=self.coupled,
            transform_bias=self.transform_bias,
            state_dropout=self.state_dropout,
            dtype=dtype,
        )
        model = LanguageModel(
            SparseEmbedding(outcomes, self.embedding_size, dtype=dtype),
            recurrent,
            SparseLinear(self.hidden_size, outcomes, dtype=dtype),
            input_dropout=LockedDropout(self.input_dropout),
            output_dropout=LockedDropout(self.output_dropout),
            embedding_dropout=self.embedding_dropout,
            tied=self.tied,
            init_range=self.init_range,
        )
        recurrent.reset_biases()
        return model
