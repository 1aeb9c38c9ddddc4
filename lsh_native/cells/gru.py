"""Gated recurrent unit.

With u = W x + b_ih and m = R h + b_hh, each split into r, z, n::

    r = sigmoid(u_r + m_r)   z = sigmoid(u_z + m_z)   n = tanh(u_n + r m_n)
    h' = (1 - z) n + z h

Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, with the
    reset gate behind the recurrent product; gate order and two biases as in `torch.nn.GRU`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lsh_native.cells.cell import Cell
from lsh_native.cells.registration import register

__all__ = ["GRU"]


def _step(recurrent: Tensor, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    u_r, u_z, u_n = projected.chunk(3, dim=-1)
    m_r, m_z, m_n = recurrent.chunk(3, dim=-1)
    r, z = (u_r + m_r).sigmoid(), (u_z + m_z).sigmoid()
    n = (u_n + r * m_n).tanh()
    return torch.stack([r, z, n, m_n]), ((1 - z) * n + z * state[0]).unsqueeze(0)


GRU = register(Cell(name="gru", gates=("r", "z", "n"), states=("h",), activations=4, step=_step))
