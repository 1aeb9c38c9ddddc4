"""LanguageModel: embedding, recurrent layers, decoder; every weight matrix can be sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lsh_native.nn.dropout import word_dropout
from lsh_native.nn.embedding import SparseEmbedding
from lsh_native.nn.layer_tangent import LayerTangent
from lsh_native.nn.linear import SparseLinear
from lsh_native.nn.mixture import MixtureOfSoftmaxes

__all__ = ["Encoding", "LanguageModel"]

State = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoding:
    """What a language model makes of a text before it decodes.

    Args:
        hidden: (T, B, ·), what the decoder is asked.
        output: (T, B, H), the recurrent output after dropout.
        raw: (T, B, H), the same before dropout.
        state: tensors (…, B, H), the state after the last token.
    """

    hidden: Tensor
    output: Tensor
    raw: Tensor
    state: State


class LanguageModel(nn.Module):
    """Predicts the next token of a text.

    Args:
        embedding: (V, E).
        recurrent: maps (T, B, E) and a state to (T, B, H) and the next state.
        decoder: H → V.
        input_dropout: applied to embeddings.
        output_dropout: applied to the recurrent output.
        embedding_dropout: probability of dropping a word wherever it stands, in training.
        tied: whether the decoder's weight is the embedding's.
        init_range: embedding and other weights are drawn uniformly from ± this, the decoder's bias
            is zero; None keeps each layer's own.
    """

    def __init__(
        self,
        embedding: SparseEmbedding,
        recurrent: nn.Module,
        decoder: SparseLinear | MixtureOfSoftmaxes,
        *,
        input_dropout: nn.Module | None = None,
        output_dropout: nn.Module | None = None,
        embedding_dropout: float = 0.0,
        tied: bool = False,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.recurrent: Any = recurrent
        self.decoder = decoder
        self.input_dropout = input_dropout or nn.Identity()
        self.output_dropout = output_dropout or nn.Identity()
        self.embedding_dropout = embedding_dropout
        if tied:
            softmax = decoder.output if isinstance(decoder, MixtureOfSoftmaxes) else decoder
            if softmax.weight.shape != embedding.weight.shape:
                raise ValueError(
                    "the decoder's weight must have the embedding's shape in a tied model, "
                    f"got {tuple(softmax.weight.shape)} and {tuple(embedding.weight.shape)}"
                )
            softmax.weight = embedding.weight
        if init_range is not None:
            for name, parameter in self.named_parameters():
                if name in ("decoder.bias", "decoder.output.bias"):
                    nn.init.zeros_(parameter)
                else:
                    nn.init.uniform_(parameter, -init_range, init_range)

    def encode(self, tokens: Tensor, state: State | None = None) -> Encoding:
        """Reads ids (T, B) on from a state, zeros by default."""
        x = self.embedding(tokens)
        if self.training and self.embedding_dropout > 0:
            words = self.embedding.num_embeddings
            x = word_dropout(x, tokens, words, self.embedding_dropout)
        raw, final = self.recurrent(self.input_dropout(x), _layers_state(state))
        output = self.output_dropout(raw)
        decoder = self.decoder
        return Encoding(
            hidden=decoder.hand_over(output) if isinstance(decoder, MixtureOfSoftmaxes) else output,
            output=output,
            raw=raw,
            state=final if isinstance(final, tuple) else (final,),
        )

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Predicts.

        Args:
            tokens: ids (T, B), int64.
            state: from the call before; zeros by default.

        Returns:
            Logits (T, B, V) of each next token, and the state after the last.
        """
        encoding = self.encode(tokens, state)
        return self.decoder(encoding.hidden), encoding.state

    def masks(self) -> dict[str, Tensor]:
        """The mask of each weight matrix by its name in this model; a tied one stands once."""
        parts: dict[str, Any] = {
            "embedding": self.embedding,
            "recurrent": self.recurrent,
            "decoder": self.decoder,
        }
        names = dict(self.named_parameters())
        return {
            f"{part}.{name}": mask
            for part, module in parts.items()
            for name, mask in module.masks().items()
            if f"{part}.{name}" in names
        }

    def tangent_maps(
        self, inputs: Tensor, state: State | None = None, state_warmup: int = 0
    ) -> list[LayerTangent]:
        """The linearised dynamics of each recurrent layer for token ids (T, B), without dropout.

        Raises:
            ValueError: as `layer_inputs`.
        """
        maps: list[LayerTangent] = self.recurrent.tangent_maps(
            self.layer_inputs(inputs), _layers_state(state), state_warmup
        )
        return maps

    def lstm_layers(self) -> list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
        """Dense weights and biases of each layer of a stacked LSTM, from the bottom up.

        Raises:
            ValueError: the recurrent layers are others.
        """
        layers: Any = getattr(self.recurrent, "lstm_layers", None)
        if layers is None:
            raise ValueError(
                "the published convention needs a stack of LSTM layers of one width, got "
                f"{type(self.recurrent).__name__}"
            )
        found: list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]] = layers()
        return found

    def layer_inputs(self, inputs: Tensor) -> Tensor:
        """Embeddings (T, B, E) of token ids (T, B), without dropout.

        Raises:
            ValueError: the ids are not of an integer dtype, or not in the vocabulary.
        """
        words = self.embedding.num_embeddings
        if inputs.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"token ids must be int64 or int32, got {inputs.dtype}")
        least, most = int(inputs.min()), int(inputs.max())
        if least < 0 or most >= words:
            raise ValueError(f"token ids must be in [0, {words}), got {least} to {most}")
        rows: Tensor = self.embedding(inputs)
        return rows


def _layers_state(state: State | None) -> State | Tensor | None:
    """A state as recurrent layers take it: the tensor itself where there is only one."""
    return state[0] if state is not None and len(state) == 1 else state
