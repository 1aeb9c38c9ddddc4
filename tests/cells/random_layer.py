"""A recurrent layer drawn at random, its plain definition in float64, and how the two are compared.

The kernel and the definition get the same numbers: drawn in the kernel's dtype, widened for the
definition, which therefore has no rounding of its own to speak of. An entry of a result may be off
by the tolerance of the kernel's dtype (the table in tests/conftest.py) relative to the largest
entry of its tensor: an entry that is small because large terms cancel carries their rounding.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lsh_native.cells import LSTM, Cell, LayerWeights, Run, run, run_definition
from lsh_native.sparsity.pattern import pack_pattern


@dataclass(kw_only=True)
class RandomLayer:
    """Operands of one layer.

    Attributes:
        T, B, I, H: sizes.
        density: share of connections of the input and of the recurrent weight.
        dtype: of every number.
        packed: whether the weights are given packed.
        bias: whether there are biases.
        device: where the operands are; they are drawn on the CPU.
        capacity: room of the patterns beyond their connections, as far as there are entries.
        bent: which of `batch_sizes`, `hold` and `state_scale` there are.
        cell: the cell.
        D: micro-steps of a time step. The weights and masks of those after the first are called
            `weight_hh1` and `mask_hh1`, `weight_hh2` and so on; so are those of a projection.
        O: outputs of a cell that projects; about half of H by default.
        operands: the numbers and masks, by name; `layer[name]` for short.
    """

    T: int
    B: int
    I: int  # noqa: E741
    H: int
    density: tuple[float, float] = (0.4, 0.4)
    dtype: torch.dtype = torch.float64
    packed: bool = False
    bias: bool = True
    device: torch.device | str = "cpu"
    capacity: int = 0
    bent: tuple[str, ...] = ()
    cell: Cell = LSTM
    D: int = 1
    O: int = 0  # noqa: E741
    operands: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.T + 10 * self.B + 100 * self.I + self.H)

        def draw(*shape: int, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(shape, generator=generator)).to(self.dtype)

        G, S = len(self.cell.gates), len(self.cell.states)
        if self.cell.projects:
            self.D, self.O = 1, self.O or (self.H + 1) // 2
        else:
            self.O = self.H
        operands = {
            "input": draw(self.T, self.B, self.I),
            "state": draw(S, self.B, self.H),
            "bias_ih": draw(G * self.H),
            "bias_hh": draw(self.D, G * self.H),
            "grad_output": draw(self.T, self.B, self.O),
            "grad_final": draw(S, self.B, self.H),
        }
        for which in self.matrices:
            rows, columns = self.shape(which)
            density = self.density[which != "ih"]
            mask = torch.rand(rows, columns, generator=generator) < density
            # weights that keep pre-activations of order 1, where gates are far from saturation
            scale = (1 + int(mask.sum()) / len(mask)) ** -0.5
            operands |= {
                f"weight_{which}": draw(rows, columns, scale=scale),
                f"mask_{which}": mask,
            }
        operands |= {
            "hold": torch.rand(self.T, S, self.B, self.H, generator=generator).to(self.dtype),
            "state_scale": draw(self.B, self.H),
        }
        operands["hold"][torch.rand(operands["hold"].shape, generator=generator) < 0.3] = 1
        self.operands = {name: operand.to(self.device) for name, operand in operands.items()}
        # in no order: sequences may end early and begin late
        self.operands["batch_sizes"] = torch.randint(self.B + 1, (self.T,), generator=generator)

    def __getitem__(self, name: str) -> Tensor:
        return self.operands[name]

    @property
    def matrices(self) -> list[str]:
        """The input weight, `ih`, and the recurrent weights, `hh`, `hh1` and so on."""
        return ["ih", "hh", *(f"hh{d}" for d in range(1, self.D + self.cell.projects))]

    def shape(self, which: str) -> tuple[int, int]:
        """Rows and columns of a weight."""
        if self.cell.projects and which == "hh1":
            return self.O, self.H
        return len(self.cell.gates) * self.H, self.I if which == "ih" else self.O

    @property
    def bends(self) -> dict[str, Tensor]:
        """What bends the time steps of this layer, as keyword arguments of `run`."""
        return {name: self[name] for name in self.bent}

    def pattern(self, which: str) -> Tensor:
        mask = self[f"mask_{which}"]
        return pack_pattern(mask, min(int(mask.sum()) + self.capacity, mask.numel()))

    def weight(self, which: str) -> Tensor:
        """The weight as the kernel is given it: dense with rubbish where masked, or packed."""
        weight, mask = self[f"weight_{which}"], self[f"mask_{which}"]
        return weight[mask] if self._packs(which) else weight.masked_fill(~mask, torch.nan)

    def _packs(self, which: str) -> bool:
        return self.packed and not (self.cell.projects and which == "hh1")  # which is dense

    def weights(self, *, gradient: bool = False) -> LayerWeights:
        def leaf(tensor: Tensor) -> Tensor:
            return tensor.clone().requires_grad_(gradient)

        return LayerWeights(
            weight_ih=leaf(self.weight("ih")),
            weight_hh=tuple(leaf(self.weight(which)) for which in self.matrices[1:]),
            pattern_ih=self.pattern("ih"),
            pattern_hh=tuple(self.pattern(which) for which in self.matrices[1:]),
            bias_ih=leaf(self["bias_ih"]) if self.bias else None,
            bias_hh=leaf(self["bias_hh"]) if self.bias else None,
        )

    def run(self) -> Run:
        return run(self.cell, self["input"], self["state"], self.weights(), **self.bends)

    def definition_arguments(self) -> dict[str, Tensor | None]:
        """Keyword arguments of the definition in float64: dense weights, zero where masked."""
        weights = {
            f"weight_{which}": (self[f"weight_{which}"] * self[f"mask_{which}"]).double()
            for which in self.matrices
        }
        return {
            "input": self["input"].double(),
            "state": self["state"].double(),
            **weights,
            "bias_ih": self["bias_ih"].double() if self.bias else None,
            "bias_hh": self["bias_hh"].double() if self.bias else None,
            **{
                name: bend if name == "batch_sizes" else bend.double()
                for name, bend in self.bends.items()
            },
        }

    def definition(self, **changed: Tensor) -> tuple[Tensor, Tensor]:
        arguments = self.definition_arguments() | changed
        weight_hh = [arguments.pop(f"weight_{which}") for which in self.matrices[1:]]
        return run_definition(self.cell, weight_hh=weight_hh, **arguments)

    def as_stored(self, gradient: Tensor, which: str) -> Tensor:
        """A dense gradient as the operator returns it for this layer's weight."""
        mask = self[f"mask_{which}"]
        return gradient[mask] if self._packs(which) else gradient * mask


