"""SparseRHN: recurrent highway networks with sparse weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Self, Unpack

import torch
from torch import Tensor, nn

from lsh_native.cells import FREE_RHN, RHN
from lsh_native.nn.dense_rhn import DenseRHN
from lsh_native.nn.dynamics import RecurrentDynamics
from lsh_native.nn.layer_names import LayerNames
from lsh_native.nn.options import Options, check_sizes

__all__ = ["SparseRHN", "from_highways", "from_variables"]


class SparseRHN(RecurrentDynamics):
    """Applies a stack of recurrent highway layers whose weights may be sparse.

    A time step is D micro-steps, each through a highway layer; the input enters the first.
    Equations and gate order stand in `lsh_native.cells.rhn`. Variational dropout is
    `input_dropout` and `state_dropout`: one mask a sequence, the same at every step and depth and
    for every gate. Calls, states and layouts are those of `torch.nn.RNN`.

    Args:
        input_size: I.
        hidden_size: H.
        depth: D.
        num_layers: L.
        coupled: whether the carry gate is 1 - the transform gate, or has weights of its own.
        bias: whether there are biases.
        batch_first: whether input and output are (B, T, …) instead of (T, B, …).
        dropout: probability of dropping an output of every layer but the last, in training.
        transform_bias: where the transform gate's bias starts; below zero, states are carried on
            at first. A free carry gate's starts at the negative of it; the other biases at zero.
        device: where the parameters are.
        dtype: a floating dtype.
        options: see `Options`.

    Shape:
        Parameters `weight_ih_l{k}` (G * H, I or H), `weight_hh_l{k}_d{d}` (G * H, H) and
        `bias_l{k}_d{d}` (G * H), with G = 2 gates h, t, or 3 with a free carry c.

    Example:
        >>> output, s = SparseRHN(8, 16, depth=3, density=0.25)(torch.zeros(5, 3, 8))
        >>> output.shape, s.shape
        (torch.Size([5, 3, 16]), torch.Size([1, 3, 16]))

    Source: Zilly, Srivastava, Koutník & Schmidhuber, "Recurrent highway networks", 2017.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        depth: int,
        num_layers: int = 1,
        coupled: bool = True,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        transform_bias: float = -2.0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            RHN if coupled else FREE_RHN,
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout, False),
            **options,
        )
        check_sizes(depth=depth)
        if not math.isfinite(transform_bias):
            raise ValueError(f"transform_bias must be finite, got {transform_bias}")
        self.depth = depth
        self.coupled = bool(coupled)
        self.transform_bias = float(transform_bias)
        self._layers = [
            [
                LayerNames(
                    weight_ih=f"weight_ih_l{layer}",
                    weight_hh=tuple(f"weight_hh_l{layer}_d{d}" for d in range(depth)),
                    bias_hh=tuple(f"bias_l{layer}_d{d}" for d in range(depth)) if bias else (),
                )
            ]
            for layer in range(num_layers)
        ]
        rows = len(self.cell.gates) * hidden_size
        maskable: list[str] = []
        for layer, [names] in enumerate(self._layers):
            inputs = hidden_size if layer else input_size
            shapes: dict[str, tuple[int, ...]] = {names.weight_ih: (rows, inputs)}
            shapes |= dict.fromkeys(names.weight_hh, (rows, hidden_size))
            maskable += shapes
            shapes |= dict.fromkeys(names.bias_hh, (rows,))
            for name, shape in shapes.items():
                parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                self.register_parameter(name, parameter)
        self.maskable = tuple(maskable)
        self.reset_parameters()
        self._init_masks(options.get("density", 1.0))

    def reset_parameters(self) -> None:
        """Draws weights uniformly from ±1/√H and sets biases as the constructor says."""
        bound = 1 / math.sqrt(self.hidden_size)
        for name in self.maskable:
            nn.init.uniform_(self._weight(name), -bound, bound)
        self.reset_biases()

    def reset_biases(self) -> None:
        """Sets biases as the constructor says."""
        starts = {"h": 0.0, "t": self.transform_bias, "c": -self.transform_bias}
        with torch.no_grad():
            for [names] in self._layers:
                for name in names.bias_hh:
                    parts = self._weight(name).chunk(len(self.cell.gates))
                    for gate, part in zip(self.cell.gates, parts, strict=True):
                        part.fill_(starts[gate])

    def extra_repr(self) -> str:
        """What differs from the defaults."""
        coupled = "" if self.coupled else ", coupled=False"
        return f"depth={self.depth}{coupled}, {super().extra_repr()}"

    def to_dense(self) -> DenseRHN:
        """The same function in plain torch, with zeros where there is no connection.

        Raises:
            ValueError: the stack holds states or drops something other than between layers.
        """
        self._check_plain()
        return DenseRHN(self, self.depth)

    # ------------------------------------------------------------------------ public layouts

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Tensor], **options: Any) -> Self:
        """A stack with the parameters given, by its own names; sizes are read off them.

        Args:
            parameters: as `state_dict()`, `from_highways` and `from_variables` give them.
            options: the constructor's keyword arguments but sizes, `coupled`, `bias`, device and
                dtype.

        Raises:
            ValueError: a parameter is missing or does not fit the others.
        """
        first = parameters.get("weight_hh_l0_d0")
        weight_ih = parameters.get("weight_ih_l0")
        if first is None or weight_ih is None:
            raise ValueError(
                "parameters must hold weight_ih_l0 and weight_hh_l0_d0, "
                f"got {', '.join(parameters) or 'none'}"
            )
        gates, rest = divmod(first.shape[0], first.shape[1])
        if rest or gates not in (2, 3):
            raise ValueError(
                "weight_hh_l0_d0 must have 2 or 3 times as many rows as columns, "
                f"got {tuple(first.shape)}"
            )
        places = [m for name in parameters if (m := re.fullmatch(r"weight_hh_l(\d+)_d(\d+)", name))]
        result = cls(
            weight_ih.shape[1],
            first.shape[1],
            depth=1 + max(int(m[2]) for m in places),
            num_layers=1 + max(int(m[1]) for m in places),
            coupled=gates == 2,
            bias="bias_l0_d0" in parameters,
            device=first.device,
            dtype=first.dtype,
            **options,
        )
        expected = {name: tuple(p.shape) for name, p in result.named_parameters()}
        found = {n: tuple(p.shape) for n, p in parameters.items() if not n.endswith("_mask")}
        if expected != found:
            wrong = sorted(
                name
                for name in expected.keys() | found.keys()
                if expected.get(name) != found.get(name)
            )
            raise ValueError(
                f"the parameters of a stack of depth {result.depth} must fit each other, "
                f"got {', '.join(f'{name}: {found.get(name)}' for name in wrong)}"
            )
        result.load_state_dict(dict(parameters))
        return result


