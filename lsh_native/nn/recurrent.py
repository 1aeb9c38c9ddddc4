"""SparseRecurrent: a stack of recurrent layers over sequences, written once for every cell."""

from __future__ import annotations

import numbers
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lsh_native.cells import Cell, LayerWeights, Run, run, tangent
from lsh_native.nn.dtypes import MisfitError, covered_by_autocast, kernel_dtype, result_dtype
from lsh_native.nn.layer_tangent import FOLD_FROM, LayerTangent
from lsh_native.nn.sparse_module import SparseModule

__all__ = ["Options", "SparseRecurrent"]

State = Tensor | tuple[Tensor, ...]


class Options(TypedDict, total=False):
    """What every recurrent stack takes beyond `torch.nn`'s arguments, by keyword.

    Attributes:
        density: share of each weight that is connected, drawn uniformly with an exact count.
        gradient: `"masked"` or `"dense"`, see `SparseModule`.
        weight_dropout: probability of dropping a recurrent connection, drawn once a call
            (DropConnect; Merity, Keskar & Socher 2018).
        input_dropout: probability of dropping a feature of the stack's input in all steps of a
            sequence (variational dropout; Gal & Ghahramani 2016).
        output_dropout: the same of its output.
        state_dropout: the same of the state where it enters a recurrent product, in all steps and
            micro-steps; the state itself is carried on whole.
        zoneout: probability that a unit keeps its state in a time step, one for each state of the
            cell or one for all (Krueger et al. 2017); in evaluation it keeps this share of it.
    """

    density: float
    gradient: str
    weight_dropout: float
    input_dropout: float
    output_dropout: float
    state_dropout: float
    zoneout: float | tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LayerNames:
    """The parameters of one layer in one direction, by name; biases may be absent."""

    weight_ih: str
    weight_hh: tuple[str, ...]
    bias_ih: str | None = None
    bias_hh: tuple[str, ...] = ()
    reverse: bool = False


def _probability(name: str, value: Any) -> float:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= float(value) <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")
    return float(value)


