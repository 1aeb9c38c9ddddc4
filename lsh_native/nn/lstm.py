"""SparseLSTM: `torch.nn.LSTM` with sparse weights."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from lsh_native.cells import LSTM, PROJECTED_LSTM
from lsh_native.nn.options import Options
from lsh_native.nn.torch_recurrent import SparseTorchRecurrent

__all__ = ["SparseLSTM"]


class SparseLSTM(SparseTorchRecurrent):
    """Applies a stack of long short-term memory layers whose weights may be sparse.

    Arguments are those of `torch.nn.LSTM`, explained at `SparseTorchRecurrent`, and `Options`;
    equations and gate order stand in `lsh_native.cells.lstm`.

    Example:
        >>> layer = SparseLSTM(8, 16, num_layers=2, density=0.25)
        >>> output, (h, c) = layer(torch.zeros(5, 3, 8))
        >>> output.shape, h.shape, layer.density()
        (torch.Size([5, 3, 16]), torch.Size([2, 3, 16]), 0.25)
    """

    cell_of_kind = LSTM
    projected_cell = PROJECTED_LSTM
    mode = "LSTM"
    dense_kind = nn.LSTM
    dense_call = staticmethod(torch._VF.lstm)
    shared_arguments = (*SparseTorchRecurrent.shared_arguments, "proj_size")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional),
            *(device, dtype),
            proj_size=proj_size,
            **options,
        )

    def lstm_layers(self) -> list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
        """Weights and biases of each layer, from the bottom up, dense, with zeros where masked."""
        self._check_dynamics()
        if self.proj_size:
            raise ValueError(
                f"proj_size must be 0 for a stack of four tensors a layer, got {self.proj_size}"
            )
        return [
            (
                self.masked_weight(names.weight_ih),
                self.masked_weight(names.weight_hh[0]),
                self._weight(names.bias_ih) if names.bias_ih else None,
                self._weight(names.bias_hh[0]) if names.bias_hh else None,
            )
            for [names] in self._layers
        ]
