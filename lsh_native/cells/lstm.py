"""Long short-term memory.

With a = W x + b_ih + R h + b_hh split into i, f, g, o::

    i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
    c' = f c + i g     h' = o tanh(c')

and where it is projected, with R_0 in the place of R, h' = R_1 (o tanh(c')).

Source: Hochreiter & Schmidhuber, "Long short-term memory", 1997, with the forget gate of Gers et
    al., 2000, and the projection of Sak et al., 2014; gate order and two biases as in
    `torch.nn.LSTM`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lsh_native.cells.cell import Cell
from lsh_native.cells.registration import register

__all__ = ["LSTM", "PROJECTED_LSTM"]


def _step(recurrent: Tensor, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    a_i, a_f, a_g, a_o = (recurrent + projected).chunk(4, dim=-1)
    i, f, g, o = a_i.sigmoid(), a_f.sigmoid(), a_g.tanh(), a_o.sigmoid()
    c = f * state[1] + i * g
    return torch.stack([i, f, g, o]), torch.stack([o * c.tanh(), c])


LSTM = register(
    Cell(name="lstm", gates=("i", "f", "g", "o"), states=("h", "c"), activations=4, step=_step)
)
PROJECTED_LSTM = register(replace(LSTM, name="projected_lstm", projects=True))
