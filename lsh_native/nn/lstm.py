"""SparseLSTM: `torch.nn.LSTM` with sparse weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsh_native.cells import LSTM
from lsh_native.nn.torch_recurrent import SparseTorchRecurrent

__all__ = ["SparseLSTM"]


class SparseLSTM(SparseTorchRecurrent):
    """Applies a stack of long short-term memory layers whose weights may be sparse.

    Constructor, parameter names, shapes, defaults and results are those of `torch.nn.LSTM`;
    equations and gate order stand in `lsh_native.cells.lstm`.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether input and output are (B, T, …) instead of (T, B, …).
        dropout: probability of dropping an output of every layer but the last, in training.
        bidirectional: whether a second set of layers reads each sequence backwards.
        proj_size: width of the output and of the recurrent operand if above 0, projected from H;
            such a stack runs torch's dense kernel on weights with zeros where masked.
        device: as in `torch.nn.LSTM`.
        dtype: a floating dtype.
        options: see `Options`.

    Example:
        >>> layer = SparseLSTM(8, 16, num_layers=2, density=0.25)
        >>> output, (h, c) = layer(torch.zeros(5, 3, 8))
        >>> output.shape, h.shape, layer.density()
        (torch.Size([5, 3, 16]), torch.Size([2, 3, 16]), 0.25)
    """

    cell_of_kind = LSTM
    mode = "LSTM"
    dense_kind = nn.LSTM
    dense_call = staticmethod(torch._VF.lstm)
    shared_arguments = (*SparseTorchRecurrent.shared_arguments, "proj_size")

    def lstm_layers(self) -> list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
        """Weights and biases of each layer, from the bottom up, dense, with zeros where masked."""
        return [
            (
                self.masked_weight(names.weight_ih),
                self.masked_weight(names.weight_hh[0]),
                self._weight(names.bias_ih) if names.bias_ih else None,
                self._weight(names.bias_hh[0]) if names.bias_hh else None,
            )
            for [names] in self._layers
        ]
