"""SparseRecurrent: a stack of recurrent layers over sequences, written once for every cell."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.functional import dropout, pad
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lsh_native.cells import Cell, LayerWeights, Run, packed_kind, packed_layer, run
from lsh_native.nn.dropout import locked_dropout
from lsh_native.nn.dtypes import in_dtype, kernel_dtype, result_dtype
from lsh_native.nn.layer_names import LayerNames
from lsh_native.nn.operands import State, check_order, check_packed, initial_states, time_major
from lsh_native.nn.options import Options, check_sizes, probability
from lsh_native.nn.sparse_module import SparseModule
from lsh_native.nn.units import needed
from lsh_native.sparsity.packed import keeps_packed, kept_form

__all__ = ["SparseRecurrent"]


def _stacked(biases: list[Tensor]) -> Tensor | None:
    """The bias of each micro-step, (D, …), if there are any."""
    if len(biases) == 1:
        return biases[0].unsqueeze(0)
    return torch.stack(biases) if biases else None


class SparseRecurrent(SparseModule):
    """A stack of recurrent layers; what a cell's own module adds is its parameters.

    Results are the same for every number of threads, bit for bit. float32 and float64 are computed
    as they are; bfloat16 and float16, and whatever autocast covers, in float32, with results in
    the dtype that `torch.nn` gives.

    Args:
        cell: the cell.
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: whether there are biases.
        batch_first: whether input and output are (B, T, …) instead of (T, B, …).
        dropout: probability of dropping an output of every layer but the last, in training.
        bidirectional: whether a second set of layers reads each sequence backwards.
        options: see `Options`.
    """

    _layers: list[list[LayerNames]]
    """For a subclass to set: the directions of each layer, from the bottom up."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        for name, flag in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name} must be a bool, got {type(flag).__name__}")
        check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        self.dropout = probability("dropout", dropout)
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout acts between layers, and there is only one: it has no effect",
                stacklevel=3,
            )
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.bidirectional = bool(bidirectional)

        unknown = options.keys() - Options.__annotations__.keys()
        if unknown:
            raise TypeError(
                f"options must be among {', '.join(Options.__annotations__)}, got {unknown}"
            )
        self.weight_dropout = probability("weight_dropout", options.get("weight_dropout", 0.0))
        self.input_dropout = probability("input_dropout", options.get("input_dropout", 0.0))
        self.output_dropout = probability("output_dropout", options.get("output_dropout", 0.0))
        self.state_dropout = probability("state_dropout", options.get("state_dropout", 0.0))
        zoneout, S = options.get("zoneout", 0.0), len(cell.states)
        each = zoneout if isinstance(zoneout, tuple) else (zoneout,) * S
        if len(each) != S:
            raise ValueError(f"zoneout must be one number or {S}, one a state, got {zoneout}")
        self.zoneout = tuple(probability("zoneout", share) for share in each)
        self.gradient = options.get("gradient", "masked")

    def _state_sizes(self) -> list[int]:
        """How wide each state of a layer is."""
        return [self.hidden_size] * len(self.cell.states)

    # ------------------------------------------------------------------------------------- a call

    def forward(self, input: Tensor | PackedSequence, hx: State | None = None) -> tuple[Any, Any]:
        """Runs the stack.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, (T, I) for one sequence, or a
                `PackedSequence`, sorted or not.
            hx: initial state, (L, B, H) or (L, H) for one sequence, twice as many layers where the
                stack is bidirectional, a tuple where the cell has several; zeros by default.

        Returns:
            The last layer's output, laid out as the input, and the final state, laid out as `hx`.

        Raises:
            ValueError: a shape, dtype or device that does not fit, saying which must be what.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        single = input.dim() == 2
        x = self._time_major(input)
        state = self._initial_state(x, hx, single)
        output, final = self._run_stack(x, state, None)
        dtype = result_dtype(self._like())
        output, *final = (in_dtype(result, dtype) for result in (output, *final))
        if single:
            return output.squeeze(1), self._grouped([s.squeeze(1) for s in final])
        return (output.transpose(0, 1) if self.batch_first else output), self._grouped(final)

    def _forward_packed(self, input: PackedSequence, hx: State | None) -> tuple[Any, Any]:
        data, sizes, order, back = input
        check_packed(data, sizes, self.input_size, self._like())
        check_order(order, "sorted_indices", int(sizes[0]))
        check_order(back, "unsorted_indices", int(sizes[0]))
        x, lengths = pad_packed_sequence(PackedSequence(data, sizes))
        state = self._initial_state(x, hx, False)
        if order is not None:
            state = [s.index_select(1, order) for s in state]
        output, final = self._run_stack(x, state, sizes)
        dtype = result_dtype(self._like())
        output, *final = (in_dtype(result, dtype) for result in (output, *final))
        if back is not None:
            final = [s.index_select(1, back) for s in final]
        packed = pack_padded_sequence(output, lengths)
        return PackedSequence(packed.data, sizes, order, back), self._grouped(final)

    def _run_stack(
        self, x: Tensor, state: list[Tensor], sizes: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Output (T, B, …) and final states, each (L, B, H), of a time-major input."""
        if self.training and self.input_dropout > 0:
            x = locked_dropout(x, self.input_dropout)
        output, final = self._run_layers(x, state, sizes)
        if self.training and self.output_dropout > 0:
            output = locked_dropout(output, self.output_dropout)
        return output, final

    def _run_layers(
        self, x: Tensor, state: list[Tensor], sizes: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Layer after layer with native kernels."""
        finals: list[Tensor] = []
        x, *state = (in_dtype(t, kernel_dtype(t.dtype)) for t in (x, *state))
        for i, directions in enumerate(self._layers):
            if i > 0 and self.training and self.dropout > 0:
                x = dropout(x, self.dropout)
            outputs = []
            for names in directions:
                initial = self._joined(state, len(finals))
                output, final = self._run_direction(names, x, initial, sizes)
                outputs.append(output)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        return x, self._by_state(finals)

    def _run_direction(
        self, names: LayerNames, x: Tensor, initial: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Output, in forward time, and final state of one layer in one direction."""
        done = self._run_layer(names, x, initial, sizes, training=self.training, trajectory=False)
        return done.output.flip(0) if names.reverse else done.output, done.final_state

    def _run_layer(
        self,
        names: LayerNames,
        x: Tensor,
        initial: Tensor,
        sizes: Tensor | None,
        *,
        training: bool,
        trajectory: bool = True,
    ) -> Run:
        """One layer in one direction; the results of a reverse one stay in reverse time."""
        scale = None
        if training and self.state_dropout > 0:
            scale = dropout(torch.ones_like(initial[0]), self.state_dropout)
        return run(
            self.cell,
            x.flip(0) if names.reverse else x,
            initial,
            self._pass_weights(names, training, x),
            batch_sizes=sizes.flip(0) if sizes is not None and names.reverse else sizes,
            hold=self._hold(x.shape[0], initial, training),
            state_scale=scale,
            dense_gradient=self.gradient == "dense" and not keeps_packed(),
            trajectory=trajectory,
        )

    def _hold(self, steps: int, initial: Tensor, training: bool) -> Tensor | None:
        """What each unit keeps of its states in each step, (T, S, B, H)."""
        if not any(self.zoneout):
            return None
        shares = torch.tensor(self.zoneout, dtype=initial.dtype, device=initial.device)
        hold = shares[:, None, None].expand(steps, *initial.shape)
        return hold.bernoulli() if training else hold

    def _pass_weights(self, names: LayerNames, training: bool, x: Tensor) -> LayerWeights:
        """The weights for a pass over x (T, B, I): as bytes that are made once, if at all."""
        drops = training and self.weight_dropout > 0
        if not keeps_packed() or drops or x.shape[1] == 0 or x.device.type != "cpu":
            return self._layer_weights(names, training)
        steps, batch = x.shape[0], x.shape[1]
        made_of = [self._weight(name) for name in names.weights + names.biases]
        made_of += [self._pattern(name) for name in names.weights]
        return kept_form(
            made_of,
            packed_kind(steps, batch),
            lambda: packed_layer(self.cell, self._layer_weights(names, False), steps, batch),
            plain=lambda: self._layer_weights(names, False),
        )

    def _layer_weights(self, names: LayerNames, training: bool) -> LayerWeights:
        biases = [self._kernel_weight(name) for name in names.bias_hh]
        return LayerWeights(
            weight_ih=self._kernel_weight(names.weight_ih),
            weight_hh=tuple(self._recurrent(names, training)),
            pattern_ih=self._pattern(names.weight_ih),
            pattern_hh=tuple(self._pattern(name) for name in names.weight_hh),
            bias_ih=self._kernel_weight(names.bias_ih) if names.bias_ih else None,
            bias_hh=_stacked(biases),
        )

    def _kernel_weight(self, name: str) -> Tensor:
        weight = self.operand(name)
        return in_dtype(weight, kernel_dtype(weight.dtype))

    def _recurrent(self, names: LayerNames, training: bool) -> list[Tensor]:
        """Recurrent weights, with connections dropped in training."""
        weights = [self._kernel_weight(name) for name in names.weight_hh]
        if training and self.weight_dropout > 0:
            for i in range(self.cell.depth(len(weights))):
                weights[i] = dropout(weights[i], self.weight_dropout)
        return weights

    def _like(self) -> Tensor:
        """A weight, for dtype and device."""
        return self._weight(self._layers[0][0].weight_ih)

    def _time_major(self, input: Tensor) -> Tensor:
        return time_major(input, self.input_size, self.batch_first, self._like())

    def _initial_state(self, x: Tensor, hx: State | None, single: bool) -> list[Tensor]:
        widths = dict(zip(self.cell.states, self._state_sizes(), strict=True))
        count = self.num_layers * (2 if self.bidirectional else 1)
        return initial_states(hx, x, widths, count, single=single, weight=self._like())

    def _joined(self, states: Sequence[Tensor], layer: int) -> Tensor:
        """States (L, B, …) at a layer as kernels take them, (S, B, H): narrow ones end in zeros."""
        wide = self.hidden_size
        own = [s if s.shape[0] == 1 else s.narrow(0, layer, 1) for s in states]
        return torch.cat(
            [s if s.shape[-1] == wide else pad(s, (0, wide - s.shape[-1])) for s in own]
        )

    def _by_state(self, finals: list[Tensor]) -> list[Tensor]:
        """From (S, B, H) of each layer to (L, B, …) of each state, none a view of another."""
        by_layer = [final.unsafe_split(1) for final in finals]
        states = [
            own[0].clone() if len(own) == 1 else torch.cat(own)
            for own in zip(*by_layer, strict=True)
        ]
        return [
            state if state.shape[-1] == width else state.narrow(-1, 0, width).clone()
            for state, width in zip(states, self._state_sizes(), strict=True)
        ]

    @staticmethod
    def _grouped(states: list[Tensor]) -> Any:
        return states[0] if len(states) == 1 else tuple(states)

    def _check_plain(self) -> None:
        """Raises a ValueError where the stack does what a dense one does not."""
        extras = ("weight_dropout", "input_dropout", "output_dropout", "state_dropout")
        if any(self.zoneout) or any(getattr(self, extra) for extra in extras):
            raise ValueError(
                "a stack must be without zoneout and dropout other than between layers "
                "to become a dense one"
            )

    # -------------------------------------------------------------------------------------- units

    def needed_units(self, read: Tensor | None = None) -> list[list[Tensor]]:
        """Which units have an effect on what is read of the output, through whatever others.

        Args:
            read: bool, as wide as the output, true where it is read. Everything by default.

        Returns:
            For each direction of each layer, from the bottom up, bool (H,).

        Raises:
            TypeError: `read` is not bool.
            ValueError: `read` has another width than the output.
        """
        return [[units for _, units in layer] for layer in self._needed(read)]

    def _needed(self, read: Tensor | None) -> list[list[tuple[Tensor, Tensor]]]:
        """Outputs and units with an effect on what is read."""
        width = self._state_sizes()[0] * (2 if self.bidirectional else 1)
        device = self._like().device
        if read is None:
            read = torch.ones(width, dtype=torch.bool, device=device)
        if read.dtype != torch.bool:
            raise TypeError(f"read must be a bool tensor, got {read.dtype}")
        if read.shape != (width,):
            raise ValueError(f"read must have shape {(width,)}, got {tuple(read.shape)}")
        return needed(self._layers, self.masks(), read.to(device), self.cell.projects)

    def explain(self) -> str:
        """Which kernel runs for each weight, and why; and which units have no effect."""
        lines = [super().explain()]
        if self._masked:
            idle = [
                f"{int((~needed).sum())} of {self.hidden_size} units of layer {layer}"
                f"{', backwards,' if names.reverse else ''} have no effect: compact() removes them"
                for layer, parts in enumerate(self.needed_units())
                for names, needed in zip(self._layers[layer], parts, strict=True)
                if not needed.all()
            ]
            lines += idle
        return "\n".join(lines)

    def _gates(self, name: str) -> int:
        return len(self.cell.gates)

    def _kernel(self, name: str) -> str:
        if name in self._masked:
            return super()._kernel(name)
        return "sparse kernel with a full pattern"

    def extra_repr(self) -> str:
        """What differs from the defaults."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.num_layers != 1:
            parts.append(f"num_layers={self.num_layers}")
        parts += [f"{flag}=False" for flag in ("bias",) if not getattr(self, flag)]
        parts += [
            f"{flag}=True" for flag in ("batch_first", "bidirectional") if getattr(self, flag)
        ]
        shares = ("dropout", "weight_dropout", "input_dropout", "output_dropout", "state_dropout")
        parts += [f"{share}={getattr(self, share)}" for share in shares if getattr(self, share)]
        if any(self.zoneout):
            parts.append(f"zoneout={self.zoneout}")
        parts.append(f"density={self.density():.4g}")
        return ", ".join(parts)
