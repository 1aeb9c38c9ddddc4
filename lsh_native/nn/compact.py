"""Compact stacks: the same function without the units that nothing reads.

Units without an effect on the output go, with their rows of every gate, their biases and their
columns; so do outputs of a projection that nothing reads. What is left computes what it did before,
for every input and every initial state. A unit without incoming connections stays where it is read:
it moves from its initial state by its biases, so that no constant stands for it exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lsh_native.nn.layer_names import LayerNames
from lsh_native.nn.recurrent import SparseRecurrent
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
        ValueError: `read` has another width than the output, or the stack is compact.

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
    return CompactRecurrent(stack, stack._needed(read))


def _with_kernel(outputs: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """The same and more where no kernel is for so few: one output, as many units as outputs."""
    shared = outputs is units
    if not outputs.any():
        outputs = outputs.index_fill(0, outputs.new_zeros(1).long(), True)
    if shared:
        return outputs, outputs
    idle = (~units).nonzero().squeeze(1)
    missing = max(0, int(outputs.sum()) - int(units.sum()))
    return outputs, units.index_fill(0, idle[:missing], True)


def _spread(kept: Tensor, places: Tensor, width: int) -> Tensor:
    """From (…, those kept) to (…, width), zero elsewhere."""
    return kept.new_zeros(*kept.shape[:-1], width).index_copy(-1, places, kept)


class CompactRecurrent(SparseRecurrent):
    """A stack whose layers keep some of their units each; see `compact`.

    Layers that are fully connected run torch's dense kernels where it has them.

    Args:
        stack: what to copy from.
        needed: bool (O,) and (H,), the outputs and units to keep in each direction of each layer.
    """

    def __init__(self, stack: SparseRecurrent, needed: list[list[tuple[Tensor, Tensor]]]) -> None:
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
        self._layers, self._widths = stack._layers, stack._state_sizes()
        G, whole, masks = len(stack.cell.gates), stack.masks(), {}
        inputs = torch.ones(stack.input_size, dtype=torch.bool, device=stack._like().device)
        for directions, parts in zip(self._layers, needed, strict=True):
            kept = [_with_kernel(outputs, units) for outputs, units in parts]
            for names, (outputs, units) in zip(directions, kept, strict=True):
                self.register_buffer(f"{names.weight_ih}_units", units.nonzero().squeeze(1))
                rows = units.repeat(G)
                sides = {names.weight_ih: (rows, inputs)}
                sides |= dict.fromkeys(names.weight_hh, (rows, outputs))
                if stack.cell.projects:
                    self.register_buffer(f"{names.weight_ih}_outputs", outputs.nonzero().squeeze(1))
                    sides[names.weight_hh[-1]] = outputs, units
                for name, (row, column) in sides.items():
                    masks[name] = whole[name][row][:, column]
                    weight = stack._weight(name).detach()[row][:, column]
                    self.register_parameter(name, nn.Parameter(weight))
                for name in filter(None, (names.bias_ih, *names.bias_hh)):
                    self.register_parameter(name, nn.Parameter(stack._weight(name).detach()[rows]))
            inputs = torch.cat([outputs for outputs, _ in kept])
        self.maskable = tuple(masks)
        self._init_masks(1.0)
        self.set_masks({name: mask for name, mask in masks.items() if not mask.all()})
        self.train(stack.training)

    def _state_sizes(self) -> list[int]:
        return self._widths

    def _units(self, names: LayerNames) -> Tensor:
        """The units of the stack that one direction of a layer has kept, ascending, int64."""
        return self.get_buffer(f"{names.weight_ih}_units")

    def _outputs(self, names: LayerNames) -> Tensor:
        """Likewise its outputs."""
        kind = "outputs" if self.cell.projects else "units"
        return self.get_buffer(f"{names.weight_ih}_{kind}")

    def _run_direction(
        self, names: LayerNames, x: Tensor, initial: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        units, outputs = self._units(names), self._outputs(names)
        absent = len(units) - len(outputs)
        initial = torch.stack(
            [
                pad(initial[0].index_select(-1, outputs), (0, absent)),
                *(state.index_select(-1, units) for state in initial[1:]),
            ]
        )
        if sizes is None and self._runs_dense(names):
            output, final = self._run_dense(names, x, initial)
        else:
            output, final = super()._run_direction(names, x, initial, sizes)
        if names in self._layers[-1]:
            output = _spread(output, outputs, self._widths[0])
        ends = final[0, ..., : len(outputs)], *final[1:]
        places = outputs, *[units] * len(final[1:])
        spread = [_spread(end, at, self.hidden_size) for end, at in zip(ends, places, strict=True)]
        return output, torch.stack(spread)

    def _runs_dense(self, names: LayerNames) -> bool:
        """Whether torch's kernel runs one direction of a layer."""
        return (
            self._dense_kind is not None
            and not self.cell.projects  # torch knows a projection by fewer outputs than units
            and not self._masked.intersection(names.weights)
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

    def _needed(self, read: Tensor | None) -> list[list[tuple[Tensor, Tensor]]]:
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
