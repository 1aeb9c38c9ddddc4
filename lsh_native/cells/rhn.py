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


def _step(recurrent: Tensor, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    a_h, *others = (recurrent + projected).chunk(recurrent.shape[-1] // state.shape[-1], dim=-1)
    h, t, *c = a_h.tanh(), *(a.sigmoid() for a in others)
    carry = c[0] if c else 1 - t
    return torch.stack([h, t, *c]), (h * t + state[0] * carry).unsqueeze(0)


RHN = register(Cell(name="rhn", gates=("h", "t"), states=("s",), activations=2, step=_step))
FREE_RHN = register(
    Cell(name="free_rhn", gates=("h", "t", "c"), states=("s",), activations=3, step=_step)
)
