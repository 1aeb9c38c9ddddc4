"""The simple recurrent network.

    h' = tanh(W x + b_ih + R h + b_hh)

Source: Elman, "Finding structure in time", 1990; two biases as in `torch.nn.RNN`.
"""

from __future__ import annotations

from torch import Tensor

from lsh_native.cells.cell import Cell
from lsh_native.cells.registration import register

__all__ = ["ELMAN"]


def _step(recurrent: Tensor, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    h = (recurrent + projected).tanh().unsqueeze(0)
    return h, h


ELMAN = register(Cell(name="elman", gates=("h",), states=("h",), activations=1, step=_step))