def _locked(x: Tensor, probability: float) -> Tensor:
    """Dropout whose mask is the same in all steps of a sequence (T, B, C)."""
    return x * dropout(torch.ones_like(x[0]), probability)


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
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if not isinstance(size, int) or isinstance(size, bool):
                raise TypeError(f"{name} must be an int, got {type(size).__name__}")
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        self.dropout = _probability("dropout", dropout)
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
        self.weight_dropout = _probability("weight_dropout", options.get("weight_dropout", 0.0))
        self.input_dropout = _probability("input_dropout", options.get("input_dropout", 0.0))
        self.output_dropout = _probability("output_dropout", options.get("output_dropout", 0.0))
        self.state_dropout = _probability("state_dropout", options.get("state_dropout", 0.0))
        zoneout, S = options.get("zoneout", 0.0), len(cell.states)
        each = zoneout if isinstance(zoneout, tuple) else (zoneout,) * S
        if len(each) != S:
            raise ValueError(f"zoneout must be one number or {S}, one a state, got {zoneout}")
        self.zoneout = tuple(_probability("zoneout", share) for share in each)
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
        output, *final = (result.to(result_dtype(self._like())) for result in (output, *final))
        if single:
            return output.squeeze(1), self._grouped([s.squeeze(1) for s in final])
        return (output.transpose(0, 1) if self.batch_first else output), self._grouped(final)

    def _forward_packed(self, input: PackedSequence, hx: State | None) -> tuple[Any, Any]:
        data, sizes, order, back = input
        self._check_packed(data, sizes)
        x, lengths = pad_packed_sequence(PackedSequence(data, sizes))
        state = self._initial_state(x, hx, False)
        if order is not None:
            state = [s.index_select(1, order) for s in state]
        output, final = self._run_stack(x, state, sizes)
        output, *final = (result.to(result_dtype(self._like())) for result in (output, *final))
        if back is not None:
            final = [s.index_select(1, back) for s in final]
        packed = pack_padded_sequence(output, lengths)
        return PackedSequence(packed.data, sizes, order, back), self._grouped(final)

    def _run_stack(
        self, x: Tensor, state: list[Tensor], sizes: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Output (T, B, …) and final states, each (L, B, H), of a time-major input."""
        if self.training and self.input_dropout > 0:
            x = _locked(x, self.input_dropout)
        output, final = self._run_layers(x, state, sizes)
        if self.training and self.output_dropout > 0:
            output = _locked(output, self.output_dropout)
        return output, final

    def _run_layers(
        self, x: Tensor, state: list[Tensor], sizes: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Layer after layer with native kernels."""
        finals: list[Tensor] = []
        x, *state = (t.to(kernel_dtype(t.dtype)) for t in (x, *state))
        for i, directions in enumerate(self._layers):
            if i > 0 and self.training and self.dropout > 0:
                x = dropout(x, self.dropout)
            outputs = []
            for names in directions:
                initial = torch.stack([s[len(finals)] for s in state])
                done = self._run_layer(names, x, initial, sizes, training=self.training)
                outputs.append(done.output.flip(0) if names.reverse else done.output)
                finals.append(done.final_state)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        return x, self._by_state(finals)

    def _run_layer(
        self,
        names: LayerNames,
        x: Tensor,
        initial: Tensor,
        sizes: Tensor | None,
        *,
        training: bool,
    ) -> Run:
        """One layer in one direction; the results of a reverse one stay in reverse time."""
        scale = None
        if training and self.state_dropout > 0:
            scale = dropout(x.new_ones(x.shape[1], self.hidden_size), self.state_dropout)
        return run(
            self.cell,
            x.flip(0) if names.reverse else x,
            initial,
            self._layer_weights(names, training),
            batch_sizes=sizes.flip(0) if sizes is not None and names.reverse else sizes,
            hold=self._hold(x, training),
            state_scale=scale,
            dense_gradient=self.gradient == "dense",
        )

    def _hold(self, x: Tensor, training: bool) -> Tensor | None:
        """What each unit keeps of its states in each step, (T, S, B, H)."""
        if not any(self.zoneout):
            return None
        (T, B, _), H = x.shape, self.hidden_size
        hold = torch.stack([x.new_full((T, B, H), share) for share in self.zoneout], dim=1)
        return hold.bernoulli() if training else hold

    def _layer_weights(self, names: LayerNames, training: bool) -> LayerWeights:
        def weight(name: str) -> Tensor:
            found = self._weight(name)
            return found.to(kernel_dtype(found.dtype))

        recurrent = [weight(name) for name in names.weight_hh]
        if training and self.weight_dropout > 0:
            recurrent = [dropout(w, self.weight_dropout) for w in recurrent]
        biases = [weight(name) for name in names.bias_hh]
        return LayerWeights(
            weight_ih=weight(names.weight_ih),
            weight_hh=tuple(recurrent),
            pattern_ih=self._pattern(names.weight_ih),
            pattern_hh=tuple(self._pattern(name) for name in names.weight_hh),
            bias_ih=weight(names.bias_ih) if names.bias_ih else None,
            bias_hh=torch.stack(biases) if biases else None,
        )

    def _like(self) -> Tensor:
        """A weight, for dtype and device."""
        return self._weight(self._layers[0][0].weight_ih)

    # ------------------------------------------------------------------------------------- checks

    def _check_data(self, input: Tensor) -> None:
        if input.shape[-1] != self.input_size:
            raise MisfitError(
                f"the last dimension of input must be input_size {self.input_size}, "
                f"got shape {tuple(input.shape)}"
            )
        weight = self._like()
        covered = covered_by_autocast(weight) and input.dtype.is_floating_point
        if (input.dtype != weight.dtype and not covered) or input.device != weight.device:
            raise MisfitError(
                f"input must be {weight.dtype} on {weight.device} like the weights, "
                f"got {input.dtype} on {input.device}"
            )

    def _check_packed(self, data: Tensor, sizes: Tensor) -> None:
        if data.dim() != 2:
            raise MisfitError(f"packed data must have 2 dimensions, got shape {tuple(data.shape)}")
        self._check_data(data)
        counts = sizes.tolist()
        falling = all(a >= b for a, b in pairwise(counts))
        if not counts or not falling or counts[-1] < 1 or sum(counts) != len(data):
            raise MisfitError(
                f"batch_sizes must be at least 1, not rise, and sum up to the {len(data)} rows of "
                f"packed data, got {counts}"
            )

    def _time_major(self, input: Tensor) -> Tensor:
        """Checks an input and brings it to (T, B, I)."""
        if input.dim() not in (2, 3):
            raise ValueError(f"input must have 2 or 3 dimensions, got shape {tuple(input.shape)}")
        self._check_data(input)
        x = input.unsqueeze(1) if input.dim() == 2 else input
        if self.batch_first and input.dim() == 3:
            x = x.transpose(0, 1)
        if x.shape[0] == 0:
            raise MisfitError("input must have at least one time step, got none")
        return x

    def _initial_state(self, x: Tensor, hx: State | None, single: bool) -> list[Tensor]:
        """The initial states, each (layers and directions, B, H)."""
        names, count = self.cell.states, self.num_layers * (2 if self.bidirectional else 1)
        widths = self._state_sizes()
        if hx is None:
            return [x.new_zeros(count, x.shape[1], width) for width in widths]
        if len(names) == 1:
            given: tuple[Any, ...] = (hx,)
        elif isinstance(hx, tuple | list) and len(hx) == len(names):
            given = tuple(hx)
        else:
            raise ValueError(
                f"the initial state hx must be a {_GROUPS[len(names)]} ({', '.join(names)}), "
                f"got {_kind(hx)}"
            )
        states = []
        for name, state, width in zip(names, given, widths, strict=True):
            expected = (count, width) if single else (count, x.shape[1], width)
            if not isinstance(state, Tensor):
                raise ValueError(f"the initial {name} must be a tensor, got {_kind(state)}")
            if tuple(state.shape) != expected:
                raise MisfitError(
                    f"the initial {name} must have shape {expected}, got {tuple(state.shape)}"
                )
            covered = covered_by_autocast(self._like()) and state.dtype.is_floating_point
            if (state.dtype != x.dtype and not covered) or state.device != x.device:
                raise MisfitError(
                    f"the initial {name} must be {x.dtype} on {x.device} like the input, "
                    f"got {state.dtype} on {state.device}"
                )
            states.append(state.unsqueeze(1) if single else state)
        return states

    @staticmethod
    def _by_state(finals: list[Tensor]) -> list[Tensor]:
        """From (S, B, H) of each layer to (L, B, H) of each state, none a view of another."""
        return [torch.stack([final[s] for final in finals]) for s in range(len(finals[0]))]

    @staticmethod
    def _grouped(states: list[Tensor]) -> Any:
        return states[0] if len(states) == 1 else tuple(states)

    # ----------------------------------------------------------------------------------- dynamics

    def _without_dropout(self, layer: int, x: Tensor, state: list[Tensor]) -> Run:
        """One layer forwards in time as evaluation has it."""
        [names] = self._layers[layer]
        initial = torch.stack([s[layer] for s in state])
        return self._run_layer(names, x, initial, None, training=False)

    def _check_one_direction(self) -> None:
        if self.bidirectional:
            raise ValueError(
                "a state must run forwards in time: bidirectional must be False, got True"
            )

    @torch.no_grad()
    def tangent_maps(
        self, inputs: Tensor, state: State | None = None, state_warmup: int = 0
    ) -> list[LayerTangent]:
        """The linearised dynamics of each layer, from the bottom up, without dropout.

        Args:
            inputs: as for a call.
            state: initial state; zeros by default.
            state_warmup: first steps that move the state only.

        Returns:
            One `LayerTangent` a layer, each of T - state_warmup steps.
        """
        self._check_one_direction()
        x = self._time_major(inputs)
        if not 0 <= state_warmup < x.shape[0]:
            raise ValueError(
                f"state_warmup must be in [0, {x.shape[0] - 1}] for {x.shape[0]} time steps, "
                f"got {state_warmup}"
            )
        initial = self._initial_state(x, state, inputs.dim() == 2)
        x, *initial = (t.to(kernel_dtype(t.dtype)) for t in (x, *initial))
        maps = []
        for layer, [names] in enumerate(self._layers):
            done = self._without_dropout(layer, x, initial)
            x = done.output
            packed = LayerWeights(
                weight_ih=self._weight(names.weight_ih).to(x.dtype, copy=True),
                weight_hh=tuple(
                    self._weight(name)[self._full_mask(name)].to(x.dtype)
                    for name in names.weight_hh
                ),
                # weights and masks may change later
                pattern_ih=self._pattern(names.weight_ih).clone(),
                pattern_hh=tuple(self._pattern(name).clone() for name in names.weight_hh),
            )
            window = done.trajectory.window(state_warmup, x.shape[0], len(names.weight_hh))
            shares = [self._full_mask(name).double().mean().item() for name in names.weight_hh]
            full = min(shares) >= FOLD_FROM
            dense = None
            if full:
                dense = [self.masked_weight(n).to(x.dtype, copy=True) for n in names.weight_hh]
            maps.append(LayerTangent(self.cell, window, packed, self.hidden_size, dense))
        return maps

    @torch.no_grad()
    def tangent(
        self,
        input: Tensor,
        hx: State | None = None,
        *,
        input_tangent: Tensor | None = None,
        state_tangent: State | None = None,
    ) -> tuple[tuple[Tensor, State], tuple[Tensor, State]]:
        """The exact Jacobian-vector product of a call, without dropout.

        What `torch.func.jvp` would give: torch has no forward-mode rule for native operators and
        would pass a tangent of zero, so it is refused, and this is the way.

        Args:
            input: as for a call.
            hx: as for a call.
            input_tangent: of the input's shape; zero by default.
            state_tangent: of the state's shape; zero by default.

        Returns:
            Output and final state, and their tangents, shaped as a call's.
        """
        self._check_one_direction()
        single = input.dim() == 2
        x = self._time_major(input)
        zeros = x.new_zeros(())
        d_x = (
            self._time_major(input_tangent) if input_tangent is not None else zeros.expand(x.shape)
        )
        if d_x.shape != x.shape:
            raise MisfitError(
                f"input_tangent must have the shape of input, {tuple(input.shape)}, "
                f"got {tuple(d_x.shape)}"
            )
        state = self._initial_state(x, hx, single)
        d_state = self._initial_state(x, state_tangent, single)
        kernel = kernel_dtype(x.dtype)
        x, d_x = x.to(kernel), d_x.to(kernel)
        state, d_state = [s.to(kernel) for s in state], [s.to(kernel) for s in d_state]
        finals, d_finals = [], []
        for layer, [names] in enumerate(self._layers):
            done = self._without_dropout(layer, x, state)
            moved, d_final = tangent(
                self.cell,
                torch.stack([d[layer] for d in d_state], dim=1).unsqueeze(-1),
                done.trajectory,
                self._layer_weights(names, training=False),
                input_tangent=d_x.unsqueeze(-1),
                outputs=True,
            )
            x, d_x = done.output, moved.squeeze(-1)
            finals.append(done.final_state)
            d_finals.append(d_final.squeeze(-1).transpose(0, 1))
        results = []
        for sequence, last in ((x, finals), (d_x, d_finals)):
            sequence, *ends = (t.to(input.dtype) for t in (sequence, *self._by_state(last)))
            if single:
                results.append((sequence.squeeze(1), self._grouped([s.squeeze(1) for s in ends])))
            else:
                whole = sequence.transpose(0, 1) if self.batch_first else sequence
                results.append((whole, self._grouped(ends)))
        return results[0], results[1]

    def layer_inputs(self, inputs: Tensor) -> Tensor:
        """What the first layer is fed for `inputs`, (T, B, I)."""
        return self._time_major(inputs)

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


_GROUPS = {2: "pair"}


def _kind(value: object) -> str:
    """What came, for a message."""
    if isinstance(value, tuple | list):
        return f"{len(value)} of them"
    return type(value).__name__
