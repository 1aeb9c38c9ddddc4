"""Every cell on the shared recurrence against its definition, with one micro-step and more."""

from collections.abc import Callable

import pytest
import torch
from random_layer import RandomLayer, assert_near, defined_gradients, directions, gradients

from lsh_native.cells import (
    ELMAN,
    FREE_RHN,
    GRU,
    LSTM,
    PROJECTED_LSTM,
    RHN,
    Cell,
    tangent,
    tangent_definition,
)

# torch's forward mode, which the definition of a tangent is written with, scripts its own rules.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

Tolerance = Callable[[torch.dtype], dict[str, float]]

CELLS = [ELMAN, GRU, LSTM, PROJECTED_LSTM, RHN, FREE_RHN]
BENDS = ("batch_sizes", "hold", "state_scale")
SIZES = [(2, 1, 1, 1), (3, 11, 5, 7), (35, 5, 3, 10), (5, 67, 4, 3)]

DEPTHS = [(cell, depth) for cell in CELLS for depth in ((1,) if cell.projects else (1, 2, 5))]

cells = pytest.mark.parametrize("cell", CELLS, ids=[cell.name for cell in CELLS])
depths = pytest.mark.parametrize(
    ("cell", "depth"), DEPTHS, ids=[f"{cell.name}-{depth}" for cell, depth in DEPTHS]
)
sizes = pytest.mark.parametrize("sizes", SIZES, ids=str)
bends = pytest.mark.parametrize("bent", [(), BENDS], ids=["plain", "bent"])


def layer_of(
    cell: Cell,
    depth: int,
    sizes: tuple[int, int, int, int],
    bent: tuple[str, ...],
    **options: object,
) -> RandomLayer:
    T, B, I, H = sizes  # noqa: E741
    return RandomLayer(cell=cell, D=depth, T=T, B=B, I=I, H=H, bent=bent, **options)


@cells
def test_activations_and_names_are_as_many_as_declared(cell: Cell) -> None:
    G, S, H = len(cell.gates), len(cell.states), 3
    recurrent, projected = torch.randn(2, 4, G * H, dtype=torch.float64)
    activations, following = cell.step(recurrent, projected, torch.randn(S, 4, H).double())
    assert activations.shape == (cell.activations, 4, H)
    assert following.shape == (S, 4, H)
    assert len({*cell.gates}) == G


@depths
@sizes
@bends
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_and_gradients(
    cell: Cell,
    depth: int,
    sizes: tuple[int, int, int, int],
    bent: tuple[str, ...],
    dtype: torch.dtype,
    device: torch.device,
    tolerance: Tolerance,
) -> None:
    layer = layer_of(cell, depth, sizes, bent, dtype=dtype, device=device)
    done, (output, final) = layer.run(), layer.definition()
    assert_near(done.output, output, tolerance(dtype), "output")
    assert_near(done.final_state, final, tolerance(dtype), "final_state")
    found, expected = gradients(layer), defined_gradients(layer)
    for which in layer.matrices:
        expected[f"weight_{which}"] = layer.as_stored(expected[f"weight_{which}"], which)
    assert found.keys() == expected.keys()
    for name in expected:
        assert_near(found[name], expected[name], tolerance(dtype), name)


@pytest.mark.parametrize(
    ("cell", "depth", "packed"), [(GRU, 1, False), (PROJECTED_LSTM, 1, True), (RHN, 2, True)]
)
def test_gradients_of_more_steps_than_are_kept_at_once(
    cell: Cell, depth: int, packed: bool, tolerance: Tolerance
) -> None:
    """128 MiB of gates and states are kept: here there are 138 to 207."""
    layer = layer_of(cell, depth, (276, 62, 5, 256), BENDS, packed=packed)
    found, expected = gradients(layer), defined_gradients(layer)
    for name in expected:
        if name.startswith("weight_"):
            expected[name] = layer.as_stored(expected[name], name.removeprefix("weight_"))
        assert_near(found[name], expected[name], tolerance(torch.float64), name)


@depths
@bends
def test_tangents(
    cell: Cell,
    depth: int,
    bent: tuple[str, ...],
    device: torch.device,
    tolerance: Tolerance,
) -> None:
    layer = layer_of(cell, depth, SIZES[1], bent, device=device)
    state, input = directions(layer, 5)
    trajectory, weights = layer.run().trajectory, layer.weights()
    found = tangent(cell, state, trajectory, weights, input_tangent=input, outputs=True)
    arguments = layer.definition_arguments()
    weight_hh = [arguments.pop(f"weight_{which}") for which in layer.matrices[1:]]
    expected = tangent_definition(
        cell, state, weight_hh=weight_hh, input_tangent=input, **arguments
    )
    for i, name in enumerate(("outputs", "final")):
        assert_near(found[i], expected[i], tolerance(torch.float64), name)
    _, half = tangent(cell, state, trajectory.window(0, 2, depth), weights)
    _, rest = tangent(cell, half, trajectory.window(2, layer.T, depth), weights)
    assert torch.equal(rest, tangent(cell, state, trajectory, weights)[1])


@depths
@bends
def test_backward_is_the_transpose_of_tangent(
    cell: Cell, depth: int, bent: tuple[str, ...], tolerance: Tolerance
) -> None:
    layer = layer_of(cell, depth, SIZES[1], bent)
    state, input = directions(layer, 3)
    outputs, final = tangent(
        cell, state, layer.run().trajectory, layer.weights(), input_tangent=input, outputs=True
    )
    there = torch.einsum("tbhk,tbh->k", outputs, layer["grad_output"])
    there += torch.einsum("bshk,sbh->k", final, layer["grad_final"])
    pulled = gradients(layer)
    back = torch.einsum("bshk,sbh->k", state, pulled["state"])
    back += torch.einsum("tbik,tbi->k", input, pulled["input"])
    assert_near(there, back, tolerance(torch.float64), "<u, J v> against <Jᵀ u, v>")


@depths
def test_every_number_of_threads_gives_the_same_bits(cell: Cell, depth: int) -> None:
    layer = layer_of(cell, depth, (3, 37, 19, 64), BENDS, density=(0.6, 0.7))

    def everything() -> list[torch.Tensor]:
        state, _ = directions(layer, 9)
        done = layer.run()
        pushed = tangent(cell, state, done.trajectory, layer.weights(), outputs=True)
        return [done.output, done.final_state, *pushed, *gradients(layer).values()]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = everything()
        torch.set_num_threads(3)
        assert all(torch.equal(a, b) for a, b in zip(expected, everything(), strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("cell", "coupled"), [(RHN, True), (FREE_RHN, False)])
def test_a_highway_whose_transform_is_shut_carries_its_state(cell: Cell, coupled: bool) -> None:
    """t = 0 and c = 1 leave the state as it is, at any depth."""
    layer = layer_of(cell, 4, SIZES[1], ())
    layer["bias_hh"].zero_()
    for gate, shut in ({"t": -1e4} | ({} if coupled else {"c": 1e4})).items():
        rows = cell.gates.index(gate) * layer.H
        layer["bias_hh"][:, rows : rows + layer.H] = shut
    assert torch.equal(layer.run().final_state, layer["state"])
    state, _ = directions(layer, 2)
    _, final = tangent(cell, state, layer.run().trajectory, layer.weights())
    assert torch.equal(final, state)
