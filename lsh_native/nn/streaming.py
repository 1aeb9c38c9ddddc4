"""Streaming: a recurrent stack that goes on where its last call stopped, for live input."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lsh_native.cells import LayerWeights, packed_kind, packed_layer
from lsh_native.cells.recurrent import ops_of
from lsh_native.nn.compact import CompactRecurrent
from lsh_native.nn.dtypes import MisfitError, in_dtype, kernel_dtype, result_dtype
from lsh_native.nn.operands import State
from lsh_native.nn.options import check_sizes
from lsh_native.nn.recurrent import SparseRecurrent
from lsh_native.sparsity.live import read_live

__all__ = ["Streaming"]


class Streaming:
    """Runs a stack over an input that comes piece by piece, as evaluation does.

    A call costs little more than its kernels, which counts where a piece is a single step: the
    state stays inside, and weights are packed once, when a piece of a new length first comes.
    Weights and masks are those of the moment it is made. Kernels are the sparse ones, whatever the
    masks.

    Args:
        stack: what runs; it must read forwards only.
        batch: B, how many sequences run side by side.

    Raises:
        TypeError: the stack is none of this package's recurrent ones, or one that `compact` made,
            or B is no whole number.
        ValueError: it reads backwards too, or B is below 1.

    Example:
        >>> from lsh_native.nn import SparseGRU
        >>> layer = SparseGRU(1, 16, density=0.25)
        >>> streaming = Streaming(layer)
        >>> [tuple(streaming(piece).shape) for piece in torch.zeros(5, 1, 1).split(2)]
        [(2, 1, 16), (2, 1, 16), (1, 1, 16)]
    """

    def __init__(self, stack: SparseRecurrent, batch: int = 1) -> None:
        if not isinstance(stack, SparseRecurrent) or isinstance(stack, CompactRecurrent):
            raise TypeError(
                "stack must be a recurrent one of this package, and not compact, "
                f"got {type(stack).__name__}"
            )
        if stack.bidirectional:
            raise ValueError("stack must read forwards only, got one with bidirectional=True")
        check_sizes(batch=batch)
        self.stack, self.batch = stack, batch
        self._like = stack._like().detach()
        self._dtype = kernel_dtype(self._like.dtype)
        self._forward = ops_of(stack.cell)["forward"]
        self._layers = [_copied(stack._layer_weights(names, False)) for [names] in stack._layers]
        self._packed: dict[Hashable, list[LayerWeights]] = {}
        self._states: list[Tensor] = []
        self._steps, self._operands = 0, list[tuple[Any, ...]]()  # of each layer, for so many steps
        self.reset()

    def __call__(self, input: Tensor) -> Tensor:
        """Runs the stack over the next piece.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, or (T, I) for one sequence.

        Returns:
            The last layer's output, laid out as the input, without a gradient.

        Raises:
            ValueError: a shape, dtype or device that does not fit, saying which must be what; the
                state is as it was.
        """
        x = self.stack._time_major(input)
        if x.shape[1] != self.batch:
            raise MisfitError(
                f"input must be of {self.batch} sequences, got shape {tuple(input.shape)}"
            )
        states = []
        with torch.no_grad():
            if x.shape[0] != self._steps:
                self._prepare(x.shape[0])
            x = in_dtype(x, self._dtype)
            with torch._C._AutoDispatchBelowAutograd():  # spares Python's part of the gradient
                for state, of_layer in zip(self._states, self._operands, strict=True):
                    x, state, _, _ = self._forward(x.contiguous(), state, *of_layer)
                    states.append(state)
            self._states = states
            x = in_dtype(x, result_dtype(self._like))
            if input.dim() == 2:
                return x.squeeze(1)
            return x.transpose(0, 1) if self.stack.batch_first else x

    @property
    def state(self) -> State:
        """Where the input has led so far, laid out as the stack's final state; a copy.

        Set it to go on from another one, as the stack's `hx`. In 16 bits it is rounded, which the
        one inside is not.
        """
        dtype = result_dtype(self._like)
        state: State = self.stack._grouped(
            [in_dtype(state, dtype) for state in self.stack._by_state(self._states)]
        )
        return state

    @state.setter
    def state(self, hx: State | None) -> None:
        stack = self.stack
        x = self._like.new_empty(1, self.batch, stack.input_size)
        with torch.no_grad():
            states = stack._initial_state(x, hx, False)
            states = [in_dtype(state, self._dtype) for state in states]
            layers = range(stack.num_layers)
            self._states = [stack._joined(states, layer).contiguous() for layer in layers]

    def reset(self) -> None:
        """Begins anew, with a state of zeros."""
        self.state = None

    def _prepare(self, steps: int) -> None:
        """Makes ready what the operator takes of each layer, beside input and state."""
        stack, size = self.stack, (steps, self.batch)
        kind = packed_kind(*size)
        if kind not in self._packed:
            self._packed[kind] = [packed_layer(stack.cell, layer, *size) for layer in self._layers]
        hold = stack._hold(steps, self._states[0], training=False)
        hold = None if hold is None else hold.contiguous()
        self._operands = [
            (
                *(layer.weight_ih, list(layer.weight_hh)),
                *(layer.pattern_ih, list(layer.pattern_hh)),
                *(layer.bias_ih, layer.bias_hh),
                *(None, hold, None, False, False),
            )
            for layer in self._packed[kind]
        ]
        self._steps = steps


def _copied(layer: LayerWeights) -> LayerWeights:
    """A layer that nothing else writes to, on the CPU with its connections alone."""

    def read(weight: Tensor, pattern: Tensor) -> Tensor:
        weight = weight.detach().contiguous()
        return read_live(weight, pattern) if weight.device.type == "cpu" else weight.clone()

    def copy(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.detach().clone()

    return replace(
        layer,
        weight_ih=read(layer.weight_ih, layer.pattern_ih),
        weight_hh=tuple(map(read, layer.weight_hh, layer.pattern_hh)),
        pattern_ih=layer.pattern_ih.clone(),
        pattern_hh=tuple(pattern.clone() for pattern in layer.pattern_hh),
        bias_ih=copy(layer.bias_ih),
        bias_hh=copy(layer.bias_hh),
    )
