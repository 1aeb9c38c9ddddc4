"""A sparse stack and torch's LSTM with the same weights, for the tests of layers and dynamics."""

from typing import Any

import torch
from torch import Tensor, nn

from lsh_native.nn import SparseLSTM

I, H = 5, 6  # noqa: E741


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(density: float = 0.4, **options: Any) -> tuple[SparseLSTM, nn.LSTM]:
    """A sparse stack and torch's, with the same parameters, zero where masked."""
    torch.manual_seed(1)
    layer = SparseLSTM(I, H, **options, density=density, dtype=torch.float64)
    return layer, layer.to_dense()


def single_layer(dense: nn.LSTM, i: int) -> nn.LSTM:
    """One layer of a stack on its own."""
    columns = dense.get_parameter(f"weight_ih_l{i}").shape[1]
    single = nn.LSTM(columns, dense.hidden_size, bias=dense.bias, dtype=torch.float64)
    single.load_state_dict(
        {name: dense.get_parameter(name.replace("l0", f"l{i}")) for name in single.state_dict()}
    )
    return single
