"""LSTMStack: LSTM layers of different widths, with one dropout mask a sequence between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lsh_native.nn.dropout import LockedDropout
from lsh_native.nn.layer_tangent import LayerTangent
from lsh_native.nn.lstm import SparseLSTM

__all__ = ["LSTMStack"]

State = tuple[Tensor, ...]


class LSTMStack(nn.Module):
    """Applies `SparseLSTM` layers one after another.

    Args:
        sizes: the width of the input and of each layer, at least two numbers.
        dropout: probability of dropping a feature of every layer but the last, in training; the
            same features in all steps of a sequence.
        weight_dropout: probability of dropping a recurrent connection for a whole call.
        dtype: float32 or float64.

    Source: Merity, Keskar & Socher, "Regularizing and optimizing LSTM language models", 2018.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes must be those of an input and a layer, got {list(sizes)}")
        self.layers: Any = nn.ModuleList(
            SparseLSTM(below, above, dtype=dtype, weight_dropout=weight_dropout)
            for below, above in pairwise(sizes)
        )
        self.dropout = LockedDropout(dropout)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Runs the stack.

        Args:
            x: (T, B, I).
            state: h and c of each layer in turn, each (1, B, H); zeros by default.

        Returns:
            The last layer's output (T, B, H) and the final state, laid out as `state`.
        """
        finals: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            x, final = layer(
                self.dropout(x) if i else x, None if state is None else state[2 * i : 2 * i + 2]
            )
            finals += final
        return x, tuple(finals)

    def masks(self) -> dict[str, Tensor]:
        """The mask of each weight matrix."""
        return {
            f"layers.{i}.{name}": mask
            for i, layer in enumerate(self.layers)
            for name, mask in layer.masks().items()
        }

    @torch.no_grad()
    def tangent_maps(
        self, inputs: Tensor, state: State | None = None, state_warmup: int = 0
    ) -> list[LayerTangent]:
        """The linearised dynamics of each layer for inputs (T, B, I), without dropout."""
        training = self.training
        self.eval()
        try:
            maps, x = [], inputs
            for i, layer in enumerate(self.layers):
                hx = None if state is None else state[2 * i : 2 * i + 2]
                maps += layer.tangent_maps(x, hx, state_warmup)
                x = layer(x, hx)[0]
            return maps
        finally:
            self.train(training)
