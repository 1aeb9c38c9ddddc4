"""Compact stacks: the same function without the units that nothing reads.

Units without an effect on the output go, with their rows of every gate, their biases and their
columns. What is left computes what it did before, for every input and every initial state. A unit
without incoming connections stays where it is read: it moves from its initial state by its biases,
so that no constant stands for it exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsh_native.nn.recurrent import LayerNames, SparseRecurrent
from lsh_native.nn.sparse_module import SparseModule
from lsh_native.nn.torch_recurrent import SparseTorchRecurrent
from lsh_native.sparsity.transforms import is_transformed

__all__ = ["CompactRecurrent", "compact"]


def compact(stack: SparseRecurrent, read: Tensor | None = None) -> CompactRecurrent:
    """A smaller stack with the same output, without units that have no effect on it.

    Args:
        stack: an LSTM, GRU, RNN or RHN stack; it is left as it is.
        read: bool, as wide as the output, true where others read it, for example
            `decoder.masks()["weight"].any(0)`. Everything by default, and then no unit of the last
            layer goes.

    Returns:
        A module to be called as the stack was, with inputs, outputs and states of the same shapes.
        Outputs that are not read, and the final states of units that are gone, may be zero.

    Raises:
        TypeError: `stack` is no recurrent stack, or `read` not bool.
        ValueError: `read` has another width than the output, or the stack projects or is compact.

    Example:
        >>> from lsh_native.nn import SparseGRU
        >>> layer = SparseGRU(8, 16)
        >>> few = torch.arange(16) < 4  # units that read one another, and are read
        >>> layer.set_masks({"weight_hh_l0": (few[:, None] & few).repeat(3, 1)})
        >>> print(compact(layer, few).explain())
        weight_ih_l0: 12 x 8, fully connected: torch's dense GRU
        weight_hh_l0: 12 x 4, fully connected: torch's dense GRU
    """
    if not isinstance(stack, SparseRecurrent):
        raise TypeError(f"stack must be a sparse recurrent stack, got {type(stack).__name__}")
    return CompactRecurrent(stack, stack.needed_units(read))


class CompactRecurrent(SparseRecurrent):
    """A stack whose layers keep some of their units each; see `compact`.

    Layers that are fully connected run torch's dense kernels where it has them.

    Args:
        stack: what to copy from.
        units: bool (H,), what to keep in each direction of each layer.
    """

    def __init__(self, stack: SparseRecurrent, units: list[list[Tensor]]) -> None:
        super().__init__(
            stack.cell,
            *(stack.input_size, stack.hidden_size, stack.num_layers, stack.bias),
            *(stack.batch_first, 0.0, stack.bidirectional),
            gradient=stack.gradient,
            weight_dropout=stack.weight_dropout,
            input_dropout=stack.input_dropout,
            output_dropout=stack.output_dropout,
            state_dropout=stack.state_dropout,
            zoneout=stack.zoneout,
        )
        self.dropout = stack.dropout
        self._dense_kind = type(stack) if isinstance(stack, SparseTorchRecurrent) else None
        self._layers = stack._layers
        G, masks = len(stack.cell.gates), {}
        inputs = torch.ones(stack.input_size, dtype=torch.bool, device=stack._like().device)
        for directions, needed in zip(self._layers, units, strict=True):
            # a layer of no unit at all has no kernel
            kept = [n if n.any() else n.index_fill(0, n.new_zeros(1).long(), True) for n in needed]
            for names, unit in zip(directions, kept, strict=True):
                self.register_buffer(f"{names.weight_ih}_units", unit.nonzero().squeeze(1))
                rows = unit.repeat(G)
                columns = {names.weight_ih: inputs} | dict.fromkeys(names.weight_hh, unit)
                for name, column in columns.items():
                    masks[name] = stack.masks()[name][rows][:, column]
                    weight = stack._weight(name).detach()[rows][:, column]
                    self.register_parameter(name, nn.Parameter(weight))
                for name in filter(None, (names.bias_ih, *names.bias_hh)):
                    self.register_parameter(name, nn.Parameter(stack._weight(name).detach()[rows]))
            inputs = torch.cat(kept)
        self.maskable = tuple(masks)
        self._init_masks(1.0)
        self.set_masks({name: mask for name, mask in masks.items() if not mask.all()})
        self.train(stack.training)

    def _units(self, names: LayerNames) -> Tensor:
        """The units of the stack that one direction of a layer has kept, ascending, int64."""
        return self.get_buffer(f"{names.weight_ih}_units")

    def _run_direction(
        self, names: LayerNames, x: Tensor, initial: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        units = self._units(names)
        initial = initial.index_select(-1, units)
        if sizes is None and self._runs_dense(names):
            output, final = self._run_dense(names, x, initial)
        else:
            output, final = super()._run_direction(names, x, initial, sizes)
        if names in self._layers[-1]:
            output = self._spread(output, units)
        return output, self._spread(final, units)

    def _spread(self, kept: Tensor, units: Tensor) -> Tensor:
        """From (…, units kept) to (…, H), zero elsewhere."""
        return kept.new_zeros(*kept.shape[:-1], self.hidden_size).index_copy(-1, units, kept)

    def _runs_dense(self, names: LayerNames) -> bool:
        """Whether torch's kernel runs one direction of a layer."""
        return (
            self._dense_kind is not None
            and not self._masked.intersection((names.weight_ih, *names.weight_hh))
            and not (any(self.zoneout) or (self.training and self.state_dropout > 0))
            and not (is_transformed() or torch.compiler.is_compiling())
        )

    def _run_dense(self, names: LayerNames, x: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
        assert self._dense_kind is not None
        weights = [self._kernel_weight(names.weight_ih), *self._recurrent(names, self.training)]
        weights += [self._kernel_weight(n) for n in (names.bias_ih, *names.bias_hh) if n]
        options = (self.bias, 1, 0.0, self.training, False, False)
        hx = self._grouped([state.unsqueeze(0) for state in initial])
        x = x.flip(0) if names.reverse else x
        output, *final = self._dense_kind.dense_call(x, hx, weights, *options)
        return output.flip(0) if names.reverse else output, torch.cat(final)

    def needed_units(self, read: Tensor | None = None) -> list[list[Tensor]]:
        """Refused: what was not needed is gone."""
        raise ValueError("the stack must not be compact already")

    def explain(self) -> str:
        """Which kernel runs for each weight, and the form of its mask, one line a weight."""
        return SparseModule.explain(self)

    def _kernel(self, name: str) -> str:
        [names] = [
            n for layer in self._layers for n in layer if name in (n.weight_ih, *n.weight_hh)
        ]
        if self._dense_kind is not None and self._runs_dense(names):
            return f"torch's dense {self._dense_kind.dense_kind.__name__}"
        return super()._kernel(name)

    def extra_repr(self) -> str:
        """Sizes, and how many units each layer has kept."""
        kept = [len(self._units(names)) for directions in self._layers for names in directions]
        return f"{super().extra_repr()}, units={kept}"
