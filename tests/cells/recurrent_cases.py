"""Layers that tests of the recurrence run over: sizes, densities, forms, and what bends steps."""

from collections.abc import Callable

import pytest
import torch
from random_layer import RandomLayer

from lsh_native.cells import Run

Tolerance = Callable[[torch.dtype], dict[str, float]]

# Lanes of one vector, of several, of several and a rest, beyond one slice of 512; tiles of one and
# of many steps, the last one full or not; one unit, odd numbers of units, more than one block.
SIZES = [
    {"T": 1, "B": 1, "I": 1, "H": 1},
    {"T": 3, "B": 2, "I": 5, "H": 7},
    {"T": 5, "B": 11, "I": 4, "H": 16},
    {"T": 2, "B": 17, "I": 19, "H": 33},
    {"T": 67, "B": 3, "I": 17, "H": 10},
    {"T": 7, "B": 67, "I": 3, "H": 5},
    {"T": 2, "B": 600, "I": 4, "H": 3},
    {"T": 600, "B": 2, "I": 3, "H": 4},
    {"T": 97, "B": 1, "I": 6, "H": 12},
    {"T": 17, "B": 17, "I": 40, "H": 64},
    {"T": 9, "B": 36, "I": 450, "H": 150},
]
DENSITIES = [(0.0, 0.0), (0.1, 0.5), (0.5, 0.1), (1.0, 1.0)]


def named(value: object) -> str:
    if isinstance(value, dict):
        return "-".join(f"{name}{size}" for name, size in value.items())
    return str(value).removeprefix("torch.")


sizes = pytest.mark.parametrize("sizes", SIZES, ids=named)
densities = pytest.mark.parametrize("density", DENSITIES, ids=named)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=named)
forms = pytest.mark.parametrize("packed", [False, True], ids=["dense-form", "packed-form"])

BENDS = [("batch_sizes",), ("hold",), ("state_scale",), ("batch_sizes", "hold", "state_scale")]
bends = pytest.mark.parametrize("bent", BENDS, ids="-".join)


def backward_op(layer: RandomLayer, done: Run, **changed: object) -> tuple:
    """Calls lsh::lstm_backward itself."""
    weights = layer.weights()
    arguments: dict[str, object] = {
        "grad_output": layer["grad_output"],
        "grad_final": layer["grad_final"],
        "input": layer["input"],
        "state": layer["state"],
        "activations": done.trajectory.activations,
        "states": done.trajectory.states,
        "weight_ih": weights.weight_ih,
        "weight_hh": list(weights.weight_hh),
        "pattern_ih": weights.pattern_ih,
        "pattern_hh": list(weights.pattern_hh),
        "bias_ih": weights.bias_ih,
        "bias_hh": weights.bias_hh,
        "batch_sizes": layer.bends.get("batch_sizes"),
        "hold": layer.bends.get("hold"),
        "state_scale": layer.bends.get("state_scale"),
        "input_gradient": True,
        "dense_gradient": False,
    }
    return torch.ops.lsh.lstm_backward(**(arguments | changed))


def small() -> RandomLayer:
    return RandomLayer(T=3, B=2, I=4, H=5)
