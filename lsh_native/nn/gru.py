"""SparseGRU: `torch.nn.GRU` with sparse weights."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import nn

from lsh_native.cells import GRU
from lsh_native.nn.recurrent import Options
from lsh_native.nn.torch_recurrent import SparseTorchRecurrent

__all__ = ["SparseGRU"]


class SparseGRU(SparseTorchRecurrent):
    """Applies a stack of gated recurrent units whose weights may be sparse.

    Constructor, parameter names, shapes, defaults and results are those of `torch.nn.GRU`;
    equations and gate order stand in `lsh_native.cells.gru`.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether input and output are (B, T, …) instead of (T, B, …).
        dropout: probability of dropping an output of every layer but the last, in training.
        bidirectional: whether a second set of layers reads each sequence backwards.
        device: as in `torch.nn.GRU`.
        dtype: a floating dtype.
        options: see `Options`.

    Example:
        >>> output, h = SparseGRU(8, 16, density=0.25)(torch.zeros(5, 3, 8))
        >>> output.shape, h.shape
        (torch.Size([5, 3, 16]), torch.Size([1, 3, 16]))
    """

    cell_of_kind = GRU
    mode = "GRU"
    dense_kind = nn.GRU
    dense_call = staticmethod(torch._VF.gru)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional),
            device=device,
            dtype=dtype,
            **options,
        )
