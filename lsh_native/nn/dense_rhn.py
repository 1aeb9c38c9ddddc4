"""DenseRHN: a recurrent highway stack in plain torch, as `torch.nn` has none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsh_native.cells import run_definition
from lsh_native.nn.operands import initial_states, time_major
from lsh_native.nn.recurrent import SparseRecurrent

__all__ = ["DenseRHN"]


class DenseRHN(nn.Module):
    """Applies recurrent highway layers step by step, with nothing but torch's own operators.

    What `SparseRHN.to_dense()` gives, to hand to exporters and other programs; slow where it runs.
    Calls, parameters and their names are those of the sparse stack, dropout apart.

    Args:
        stack: the `SparseRHN` to copy, with zeros where there is no connection.
        depth: its D.
    """

    def __init__(self, stack: SparseRecurrent, depth: int) -> None:
        super().__init__()
        self.cell = stack.cell
        self.input_size = stack.input_size
        self.hidden_size = stack.hidden_size
        self.num_layers = stack.num_layers
        self.depth = depth
        self.batch_first = stack.batch_first
        self.dropout = stack.dropout
        for name, parameter in stack.named_parameters():
            dense = stack.masked_weight(name) if name in stack.maskable else parameter
            self.register_parameter(name, nn.Parameter(dense.detach().clone()))
        self.train(stack.training)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Runs the stack; arguments and results are those of `SparseRHN`."""
        weight, single = self.get_parameter("weight_ih_l0"), input.dim() == 2
        x = time_major(input, self.input_size, self.batch_first, weight)
        widths = {"s": self.hidden_size}
        [state] = initial_states(hx, x, widths, self.num_layers, single=single, weight=weight)
        parameters: dict[str, Tensor] = dict(self.named_parameters())
        finals = []
        for layer in range(self.num_layers):
            if layer > 0:
                x = nn.functional.dropout(x, self.dropout, self.training)
            suffixes = [f"l{layer}_d{d}" for d in range(self.depth)]
            biases = [parameters[f"bias_{s}"] for s in suffixes if f"bias_{s}" in parameters]
            x, final = run_definition(
                self.cell,
                x,
                state[layer : layer + 1],
                parameters[f"weight_ih_l{layer}"],
                [parameters[f"weight_hh_{s}"] for s in suffixes],
                bias_hh=torch.stack(biases) if biases else None,
            )
            finals.append(final)
        output, last = x, torch.cat(finals)
        if single:
            return output.squeeze(1), last.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output, last

    def extra_repr(self) -> str:
        """Sizes."""
        return (
            f"{self.input_size}, {self.hidden_size}, depth={self.depth}, "
            f"num_layers={self.num_layers}"
        )
