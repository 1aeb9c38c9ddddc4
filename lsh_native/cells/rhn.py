"""Recurrent highway network: D micro-steps a time step, each through a highway layer.

With a = R_d s + b_d, and + W x + b_ih in the first micro-step, split into h, t (and c)::

    h = tanh(a_h)   t = sigmoid(a_t)   c = 1 - t  (coupled)  or  sigmoid(a_c)  (free)
    s' = h t + s c

Source: Zilly, Srivastava, Koutník & Schmidhuber, "Recurrent highway networks", 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lsh_native.cells.cell import Cell
from lsh_native.cells.registration import register

__all__ = ["FREE_RHN", "RHN"]


def _coupled(recurrent: Tensor, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    a_h, a_t = (recurrent + projected).chunk(2, dim=-1)
    h, t = a_h.tanh(), a_t.sigmoid()
    return torch.stack([h, t]), (h * t + state[0] * (1 - t)).unsqueeze(0)


def _free(recurrent: Tensor, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    a_h, a_t, a_c = (recurrent + projected).chunk(3, dim=-1)
    h, t, c = a_h.tanh(), a_t.sigmoid(), a_c.sigmoid()
    return torch.stack([h, t, c]), (h * t + state[0] * c).unsqueeze(0)


RHN = register(Cell(name="rhn", gates=("h", "t"), states=("s",), activations=2, step=_coupled))
FREE_RHN = register(
    Cell(name="free_rhn", gates=("h", "t", "c"), states=("s",), activations=3, step=_free)
)
