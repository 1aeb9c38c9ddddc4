"""FeedbackRNN: a stack of recurrent layers in which each layer also hears the one above it.

    layer l at time t:   step(R h_l(t−1) + F h_{l+1}(t−1) + b_hh,   W h_{l−1}(t) + b_ih)

h_{−1}(t) is the input; the top layer has no F. Bottom-up connections act within a time step,
recurrent and top-down ones from one step to the next, so that no cycle lies within a step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lsh_native.cells import LSTM, Cell
from lsh_native.nn.options import check_sizes
from lsh_native.nn.sparse_module import SparseModule
from lsh_native.sparsity.linear import sparse_linear

__all__ = ["FeedbackRNN"]


class FeedbackRNN(SparseModule):
    """Applies a stack with top-down feedback, of any cell, whose weights may be sparse.

    Runs step by step on the cell's definition, with sparse products where a weight is masked.
    Parameters are named as in `torch.nn.LSTM`, and `weight_fb_lK` (G * H, H) is what layer K hears
    of layer K + 1. Without it, or with zeros there, the stack is the ordinary one.

    Args:
        input_size: I.
        hidden_size: H, of every layer.
        num_layers: L, at least 1.
        cell: what a step does, with one micro-step a time step.
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether input and output are (B, T, …) instead of (T, B, …).
        device: as in `torch.nn.LSTM`.
        dtype: float32 or float64.
        density: share of each weight that is connected, drawn uniformly with an exact count.

    Raises:
        TypeError: a size is no int.
        ValueError: a size is below 1, or the density outside [0, 1].

    Example:
        >>> layer = FeedbackRNN(8, 16, num_layers=3, density=0.25)
        >>> output, state = layer(torch.zeros(5, 2, 8))
        >>> output.shape, state.shape  # an LSTM has two states, h and c
        (torch.Size([5, 2, 16]), torch.Size([2, 3, 2, 16]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 2,
        *,
        cell: Cell = LSTM,
        bias: bool = True,
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        density: float = 1.0,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.cell = cell
        self.bias = bias
        self.batch_first = batch_first

        rows = len(cell.gates) * hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(num_layers):
            shapes[f"weight_ih_l{layer}"] = (rows, input_size if layer == 0 else hidden_size)
            shapes[f"weight_hh_l{layer}"] = (rows, hidden_size)
            if layer + 1 < num_layers:
                shapes[f"weight_fb_l{layer}"] = (rows, hidden_size)
        self.maskable = tuple(shapes)
        if bias:
            for layer in range(num_layers):
                shapes |= {f"bias_ih_l{layer}": (rows,), f"bias_hh_l{layer}": (rows,)}
        for name, shape in shapes.items():
            parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
            self.register_parameter(name, parameter)
        self.reset_parameters()
        self._init_masks(density)

    def reset_parameters(self) -> None:
        """Draws every parameter uniformly from ±1/√H, as `torch.nn.LSTM` does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Runs the stack.

        Args:
            input: (T, B, I), or (B, T, I) with `batch_first`.
            state: initial states (S, L, B, H), in the order of the cell; zeros by default.

        Returns:
            The top layer's output, (T, B, H) or laid out as the input, and the final states.

        Raises:
            ValueError: a shape, dtype or device that does not fit, saying which must be what.
        """
        x = self._time_major(input)
        shape = (len(self.cell.states), self.num_layers, x.shape[1], self.hidden_size)
        if state is None:
            state = x.new_zeros(shape)
        elif state.shape != shape or state.dtype != x.dtype or state.device != x.device:
            raise ValueError(
                f"state must be {x.dtype} of shape {shape} on {x.device}, "
                f"got {state.dtype} of shape {tuple(state.shape)} on {state.device}"
            )
        layers = list(state.unbind(1))
        outputs = []
        for projected in self._product("weight_ih_l0", x):
            for layer in range(self.num_layers):
                if layer > 0:
                    projected = self._product(f"weight_ih_l{layer}", layers[layer - 1][0])
                recurrent = self._product(f"weight_hh_l{layer}", layers[layer][0])
                if layer + 1 < self.num_layers:
                    above = layers[layer + 1][0]  # still that of the step before
                    recurrent = recurrent + self._product(f"weight_fb_l{layer}", above)
                if self.bias:
                    projected = projected + self._weight(f"bias_ih_l{layer}")
                    recurrent = recurrent + self._weight(f"bias_hh_l{layer}")
                _, layers[layer] = self.cell.step(recurrent, projected, layers[layer])
            outputs.append(layers[-1][0])
        output = torch.stack(outputs)
        return (output.transpose(0, 1) if self.batch_first else output), torch.stack(layers, 1)

    def _product(self, name: str, x: Tensor) -> Tensor:
        """Maps (…, C) to (…, R)."""
        weight, rows = self.operand(name), len(self._weight(name))
        if name not in self._masked:
            return linear(x, weight)
        flat = x.reshape(-1, x.shape[-1])
        dense_gradient = self.gradient == "dense"
        product = sparse_linear(
            flat, weight, self._pattern(name), None, rows, dense_gradient=dense_gradient
        )
        return product.view(*x.shape[:-1], -1)

    def _time_major(self, input: Tensor) -> Tensor:
        if input.dim() != 3 or input.shape[-1] != self.input_size:
            raise ValueError(
                f"input must have 3 dimensions, the last one input_size {self.input_size}, "
                f"got shape {tuple(input.shape)}"
            )
        weight = self._weight("weight_ih_l0")
        if input.dtype != weight.dtype or input.device != weight.device:
            raise ValueError(
                f"input must be {weight.dtype} on {weight.device} like the weights, "
                f"got {input.dtype} on {input.device}"
            )
        x = input.transpose(0, 1) if self.batch_first else input
        if x.shape[0] == 0:
            raise ValueError("input must have at least one time step, got none")
        return x

    def extra_repr(self) -> str:
        """Sizes, cell and density."""
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"cell={self.cell.name}, density={self.density():.4g}"
        )
