"""LanguageModel: embedding, a stack of LSTM layers, decoder; every weight matrix can be sparse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsh_native.nn.embedding import SparseEmbedding
from lsh_native.nn.layer_tangent import LayerTangent
from lsh_native.nn.linear import SparseLinear
from lsh_native.nn.lstm import SparseLSTM
from lsh_native.nn.operands import State

__all__ = ["LanguageModel"]


class LanguageModel(nn.Module):
    """Predicts the next token of a text.

    Args:
        vocabulary_size: V.
        embedding_size: E.
        hidden_size: H.
        num_layers: L.
        dropout: probability of dropping an embedding, an output between layers, and a last output,
            in training.
        tied: whether the decoder's weight is the embedding's; needs E = H.
        init_range: weights are drawn uniformly from ± this, the decoder's bias is zero; None keeps
            each layer's own.
        dtype: float32 or float64.

    Attributes:
        embedding: `SparseEmbedding` (V, E).
        recurrent: `SparseLSTM` E → H.
        decoder: `SparseLinear` H → V.

    Source: Zaremba, Sutskever & Vinyals, "Recurrent neural network regularization", 2014.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        dropout: float = 0.0,
        tied: bool = False,
        init_range: float | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if tied and embedding_size != hidden_size:
            raise ValueError(
                "embedding_size must equal hidden_size in a tied model, "
                f"got {embedding_size} and {hidden_size}"
            )
        self.embedding = SparseEmbedding(vocabulary_size, embedding_size, dtype=dtype)
        self.recurrent = SparseLSTM(
            embedding_size,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            dtype=dtype,
        )
        self.decoder = SparseLinear(hidden_size, vocabulary_size, dtype=dtype)
        if tied:
            self.decoder.weight = self.embedding.weight
        self.dropout = nn.Dropout(dropout)
        if init_range is not None:
            for name, parameter in self.named_parameters():
                if name == "decoder.bias":
                    nn.init.zeros_(parameter)
                else:
                    nn.init.uniform_(parameter, -init_range, init_range)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Predicts.

        Args:
            tokens: ids (T, B), int64.
            state: (h, c) from the call before; zeros by default.

        Returns:
            Logits (T, B, V) of each next token, and the state after the last.
        """
        output, state = self.recurrent(self.dropout(self.embedding(tokens)), state)
        return self.decoder(self.dropout(output)), state

    def masks(self) -> dict[str, Tensor]:
        """The mask of each weight matrix by its name in this model; a tied one stands once."""
        parts = {"embedding": self.embedding, "recurrent": self.recurrent, "decoder": self.decoder}
        if self.decoder.weight is self.embedding.weight:
            del parts["decoder"]
        return {
            f"{part}.{name}": mask
            for part, module in parts.items()
            for name, mask in module.masks().items()
        }

    def tangent_maps(
        self, inputs: Tensor, state: State | None = None, state_warmup: int = 0
    ) -> list[LayerTangent]:
        """The linearised dynamics of each recurrent layer for token ids (T, B), without dropout."""
        return self.recurrent.tangent_maps(self.embedding(inputs), state, state_warmup)

    def lstm_layers(self) -> list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
        """Dense weights and biases of each recurrent layer, from the bottom up."""
        return self.recurrent.lstm_layers()

    def layer_inputs(self, inputs: Tensor) -> Tensor:
        """Embeddings (T, B, E) of token ids (T, B), without dropout."""
        return self.recurrent.layer_inputs(self.embedding(inputs))
