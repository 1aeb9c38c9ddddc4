"""A recurrent layer drawn at random, its plain definition in float64, and how the two are compared.

The kernel and the definition get the same numbers: drawn in the kernel's dtype, widened for the
definition, which therefore has no rounding of its own to speak of. An entry of a result may be off
by the tolerance of the kernel's dtype (the table in tests/conftest.py) relative to the largest
entry of its tensor: an entry that is small because large terms cancel carries their rounding.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lsh_native.cells import LSTM, LayerWeights, Run, run, run_definition
from lsh_native.sparsity.pattern import pack_pattern


@dataclass(kw_only=True)
class RandomLayer:
    """Operands of one LSTM layer.

    Attributes:
        T, B, I, H: sizes.
        density: share of connections of the input and of the recurrent weight.
        dtype: of every number.
        packed: whether the weights are given packed.
        bias: whether there are biases.
        device: where the operands are; they are drawn on the CPU.
        capacity: room of the patterns beyond their connections, as far as there are entries.
        bent: which of `batch_sizes`, `hold` and `state_scale` there are.
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
    operands: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.T + 10 * self.B + 100 * self.I + self.H)

        def draw(*shape: int, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(shape, generator=generator)).to(self.dtype)

        def mask(columns: int, density: float) -> Tensor:
            return torch.rand(4 * self.H, columns, generator=generator) < density

        masks = mask(self.I, self.density[0]), mask(self.H, self.density[1])
        # weights that keep pre-activations of order 1, where the gates are far from saturation
        scales = [(1 + int(m.sum()) / len(m)) ** -0.5 for m in masks]
        operands = {
            "input": draw(self.T, self.B, self.I),
            "state": draw(2, self.B, self.H),
            "weight_ih": draw(4 * self.H, self.I, scale=scales[0]),
            "weight_hh": draw(4 * self.H, self.H, scale=scales[1]),
            "mask_ih": masks[0],
            "mask_hh": masks[1],
            "bias_ih": draw(4 * self.H),
            "bias_hh": draw(1, 4 * self.H),
            "grad_output": draw(self.T, self.B, self.H),
            "grad_final": draw(2, self.B, self.H),
        }
        operands |= {
            "hold": torch.rand(self.T, 2, self.B, self.H, generator=generator).to(self.dtype),
            "state_scale": draw(self.B, self.H),
        }
        operands["hold"][torch.rand(operands["hold"].shape, generator=generator) < 0.3] = 1
        self.operands = {name: operand.to(self.device) for name, operand in operands.items()}
        # in no order: sequences may end early and begin late
        self.operands["batch_sizes"] = torch.randint(self.B + 1, (self.T,), generator=generator)

    def __getitem__(self, name: str) -> Tensor:
        return self.operands[name]

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
        return weight[mask] if self.packed else weight.masked_fill(~mask, torch.nan)

    def weights(self, *, gradient: bool = False) -> LayerWeights:
        def leaf(tensor: Tensor) -> Tensor:
            return tensor.clone().requires_grad_(gradient)

        return LayerWeights(
            weight_ih=leaf(self.weight("ih")),
            weight_hh=(leaf(self.weight("hh")),),
            pattern_ih=self.pattern("ih"),
            pattern_hh=(self.pattern("hh"),),
            bias_ih=leaf(self["bias_ih"]) if self.bias else None,
            bias_hh=leaf(self["bias_hh"]) if self.bias else None,
        )

    def run(self) -> Run:
        return run(LSTM, self["input"], self["state"], self.weights(), **self.bends)

    def definition_arguments(self) -> dict[str, Tensor | None]:
        """Keyword arguments of the definition in float64: dense weights, zero where masked."""
        weights = {
            name: (self[name] * self[name.replace("weight", "mask")]).double()
            for name in ("weight_ih", "weight_hh")
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
        return run_definition(LSTM, weight_hh=[arguments.pop("weight_hh")], **arguments)

    def as_stored(self, gradient: Tensor, which: str) -> Tensor:
        """A dense gradient as the operator returns it for this layer's weight."""
        mask = self[f"mask_{which}"]
        return gradient[mask] if self.packed else gradient * mask


def assert_near(actual: Tensor, expected: Tensor, tolerance: dict[str, float], name: str) -> None:
    """Every entry within the tolerance, relative to the largest entry of `expected`."""
    assert actual.shape == expected.shape, f"{name}: {actual.shape} is not {expected.shape}"
    if not expected.numel():
        return
    largest = float(expected.abs().max())
    worst = float((actual.double() - expected).abs().max())
    allowed = tolerance["atol"] + tolerance["rtol"] * largest
    assert worst <= allowed, f"{name} is off by {worst:.3g}, allowed {allowed:.3g}"