def from_highways(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of a `SparseRHN` from the layout of the public PyTorch program.

    There every layer has `highways.{d}.R` (2H rows, h and t) and `highways.0.W`, with a free carry
    also `R_C` and `W_C`; `W` and `R` both have a bias, of which only the sum matters. Layers may
    be told apart by `rnns.{k}.` in front.

    Args:
        state_dict: of the layers, or of the model around them; other entries are left alone.
    """
    pattern = re.compile(r"(?:.*?(\d+)\.)?highways\.(\d+)\.([WR])(_C)?\.(weight|bias)")
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state_dict.items():
        if match := pattern.fullmatch(name):
            layer, d, matrix, carry, kind = match.groups()
            stem = f"l{layer or 0}" if matrix == "W" and kind == "weight" else f"l{layer or 0}_d{d}"
            title = "bias" if kind == "bias" else {"W": "weight_ih", "R": "weight_hh"}[matrix]
            parts.setdefault(f"{title}_{stem}", {})[f"{matrix}{carry or ''}"] = value
    found: dict[str, Tensor] = {}
    for name, by_matrix in parts.items():
        sums = []
        for matrix in ("W", "R"):
            halves = [by_matrix[key] for key in (matrix, f"{matrix}_C") if key in by_matrix]
            if halves:
                sums.append(torch.cat(halves))
        found[name] = sums[0] + sums[1] if len(sums) == 2 else sums[0]
    return found


def from_variables(variables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of a `SparseRHN` from the layout of the authors' TensorFlow program.

    There every gate and depth has `RHN{k}/h_{d}/Linear/Matrix` and `…/Bias`, `t_{d}` likewise; a
    matrix maps row vectors, and that of depth 0 has the input's rows above the state's.

    Args:
        variables: by name, as tensors; other entries are left alone.
    """
    pattern = re.compile(r"(?:.*/)?RHN(\d+)/(?:.*/)?([ht])_(\d+)/(?:.*/)?(Matrix|Bias)(?::0)?")
    gates: dict[tuple[int, int, str], dict[str, Tensor]] = {}
    for name, value in variables.items():
        if match := pattern.fullmatch(name):
            layer, gate, d, kind = match.groups()
            gates.setdefault((int(layer), int(d), kind), {})[gate] = value
    found: dict[str, Tensor] = {}
    for (layer, d, kind), by_gate in gates.items():
        if set(by_gate) != {"h", "t"}:
            raise ValueError(
                f"layer {layer}, depth {d} must have gates h and t, got {set(by_gate)}"
            )
        h, t = by_gate["h"], by_gate["t"]
        if kind == "Bias":
            found[f"bias_l{layer}_d{d}"] = torch.cat([h, t])
            continue
        whole, H = torch.cat([h.mT, t.mT]), h.shape[1]
        inputs = whole.shape[1] - H
        if d == 0:
            found[f"weight_ih_l{layer}"] = whole[:, :inputs].contiguous()
        found[f"weight_hh_l{layer}_d{d}"] = whole[:, inputs:].contiguous()
    return found
