"""SparseTorchRecurrent: the recurrent stacks that `torch.nn` has too, and the ways between."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Self, Unpack

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lsh_native.cells import Cell
from lsh_native.nn.crossover import MANY, crossover
from lsh_native.nn.dtypes import covered_by_autocast, torch_lacks_16_bits
from lsh_native.nn.dynamics import RecurrentDynamics
from lsh_native.nn.layer_names import LayerNames
from lsh_native.nn.options import Options
from lsh_native.sparsity.transforms import is_transformed

__all__ = ["SparseTorchRecurrent"]


class SparseTorchRecurrent(RecurrentDynamics):
    """What `torch.nn.RNNBase` is to torch's stacks: parameters, their names and their drawing.

    Constructor, parameter names, shapes, defaults and results are those of `torch.nn`'s module of
    the cell. A stack without masks runs torch's own dense kernels, unless it does what they cannot:
    hold or scale states, be compiled, be vectorised.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether input and output are (B, T, …) instead of (T, B, …).
        dropout: probability of dropping an output of every layer but the last, in training.
        bidirectional: whether a second set of layers reads each sequence backwards.
        device: as in `torch.nn`.
        dtype: a floating dtype.
        proj_size: of an LSTM, the width O of the output and of the recurrent operand if above 0,
            projected from H.
        options: see `Options`.
    """

    cell_of_kind: ClassVar[Cell]
    projected_cell: ClassVar[Cell | None] = None
    mode: ClassVar[str]
    dense_kind: ClassVar[type[nn.RNNBase]]
    dense_call: ClassVar[Callable[..., tuple[Tensor, ...]]]
    shared_arguments: ClassVar[tuple[str, ...]] = (
        *("input_size", "hidden_size", "num_layers", "bias"),
        *("batch_first", "dropout", "bidirectional"),
    )

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            self.cell_of_kind,
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional),
            **options,
        )
        if proj_size and self.projected_cell is None:
            raise ValueError(f"proj_size must be 0 in a stack other than an LSTM, got {proj_size}")
        if proj_size < 0 or proj_size >= hidden_size:
            raise ValueError(f"proj_size must be in [0, hidden_size), got {proj_size}")
        if proj_size and self.projected_cell is not None:
            self.cell = self.projected_cell
        self.proj_size = proj_size
        self._layers = [
            [
                LayerNames(
                    weight_ih=f"weight_ih_l{layer}{suffix}",
                    weight_hh=tuple(
                        f"{kind}_l{layer}{suffix}"
                        for kind in ("weight_hh", *(("weight_hr",) if proj_size else ()))
                    ),
                    bias_ih=f"bias_ih_l{layer}{suffix}" if bias else None,
                    bias_hh=(f"bias_hh_l{layer}{suffix}",) if bias else (),
                    reverse=bool(suffix),
                )
                for suffix in (("", "_reverse") if bidirectional else ("",))
            ]
            for layer in range(num_layers)
        ]
        rows = len(self.cell.gates) * hidden_size
        width, inputs = proj_size or hidden_size, input_size
        for directions in self._layers:
            for names in directions:
                shapes: dict[str, tuple[int, ...]] = {
                    names.weight_ih: (rows, inputs),
                    names.weight_hh[0]: (rows, width),
                }
                if names.bias_ih:
                    shapes |= dict.fromkeys((names.bias_ih, *names.bias_hh), (rows,))
                shapes |= dict.fromkeys(names.weight_hh[1:], (proj_size, hidden_size))
                for name, shape in shapes.items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    self.register_parameter(name, parameter)
            inputs = width * len(directions)
        self.maskable = tuple(name for name in self._flat_weights_names if "weight" in name)
        self.reset_parameters()
        self._init_masks(options.get("density", 1.0))

    def reset_parameters(self) -> None:
        """Draws every parameter uniformly from ±1/√H, as `torch.nn` does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            nn.init.uniform_(parameter, -bound, bound)

    # ------------------------------------------------------- what code written for torch.nn reads

    @property
    def _all_weights(self) -> list[list[str]]:
        kinds = [
            [
                names.weight_ih,
                names.weight_hh[0],
                *([names.bias_ih, *names.bias_hh] if names.bias_ih else []),
                *names.weight_hh[1:],
            ]
            for directions in self._layers
            for names in directions
        ]
        return kinds

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [self._weight(name) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction, in the order of `torch.nn`."""
        return [[self._weight(name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Does nothing: weights are read where they are."""

    # -------------------------------------------------------------------------------- dense kernels

    def _state_sizes(self) -> list[int]:
        return [self.proj_size or self.hidden_size, *super()._state_sizes()[1:]]

    def _runs_dense(self, batch: int, gradients: bool | None = None) -> bool:
        """Whether torch's own kernel runs the stack, with zeros where masked.

        It is faster where little is masked, unless it projects: then torch's has no fast kernel on
        the CPU. Compilers and `torch.vmap` reject it.
        """
        bent = any(self.zoneout) or (self.training and self.state_dropout > 0)
        if bent or is_transformed() or torch.compiler.is_compiling():
            return False
        if gradients is None:
            gradients = torch.is_grad_enabled()
        return self._dense or self._dense_is_faster(batch, gradients)

    def _dense_is_faster(self, batch: int, gradients: bool) -> bool:
        return not self.proj_size and crossover().dense_is_faster(self._density, batch, gradients)

    def live_pattern(self, name: str) -> Tensor | None:
        """See `SparseModule`; None too where torch's kernel may run."""
        return None if self._dense_is_faster(MANY, True) else super().live_pattern(name)

    def _run_layers(
        self, x: Tensor, state: list[Tensor], sizes: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        if not self._runs_dense(x.shape[1]):
            return super()._run_layers(x, state, sizes)
        like = self._like()
        covered = x.device.type == "cpu" and covered_by_autocast(like)
        gradients = torch.is_grad_enabled()
        if covered and torch_lacks_16_bits(torch.get_autocast_dtype("cpu"), gradients):
            with torch.autocast("cpu", enabled=False):
                x, *state = (t.to(like.dtype) for t in (x, *state))
                return self._run_layers(x, state, sizes)
        weights = []
        for name in self._flat_weights_names:
            weight = self._dense_form(name) if name in self.maskable else self._weight(name)
            if self.training and self.weight_dropout > 0 and "weight_hh" in name:
                weight = nn.functional.dropout(weight, self.weight_dropout)
            weights.append(weight)
        options = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        if self._takes_training_mode(x) and not covered:
            x, *state = (t.detach() for t in (x, *state))
            weights = [weight.detach() for weight in weights]
            with torch.enable_grad():  # which is by what torch chooses
                return self._call_dense(x, state, sizes, weights, options)
        return self._call_dense(x, state, sizes, weights, options)

    def _takes_training_mode(self, x: Tensor) -> bool:
        """Whether torch's kernel for gradients runs though none are recorded, being faster."""
        fits = self.dense_kind is nn.LSTM and x.device.type == "cpu" and x.dtype == torch.float32
        return (
            fits
            and not torch.is_grad_enabled()
            and crossover().takes_training_mode(self.hidden_size, x.shape[1])
        )

    def _call_dense(
        self,
        x: Tensor,
        state: list[Tensor],
        sizes: Tensor | None,
        weights: list[Tensor],
        options: tuple[Any, ...],
    ) -> tuple[Tensor, list[Tensor]]:
        """Torch's own kernel."""
        hx = self._grouped(state)
        if sizes is None:
            output, *final = type(self).dense_call(x, hx, weights, *options, False)
            return output, final
        packed = nn.utils.rnn.pack_padded_sequence(x, _lengths(sizes))
        data, *final = type(self).dense_call(packed.data, sizes, hx, weights, *options)
        return nn.utils.rnn.pad_packed_sequence(PackedSequence(data, sizes))[0], final

    def _gates(self, name: str) -> int:
        return 1 if name.startswith("weight_hr") else super()._gates(name)

    def _kernel(self, name: str) -> str:
        dense = f"torch's dense {self.dense_kind.__name__}"
        trains, reads = (self._runs_dense(MANY, gradients=gradients) for gradients in (True, False))
        if self._dense:
            return dense if trains else super()._kernel(name)
        sparse, why = super()._kernel(name), f" (density {self._density:.3g}; {crossover()})"
        if self.proj_size:
            return sparse
        if not (trains or reads):
            return sparse + why
        alone = (
            "" if trains and reads else "without gradients and " if trains else "in training and "
        )
        return f"{dense} with zeros where masked; {sparse} {alone}below {MANY} sequences{why}"

    # -------------------------------------------------------------------------- dense and back

    @classmethod
    def from_dense(cls, module: nn.RNNBase, density: float = 1.0, **options: Any) -> Self:
        """A copy of a dense stack that keeps the share `density` of largest weights of each.

        Args:
            module: the dense stack.
            density: in [0, 1].
            options: see `Options`.
        """
        if not isinstance(module, cls.dense_kind):
            raise TypeError(
                f"module must be a torch.nn.{cls.dense_kind.__name__}, got {type(module).__name__}"
            )
        weight = next(module.parameters())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the dense module has warned already
            result = cls(
                **cls._arguments(module),
                device=weight.device,
                dtype=weight.dtype,
                **options,
            )
        result.load_state_dict(module.state_dict())
        result._keep_largest(density)
        return result.train(module.training)

    def to_dense(self) -> Any:
        """The same function as `torch.nn`'s stack, with zeros where there is no connection.

        Raises:
            ValueError: the stack holds states or drops something that torch's cannot.
        """
        self._check_plain()
        weight = self._flat_weights[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = self.dense_kind(
                **self._arguments(self), device=weight.device, dtype=weight.dtype
            )
        with torch.no_grad():
            for name, parameter in result.named_parameters():
                dense = self.masked_weight(name) if name in self.maskable else self._weight(name)
                parameter.copy_(dense)
        return result.train(self.training)

    @classmethod
    def _arguments(cls, module: nn.Module) -> dict[str, Any]:
        """The constructor's arguments that a sparse and a dense stack share."""
        return {name: getattr(module, name) for name in cls.shared_arguments}


def _lengths(sizes: Tensor) -> Tensor:
    """Lengths of the sequences whose steps move `sizes` of them."""
    counts = torch.arange(int(sizes[0])).unsqueeze(1)
    return (counts < sizes).sum(1)
