"""SparseLSTM: `torch.nn.LSTM` with sparse weights."""

from __future__ import annotations

import math
import warnings
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from lsh_native.cells import LSTM, LayerWeights, Run, run
from lsh_native.nn.layer_tangent import FOLD_FROM, LayerTangent
from lsh_native.nn.sparse_module import SparseModule

__all__ = ["SparseLSTM"]

State = tuple[Tensor, Tensor]


class SparseLSTM(SparseModule):
    """Applies a stack of long short-term memory layers whose weights may be sparse.

    Constructor, parameter names, shapes, defaults and results are those of `torch.nn.LSTM`;
    equations and gate order stand in `lsh_native.cells.lstm`. A stack without masks runs torch's
    own dense LSTM.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether input and output are (B, T, …) instead of (T, B, …).
        dropout: probability of dropping an output of every layer but the last, in training.
        bidirectional: must be False.
        proj_size: must be 0.
        device: as in `torch.nn.LSTM`.
        dtype: float32 or float64.
        density: share of each weight that is connected, drawn uniformly with an exact count.

    Example:
        >>> layer = SparseLSTM(8, 16, num_layers=2, density=0.25)
        >>> output, (h, c) = layer(torch.zeros(5, 3, 8))
        >>> output.shape, h.shape, layer.density()
        (torch.Size([5, 3, 16]), torch.Size([2, 3, 16]), 0.25)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        density: float = 1.0,
    ) -> None:
        super().__init__()
        for name, size in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            if not isinstance(size, int) or isinstance(size, bool):
                raise TypeError(f"{name} must be an int, got {type(size).__name__}")
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a number in [0, 1], got {dropout!r}")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout acts between layers, and there is only one: it has no effect",
                stacklevel=2,
            )
        if bidirectional or proj_size:
            raise ValueError(
                "bidirectional must be False and proj_size 0, "
                f"got bidirectional={bidirectional} and proj_size={proj_size}"
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size

        options = {"device": device, "dtype": dtype}
        rows = 4 * hidden_size
        for layer in range(num_layers):
            columns = input_size if layer == 0 else hidden_size
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, columns),
                "weight_hh": (rows, hidden_size),
            }
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for name, shape in shapes.items():
                self.register_parameter(
                    f"{name}_l{layer}", nn.Parameter(torch.empty(shape, **options))
                )
        self.maskable = tuple(
            f"{name}_l{layer}" for layer in range(num_layers) for name in ("weight_ih", "weight_hh")
        )
        self.reset_parameters()
        self._init_masks(density)

    def reset_parameters(self) -> None:
        """Draws every parameter uniformly from ±1/√H, as `torch.nn.LSTM` does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            nn.init.uniform_(parameter, -bound, bound)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer, in the order of `torch.nn.LSTM`."""
        names = ["weight_ih", "weight_hh"] + (["bias_ih", "bias_hh"] if self.bias else [])
        return [
            [self._weight(f"{name}_l{layer}") for name in names] for layer in range(self.num_layers)
        ]

    def flatten_parameters(self) -> None:
        """Does nothing: weights are read where they are."""

    def forward(self, input: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
        """Runs the stack.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, or (T, I) for one sequence.
            hx: initial (h, c), each (L, B, H), or (L, H) for one sequence; zeros by default.

        Returns:
            The last layer's output, (T, B, H) or laid out as the input, and the final (h, c).

        Raises:
            ValueError: a shape, dtype or device that does not fit, saying which must be what.
        """
        single = input.dim() == 2
        x = self._time_major(input)
        h0, c0 = self._initial_state(x, hx, single)
        if torch.compiler.is_compiling() or not self._dense:  # compilers reject torch's own LSTM
            runs = self._run_layers(x, h0, c0, self.dropout if self.training else 0.0)
            output, finals = runs[-1].output, [layer.final_state for layer in runs]
            h, c = torch.stack(finals, dim=1)
        else:
            weights = [weight for layer in self.all_weights for weight in layer]
            output, h, c = torch._VF.lstm(
                x,
                (h0, c0),
                weights,
                self.bias,
                self.num_layers,
                self.dropout,
                self.training,
                False,
                False,
            )
        if single:
            return output.squeeze(1), (h.squeeze(1), c.squeeze(1))
        return (output.transpose(0, 1) if self.batch_first else output), (h, c)

    def _run_layers(self, x: Tensor, h0: Tensor, c0: Tensor, probability: float) -> list[Run]:
        """Runs layer after layer with native kernels."""
        runs: list[Run] = []
        for layer in range(self.num_layers):
            if layer > 0:
                x = runs[-1].output
                if probability > 0:
                    x = dropout(x, probability)
            state = torch.stack([h0[layer], c0[layer]])
            weights = self._layer_weights(layer)
            runs.append(run(LSTM, x, state, weights, dense_gradient=self.gradient == "dense"))
        return runs

    def _layer_weights(self, layer: int) -> LayerWeights:
        w_ih, w_hh = f"weight_ih_l{layer}", f"weight_hh_l{layer}"
        return LayerWeights(
            weight_ih=self._weight(w_ih),
            weight_hh=(self._weight(w_hh),),
            pattern_ih=self._pattern(w_ih),
            pattern_hh=(self._pattern(w_hh),),
            bias_ih=self._weight(f"bias_ih_l{layer}") if self.bias else None,
            bias_hh=self._weight(f"bias_hh_l{layer}").unsqueeze(0) if self.bias else None,
        )

    def _time_major(self, input: Tensor) -> Tensor:
        """Checks an input and brings it to (T, B, I)."""
        if input.dim() not in (2, 3):
            raise ValueError(f"input must have 2 or 3 dimensions, got shape {tuple(input.shape)}")
        if input.shape[-1] != self.input_size:
            raise ValueError(
                f"the last dimension of input must be input_size {self.input_size}, "
                f"got shape {tuple(input.shape)}"
            )
        weight = self._weight("weight_ih_l0")
        if input.dtype != weight.dtype or input.device != weight.device:
            raise ValueError(
                f"input must be {weight.dtype} on {weight.device} like the weights, "
                f"got {input.dtype} on {input.device}"
            )
        x = input.unsqueeze(1) if input.dim() == 2 else input
        if self.batch_first and input.dim() == 3:
            x = x.transpose(0, 1)
        if x.shape[0] == 0:
            raise ValueError("input must have at least one time step, got none")
        return x

    def _initial_state(self, x: Tensor, hx: State | None, single: bool) -> State:
        shape = (self.num_layers, x.shape[1], self.hidden_size)
        if hx is None:
            zeros = x.new_zeros(shape)
            return zeros, zeros
        expected = (shape[0], shape[2]) if single else shape
        if not isinstance(hx, tuple | list) or len(hx) != 2:
            raise ValueError(f"the initial state hx must be a pair (h, c), got {_kind(hx)}")
        for name, state in zip(("h", "c"), hx, strict=True):
            if not isinstance(state, Tensor):
                raise ValueError(f"the initial {name} must be a tensor, got {_kind(state)}")
            if tuple(state.shape) != expected:
                raise ValueError(
                    f"the initial {name} must have shape {expected}, got {tuple(state.shape)}"
                )
            if state.dtype != x.dtype or state.device != x.device:
                raise ValueError(
                    f"the initial {name} must be {x.dtype} on {x.device} like the input, "
                    f"got {state.dtype} on {state.device}"
                )
        h0, c0 = hx
        return (h0.unsqueeze(1), c0.unsqueeze(1)) if single else (h0, c0)

    # -------------------------------------------------------------------------------------------
    # dynamics

    @torch.no_grad()
    def tangent_maps(
        self, inputs: Tensor, state: State | None = None, state_warmup: int = 0
    ) -> list[LayerTangent]:
        """The linearised dynamics of each layer, from the bottom up, without dropout.

        Args:
            inputs: as for a call.
            state: initial (h, c); zeros by default.
            state_warmup: first steps that move the state only.

        Returns:
            One `LayerTangent` a layer, each of T - state_warmup steps.
        """
        x = self._time_major(inputs)
        if not 0 <= state_warmup < x.shape[0]:
            raise ValueError(
                f"state_warmup must be in [0, {x.shape[0] - 1}] for {x.shape[0]} time steps, "
                f"got {state_warmup}"
            )
        h0, c0 = self._initial_state(x, state, inputs.dim() == 2)
        maps = []
        for layer, passed in enumerate(self._run_layers(x, h0, c0, 0.0)):
            name = f"weight_hh_l{layer}"
            packed = LayerWeights(
                weight_ih=self._weight(f"weight_ih_l{layer}"),
                weight_hh=(self._weight(name)[self._full_mask(name)],),
                pattern_ih=self._pattern(f"weight_ih_l{layer}"),
                pattern_hh=(self._pattern(name).clone(),),  # masks may change later
            )
            window = passed.trajectory.window(state_warmup, x.shape[0])
            full = self._full_mask(name).double().mean().item() >= FOLD_FROM
            dense = [self.masked_weight(name).clone()] if full else None
            maps.append(LayerTangent(LSTM, window, packed, self.hidden_size, dense))
        return maps

    def lstm_layers(self) -> list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
        """Weights and biases of each layer, from the bottom up, dense, with zeros where masked."""
        return [
            (
                self.masked_weight(f"weight_ih_l{layer}"),
                self.masked_weight(f"weight_hh_l{layer}"),
                self._weight(f"bias_ih_l{layer}") if self.bias else None,
                self._weight(f"bias_hh_l{layer}") if self.bias else None,
            )
            for layer in range(self.num_layers)
        ]

    def layer_inputs(self, inputs: Tensor) -> Tensor:
        """What the first layer is fed for `inputs`, (T, B, I)."""
        return self._time_major(inputs)

    # --------------------------------------------------------------------------------------- dense
    # and back

    @classmethod
    def from_dense(cls, module: nn.LSTM, density: float = 1.0) -> Self:
        """A copy of a dense stack that keeps the share `density` of largest weights of each."""
        weight = module.get_parameter("weight_ih_l0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the dense module has warned already
            result = cls(
                module.input_size,
                module.hidden_size,
                module.num_layers,
                module.bias,
                module.batch_first,
                module.dropout,
                module.bidirectional,
                module.proj_size,
                device=weight.device,
                dtype=weight.dtype,
            )
        result.load_state_dict(module.state_dict())
        result._keep_largest(density)
        return result.train(module.training)

    def to_dense(self) -> nn.LSTM:
        """The same function as a `torch.nn.LSTM`, with zeros where there is no connection."""
        weight = self._weight("weight_ih_l0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = nn.LSTM(
                self.input_size,
                self.hidden_size,
                self.num_layers,
                self.bias,
                self.batch_first,
                self.dropout,
                device=weight.device,
                dtype=weight.dtype,
            )
        with torch.no_grad():
            for name, parameter in result.named_parameters():
                dense = self.masked_weight(name) if name in self.maskable else self._weight(name)
                parameter.copy_(dense)
        return result.train(self.training)

    def _dense_kernel(self) -> str:
        if self._dense:
            return "torch's dense LSTM, as no weight of the stack is masked"
        return "sparse kernel with a full pattern, as another weight of the stack is masked"

    def extra_repr(self) -> str:
        """What differs from the defaults."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.num_layers != 1:
            parts.append(f"num_layers={self.num_layers}")
        if not self.bias:
            parts.append("bias=False")
        if self.batch_first:
            parts.append("batch_first=True")
        if self.dropout:
            parts.append(f"dropout={self.dropout}")
        parts.append(f"density={self.density():.4g}")
        return ", ".join(parts)


def _kind(value: object) -> str:
    """What came, for a message."""
    if isinstance(value, tuple | list):
        return f"{len(value)} of them"
    return type(value).__name__