def gradients(layer: RandomLayer, *, dense_gradient: bool = False) -> dict[str, Tensor]:
    """Gradients of <grad_output, output> + <grad_final, final state> by the operator."""
    weights = layer.weights(gradient=True)
    leaves = {
        "input": layer["input"].clone().requires_grad_(),
        "state": layer["state"].clone().requires_grad_(),
        "weight_ih": weights.weight_ih,
    }
    for which, weight in zip(layer.matrices[1:], weights.weight_hh, strict=True):
        leaves[f"weight_{which}"] = weight
    if layer.bias:
        leaves |= {"bias_ih": weights.bias_ih, "bias_hh": weights.bias_hh}
    done = run(
        layer.cell,
        leaves["input"],
        leaves["state"],
        weights,
        dense_gradient=dense_gradient,
        **layer.bends,
    )
    grads = layer["grad_output"], layer["grad_final"]
    found = torch.autograd.grad((done.output, done.final_state), tuple(leaves.values()), grads)
    return dict(zip(leaves, found, strict=True))


def defined_gradients(layer: RandomLayer) -> dict[str, Tensor]:
    """The same by autograd through the definition: weight gradients at every entry."""
    arguments = layer.definition_arguments()
    leaves = {
        name: value.requires_grad_()
        for name, value in arguments.items()
        if value is not None and name not in layer.bends
    }
    grads = layer["grad_output"].double(), layer["grad_final"].double()
    found = torch.autograd.grad(layer.definition(**leaves), tuple(leaves.values()), grads)
    return dict(zip(leaves, found, strict=True))


def directions(layer: RandomLayer, K: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(K)
    shapes = (layer.B, len(layer.cell.states), layer.H, K), (layer.T, layer.B, layer.I, K)
    state, input = (torch.randn(shape, generator=generator) for shape in shapes)
    return state.to(layer.device, layer.dtype), input.to(layer.device, layer.dtype)


def assert_near(actual: Tensor, expected: Tensor, tolerance: dict[str, float], name: str) -> None:
    """Every entry within the tolerance, relative to the largest entry of `expected`."""
    assert actual.shape == expected.shape, f"{name}: {actual.shape} is not {expected.shape}"
    if not expected.numel():
        return
    largest = float(expected.abs().max())
    worst = float((actual.double() - expected).abs().max())
    allowed = tolerance["atol"] + tolerance["rtol"] * largest
    assert worst <= allowed, f"{name} is off by {worst:.3g}, allowed {allowed:.3g}"
