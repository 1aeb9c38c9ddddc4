"""How far sigmoid and tanh are from the exact functions, read from the gates of an LSTM.

One step of one unit whose four gates have weight one and no bias: the activations i, f, o are
sigmoid(x) and g is tanh(x), for as many x as the batch has places. Errors are in units in the last
place (ulp) of the exact result, for which float64 stands.
"""

import itertools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lsh_native.cells import LSTM, LayerWeights, run
from lsh_native.sparsity.pattern import pack_pattern

# What csrc/common/math.h states for float32.
STATED_ULP = 2.5
EXACT = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}
TINY = {dtype: torch.finfo(dtype).tiny for dtype in (torch.float32, torch.float64)}

functions = pytest.mark.parametrize("function", EXACT)


def activations(x: Tensor) -> dict[str, Tensor]:
    weights = LayerWeights(
        weight_ih=torch.ones(4, 1, dtype=x.dtype),
        weight_hh=(torch.zeros(4, 1, dtype=x.dtype),),
        pattern_ih=pack_pattern(torch.ones(4, 1, dtype=torch.bool)),
        pattern_hh=(pack_pattern(torch.zeros(4, 1, dtype=torch.bool)),),
    )
    done = run(LSTM, x.view(1, -1, 1), x.new_zeros(2, x.numel(), 1), weights)
    i, f, g, o = done.trajectory.activations[0, :, 0, : x.numel()]
    assert torch.equal(i.nan_to_num(-1), f.nan_to_num(-1))
    assert torch.equal(i.nan_to_num(-1), o.nan_to_num(-1))
    return {"sigmoid": i, "tanh": g}


def floats(first: int, last: int, step: int) -> Tensor:
    """Every `step`-th float32 by bit pattern in [first, last)."""
    return torch.arange(first, last, step, dtype=torch.int64).to(torch.int32).view(torch.float32)


def sweep() -> Tensor:
    """Finite float32 of all magnitudes and signs, and all of them where something may break."""
    everywhere = floats(-(2**31), 2**31, 4001)
    critical = [
        0.0,
        0.1732868,
        0.3465736,
        1.0,
        9.0,
        16.6357,
        20.0,
        44.0,
        87.0,
        87.3366,
        88.0,
        103.0,
    ]
    around = []
    for value, sign in itertools.product(critical, (1.0, -1.0)):
        bits = int(torch.tensor(value).view(torch.int32))
        near = floats(max(0, bits - 2**14), bits + 2**14, 1)
        around.append(sign * near)
    numbers = torch.cat([everywhere, *around, torch.linspace(-100, 100, 2**18)])
    return numbers[numbers.isfinite()]


@dataclass(frozen=True, kw_only=True)
class Swept:
    x: Tensor
    found: dict[str, Tensor]
    exact: dict[str, Tensor]


@pytest.fixture(scope="module")
def swept() -> Swept:
    x = sweep()
    exact = {name: function(x.double()) for name, function in EXACT.items()}
    return Swept(x=x, found=activations(x), exact=exact)


def error_in_ulp(found: Tensor, exact: Tensor) -> Tensor:
    """Error in ulp of the exact result, which is a normal number of the dtype found."""
    exponent = torch.frexp(exact)[1] - 1
    digits = {torch.float32: 23, torch.float64: 52}[found.dtype]
    return (found.double() - exact).abs() / torch.ldexp(torch.ones_like(exact), exponent - digits)


@functions
def test_float32_is_within_the_stated_error(function: str, swept: Swept) -> None:
    found, exact = swept.found[function], swept.exact[function]
    normal = exact.abs() >= TINY[torch.float32]
    error = error_in_ulp(found[normal], exact[normal])
    worst = int(error.argmax())
    assert float(error[worst]) <= STATED_ULP, (
        f"{float(error[worst]):.3f} ulp at {float(swept.x[normal][worst])!r}"
    )


@functions
def test_results_too_small_for_a_normal_number_stay_as_small(function: str, swept: Swept) -> None:
    found, exact = swept.found[function], swept.exact[function]
    small = exact.abs() < TINY[torch.float32]
    assert small.sum() > 1000
    assert float((found[small].double() - exact[small]).abs().max()) < TINY[torch.float32]


@functions
def test_float32_never_leaves_the_range(function: str, swept: Swept) -> None:
    found = swept.found[function]
    lowest = 0.0 if function == "sigmoid" else -1.0
    assert float(found.min()) >= lowest
    assert float(found.max()) <= 1.0


def test_tanh_is_odd(swept: Swept) -> None:
    assert torch.equal(activations(-swept.x)["tanh"], -swept.found["tanh"])


@pytest.mark.parametrize("dtype", TINY, ids=str)
def test_known_values(dtype: torch.dtype) -> None:
    inf = torch.inf
    x = torch.tensor([0.0, -0.0, inf, -inf, 3e38, -3e38, 1e-45, -1e-45], dtype=dtype)
    found = activations(x)
    assert found["tanh"].tolist() == [0, 0, 1, -1, 1, -1, *x[-2:].tolist()]
    assert found["sigmoid"][[0, 1, 2, 4, 6, 7]].tolist() == [0.5, 0.5, 1, 1, 0.5, 0.5]
    assert float(found["sigmoid"][[3, 5]].max()) < TINY[torch.float32]


@functions
def test_float64_is_within_a_few_ulp_of_torch(function: str) -> None:
    x = torch.cat([torch.linspace(-700, 700, 200_003), torch.linspace(-3, 3, 200_003)]).double()
    found, exact = activations(x)[function], EXACT[function](x)
    assert float(error_in_ulp(found, exact.masked_fill(exact == 0, 1e-300)).max()) <= 4.0


@functions
def test_nan_stays_nan_whatever_its_payload(function: str) -> None:
    """A NaN has 2²³ - 1 bit patterns and a sign; none of them may become a number."""
    quiet = torch.arange(0x7FC00000, 0x7FC00000 + 2**12, dtype=torch.int32)
    signalling = torch.arange(0x7F800001, 0x7F800001 + 2**12, dtype=torch.int32)
    spread = torch.arange(0x7F800001, 2**31 - 1, 4099, dtype=torch.int32)
    positive = torch.cat([quiet, signalling, spread])
    x = torch.cat([positive, positive | -(2**31)]).view(torch.float32)
    assert x.isnan().all()
    numbers = ~activations(x)[function].isnan()
    bits = [hex(int(b) & 0xFFFFFFFF) for b in x.view(torch.int32)[numbers][:3]]
    assert not numbers.any(), f"{int(numbers.sum())} of {x.numel()}, such as {bits}"


def test_float64_nan_stays_nan() -> None:
    x = torch.tensor([0x7FF8000000000001, 0x7FF0000000000001, -1]).view(torch.float64)
    assert x.isnan().all()
    assert all(found.isnan().all() for found in activations(x).values())
