"""SparseGRU: `torch.nn.GRU` with sparse weights."""

from __future__ import annotations

import torch
from torch import nn

from lsh_native.cells import GRU
from lsh_native.nn.torch_recurrent import SparseTorchRecurrent

__all__ = ["SparseGRU"]


class SparseGRU(SparseTorchRecurrent):
    """Applies a stack of gated recurrent units whose weights may be sparse.

    Arguments are those of `torch.nn.GRU`, explained at `SparseTorchRecurrent`, and `Options`;
    equations and gate order stand in `lsh_native.cells.gru`.

    Example:
        >>> output, h = SparseGRU(8, 16, density=0.25)(torch.zeros(5, 3, 8))
        >>> output.shape, h.shape
        (torch.Size([5, 3, 16]), torch.Size([1, 3, 16]))
    """

    cell_of_kind = GRU
    mode = "GRU"
    dense_kind = nn.GRU
    dense_call = staticmethod(torch._VF.gru)
