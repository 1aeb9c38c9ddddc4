"""SparseRNN: `torch.nn.RNN` with sparse weights."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import nn

from lsh_native.cells import ELMAN
from lsh_native.nn.options import Options
from lsh_native.nn.torch_recurrent import SparseTorchRecurrent

__all__ = ["SparseRNN"]


class SparseRNN(SparseTorchRecurrent):
    """Applies a stack of simple recurrent layers, h' = tanh(…), whose weights may be sparse.

    Arguments are those of `torch.nn.RNN`, explained at `SparseTorchRecurrent`, and `Options`;
    `nonlinearity` must be "tanh". The equation stands in `lsh_native.cells.elman`.

    Example:
        >>> output, h = SparseRNN(8, 16, density=0.25)(torch.zeros(5, 3, 8))
        >>> output.shape, h.shape
        (torch.Size([5, 3, 16]), torch.Size([1, 3, 16]))
    """

    cell_of_kind = ELMAN
    mode = "RNN_TANH"
    dense_kind = nn.RNN
    dense_call = staticmethod(torch._VF.rnn_tanh)
    shared_arguments = (*SparseTorchRecurrent.shared_arguments, "nonlinearity")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        if nonlinearity != "tanh":
            raise ValueError(f"nonlinearity must be 'tanh', got {nonlinearity!r}")
        super().__init__(
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional),
            device=device,
            dtype=dtype,
            **options,
        )
        self.nonlinearity = nonlinearity
