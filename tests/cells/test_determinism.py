"""The same bits whatever the threads and the run, no number read unwritten, every SIMD level."""

import ctypes
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from random_layer import RandomLayer, directions
from recurrent_cases import (
    BENDS,
    backward_op,
    dtypes,
    forms,
    named,
    sizes,
)
from torch import Tensor

from lsh_native.cells import (
    ELMAN,
    GRU,
    LSTM,
    PROJECTED_LSTM,
    RHN,
    Cell,
    run,
    tangent,
)
from lsh_native.native import libraries

# torch's forward mode, which the definition of a tangent is written with, scripts its own rules.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


def everything(layer: RandomLayer) -> list[Tensor]:
    """All that the three operators give for a layer."""
    done = layer.run()
    state, input = directions(layer, 21)
    weights, trajectory = layer.weights(), done.trajectory
    pushed = tangent(LSTM, state, trajectory, weights, input_tangent=input, outputs=True)
    d_input, d_state, d_ih, d_hh, d_bias_ih, d_bias_hh = backward_op(layer, done)
    _, _, dense_ih, dense_hh, _, _ = backward_op(layer, done, dense_gradient=True)
    return [
        done.output,
        done.final_state,
        *pushed,
        *(d_input, d_state, d_ih, d_hh[0], d_bias_ih, d_bias_hh, dense_ih, dense_hh[0]),
    ]


def shared_out(dtype: torch.dtype, packed: bool) -> list[RandomLayer]:
    """Layers large enough for three workers: even masks, and all connections in a few units."""
    density = (0.6, 0.7)
    even = RandomLayer(T=3, B=21, I=37, H=48, density=density, dtype=dtype, packed=packed)
    bent = replace(even, bent=BENDS[-1])
    uneven = RandomLayer(T=3, B=66, I=5, H=51, density=density, dtype=dtype, packed=packed)
    uneven["mask_hh"][torch.arange(4 * 51) % 51 >= 7] = False
    uneven["mask_hh"][torch.arange(4 * 51) % 51 < 7] = True
    return [even, bent, uneven]


@dtypes
@forms
def test_every_number_of_threads_gives_the_same_bits(
    dtype: torch.dtype, packed: bool, set_threads: Callable[[int], None]
) -> None:
    for layer in shared_out(dtype, packed):
        expected = everything(layer)
        for threads in (2, 3, 3, 3):
            set_threads(threads)
            for i, (a, b) in enumerate(zip(expected, everything(layer), strict=True)):
                assert torch.equal(a, b), f"result {i} differs with {threads} threads"
        set_threads(1)


def test_every_run_gives_the_same_bits(device: torch.device) -> None:
    layer = RandomLayer(T=9, B=21, I=37, H=48, dtype=torch.float32, device=device)
    expected = everything(layer)
    for _ in range(3):
        for a, b in zip(expected, everything(layer), strict=True):
            assert torch.equal(a, b)


LIBC = ctypes.CDLL(None)
M_PERTURB = -6  # of glibc's malloc.h


def new_number() -> float:
    """A number in memory as kernels get it for the duration of a call."""
    block = ctypes.POINTER(ctypes.c_float)()
    assert LIBC.posix_memalign(ctypes.byref(block), ctypes.c_size_t(64), ctypes.c_size_t(4096)) == 0
    number = float(block[1000])
    LIBC.free(block)
    return number


@pytest.fixture
def rubbish_in_new_memory() -> Iterator[None]:
    """NaN in every new tensor, by torch, and in all other new memory, by the C library."""
    torch.use_deterministic_algorithms(True)
    LIBC.mallopt(M_PERTURB, 0x100)  # fills with what differs from its low byte in every bit
    yield
    LIBC.mallopt(M_PERTURB, 0)
    torch.use_deterministic_algorithms(False)


@sizes
@forms
@pytest.mark.parametrize("density", [(0.3, 0.3), (0.0, 0.0)], ids=named)
@pytest.mark.usefixtures("rubbish_in_new_memory")
def test_no_number_is_read_before_it_is_written(
    sizes: dict[str, int], packed: bool, density: tuple[float, float]
) -> None:
    assert torch.empty(1).isnan()
    assert math.isnan(new_number())
    layer = RandomLayer(**sizes, packed=packed, density=density, capacity=3)
    for result in everything(layer) + everything(replace(layer, bent=BENDS[-1])):
        assert result.isfinite().all()


def test_calls_from_several_threads_at_once(set_threads: Callable[[int], None]) -> None:
    layer = shared_out(torch.float32, False)[0]
    expected = everything(layer)

    def call(_: int) -> bool:
        set_threads(2)  # torch keeps the number of threads per calling thread
        found = everything(layer)
        return all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(call, range(9)))


@pytest.mark.parametrize(
    "cell", [LSTM, GRU, ELMAN, RHN, PROJECTED_LSTM], ids=lambda cell: cell.name
)
@pytest.mark.parametrize("batch", [1, 3, 20, 37])
@pytest.mark.parametrize(
    "bent", [(), ("batch_sizes", "hold", "state_scale")], ids=["plain", "bent"]
)
def test_a_pass_without_a_trajectory_gives_the_same_bits(
    cell: Cell, batch: int, bent: tuple[str, ...]
) -> None:
    depth = 3 if cell is RHN else 1
    layer = RandomLayer(T=7, B=batch, I=9, H=21, D=depth, cell=cell, bent=bent, dtype=torch.float32)
    expected = layer.run()
    operands = (layer["input"], layer["state"], layer.weights())
    with torch.no_grad():
        found = run(cell, *operands, trajectory=False, **layer.bends)
    assert torch.equal(found.output, expected.output)
    assert torch.equal(found.final_state, expected.final_state)
    with pytest.raises(ValueError, match="must be run with trajectory=True"):
        _ = found.trajectory


# -------------------------------------------------------------------------------------- SIMD levels

LEVELS = ("baseline", "v3", "v4")
OTHERS = [
    level
    for level in LEVELS[: LEVELS.index(libraries.detected_simd_level) + 1]
    if level != libraries.simd_level
]


def run_probe(level: str) -> subprocess.CompletedProcess[str]:
    probe = Path(__file__).with_name("simd_probe.py")
    environment = os.environ | {"LSH_SIMD": level}
    return subprocess.run(
        [sys.executable, probe], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("level", OTHERS)
def test_another_simd_level_agrees_with_the_definition(level: str) -> None:
    done = run_probe(level)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [level]


def test_an_unknown_simd_level_is_an_error_at_import() -> None:
    done = run_probe("v5")
    assert done.returncode != 0
    assert "LSH_SIMD must be baseline, v3 or v4, got v5" in done.stderr
