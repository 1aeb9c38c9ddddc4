"""Every layer on masks of every form, against its plain definition in float64.

Kernels are chosen by what a mask looks like, so each form is asked of each layer: values, gradients
and tangents, in every dtype and on every device, of few and of many sequences, one way and both
ways, padded and packed. Weights that nothing may read are NaN.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lsh_native.cells import run_definition
from lsh_native.nn import SparseGRU, SparseLinear, SparseLSTM, SparseRHN, SparseRNN
from lsh_native.sparsity.form import form_of

# torch's forward mode, which tangents are checked with, scripts its own rules.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

Tolerance = Callable[[torch.dtype], dict[str, float]]

T = 3
# (B, I, H): one sequence, the most that are looked up, the fewest that are lanes, and more of them;
# units that end within a register, within a block of 16, and with one.
SIZES = [(1, 3, 20), (7, 5, 16), (8, 4, 33), (20, 17, 48)]
TWO_WAYS = (1, 2)  # of SIZES, where torch has stacks of two directions
LAYERS: dict[str, Callable[..., Any]] = {
    "LSTM": SparseLSTM,
    "projected LSTM": lambda i, h, **options: SparseLSTM(i, h, proj_size=h // 2 + 1, **options),
    "GRU": SparseGRU,
    "RNN": SparseRNN,
    "RHN": lambda i, h, **options: SparseRHN(i, h, 2, **options),
    "free RHN": lambda i, h, **options: SparseRHN(i, h, 2, coupled=False, **options),
}

# ------------------------------------------------------------------------------------------- forms

Draw = Callable[..., Tensor]
"""Numbers in [0, 1) of the shape asked for."""


def unstructured(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
    return draw(gates, units, columns) < 0.3


def gate_shared(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
    return (draw(1, units, columns) < 0.3).expand(gates, -1, -1)


def constant_fan_in(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
    ranks = draw(gates, units, columns).argsort(-1).argsort(-1)
    return ranks < max(1, columns // 3)


def blocks(height: int, *, shared: bool = False) -> Callable[..., Tensor]:
    def form(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
        some = draw(1 if shared else gates, -(-units // height), columns) < 0.3
        return some.repeat_interleave(height, 1)[:, :units].expand(gates, -1, -1)

    return form


def whole_units_removed(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
    rows, kept = draw(1, units, 1) < 0.5, draw(1, 1, columns) < 0.5
    return (rows & kept).expand(gates, -1, -1)


def empty(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
    return torch.zeros(gates, units, columns, dtype=torch.bool)


def full(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
    return ~empty(gates, units, columns, draw)


def one_entry(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
    return torch.arange(gates * units * columns).view(gates, units, columns) == units // 2


def one_full_row(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
    return (torch.arange(gates * units) == units - 1).view(gates, units, 1).expand(-1, -1, columns)


def ragged(gates: int, units: int, columns: int, draw: Draw) -> Tensor:
    """Rows from empty to nearly full, as growth by score leaves them."""
    return draw(gates, units, columns) < torch.linspace(0, 0.9, units).view(1, -1, 1)


FORMS: dict[str, Callable[..., Tensor]] = {
    "unstructured": unstructured,
    "gate-shared": gate_shared,
    "constant fan-in": constant_fan_in,
    "blocks 4 x 1": blocks(4),
    "blocks 8 x 1": blocks(8),
    "blocks 16 x 1": blocks(16),
    "gate-shared blocks 16 x 1": blocks(16, shared=True),
    "whole units removed": whole_units_removed,
    "ragged": ragged,
    "one entry": one_entry,
    "one full row": one_full_row,
    "empty": empty,
    "full": full,
}

MIXED = ("unstructured", "gate-shared", "blocks 4 x 1", "blocks 16 x 1")

layers = pytest.mark.parametrize("layer", LAYERS)
forms = pytest.mark.parametrize("form", FORMS)


def mask_of(form: str, rows: int, columns: int, gates: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    return FORMS[form](gates, rows // gates, columns, draw).reshape(rows, columns).clone()


def masked(module: Any, *forms: str) -> Any:
    """The module with masks of these forms in turn, and NaN where there is no connection."""
    masks = {
        name: mask_of(forms[i % len(forms)], *mask.shape, module._gates(name), i)
        for i, (name, mask) in enumerate(module.masks().items())
    }
    if forms == ("full",):  # one entry is missing, so that sparse kernels run full patterns
        masks[module.maskable[0]][0, 0] = False
    module.set_masks(masks)
    with torch.no_grad():
        for name, mask in masks.items():
            module.get_parameter(name)[~mask] = torch.nan
    return module


def stack(layer: str, form: str, size: int, dtype: torch.dtype, **options: Any) -> Any:
    torch.manual_seed(size)
    _, I, H = SIZES[size]  # noqa: E741
    return masked(LAYERS[layer](I, H, **options).to(dtype), form)


def dense_weights(module: Any) -> dict[str, Tensor]:
    """The parameters in float64, zero where there is no connection."""
    return {
        name: (module.masked_weight(name) if name in module.maskable else p).detach().double()
        for name, p in module.named_parameters()
    }


def random(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def state_of(module: Any, batch: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, ...]:
    count = 2 if module.bidirectional else 1
    widths = enumerate(module._state_sizes())
    return tuple(random(count, batch, width, dtype=dtype, seed=seed + s) for s, width in widths)


def called(module: Any, x: Any, state: tuple[Tensor, ...]) -> tuple[Any, tuple[Tensor, ...]]:
    output, final = module(x, state if len(state) > 1 else state[0])
    return output, final if isinstance(final, tuple) else (final,)


def defined(
    module: Any, weights: dict[str, Tensor], x: Tensor, state: tuple[Tensor, ...], sizes: Any = None
) -> tuple[Tensor, ...]:
    """Output and final states of one layer in plain torch, by dense weights with zeros."""
    outputs, finals = [], []
    for d, names in enumerate(module._layers[0]):
        biases = [weights[name] for name in names.bias_hh]
        output, final = run_definition(
            module.cell,
            x.flip(0) if names.reverse else x,
            module._joined(state, d),
            weights[names.weight_ih],
            [weights[name] for name in names.weight_hh],
            weights[names.bias_ih] if names.bias_ih else None,
            torch.stack(biases) if biases else None,
            sizes.flip(0) if sizes is not None and names.reverse else sizes,
        )
        outputs.append(output.flip(0) if names.reverse else output)
        finals.append(final)
    return torch.cat(outputs, -1), *module._by_state(finals)


def assert_near(found: Any, expected: Any, tolerance: dict[str, float], what: str) -> None:
    """Every entry, relative to the largest: small ones carry the rounding of what cancelled."""
    assert found.shape == expected.shape, what
    if not expected.numel():
        return
    error = float((found.detach().cpu().double() - expected.detach()).abs().max())
    allowed = tolerance["atol"] + tolerance["rtol"] * float(expected.detach().abs().max())
    assert error <= allowed, f"{what} is off by {error:.3g}, allowed {allowed:.3g}"


# ------------------------------------------------------------------------------------------- tests


@forms
def test_forms_are_what_they_are_called(form: str) -> None:
    """In a matrix whose sizes fit every block."""
    mask = mask_of(form, 4 * 32, 24, 4, 0)
    found = str(form_of(mask, 4))
    expected = {
        "gate-shared": "the same for 4 gates",
        "constant fan-in": "8 in every row",
        "blocks 4 x 1": "blocks of 4 x 1",
        "blocks 8 x 1": "blocks of 8 x 1",
        "blocks 16 x 1": "blocks of 16 x 1",
        "gate-shared blocks 16 x 1": "blocks of 16 x 1, the same for 4 gates",
        "whole units removed": "rows without any",
        "one entry": "1 connections",
        "one full row": "127 rows without any",
        "empty": "0 connections",
        "full": "fully connected",
    }
    assert expected.get(form, "connections") in found


@layers
@forms
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_values_and_gradients(
    layer: str, form: str, dtype: torch.dtype, device: torch.device, tolerance: Tolerance
) -> None:
    for size, (B, I, _) in enumerate(SIZES):  # noqa: E741
        two_ways = size in TWO_WAYS and "RHN" not in layer
        options = {"bidirectional": True} if two_ways else {}
        module = stack(layer, form, size, dtype, **options)
        x, state = random(T, B, I, dtype=dtype, seed=1), state_of(module, B, dtype, seed=2)
        lengths = torch.arange(B, 0, -1).clamp(max=T) if size % 2 else None  # padded and packed
        sizes = None if lengths is None else (lengths > torch.arange(T).unsqueeze(1)).sum(1)

        weights = dense_weights(module)
        leaves = [t.double().requires_grad_() for t in (x, *state)]
        for weight in weights.values():
            weight.requires_grad_()
        expected = defined(module, weights, leaves[0], tuple(leaves[1:]), sizes)

        module = module.to(device)
        given = [t.to(device).requires_grad_() for t in (x, *state)]
        sequence = given[0]
        if lengths is not None:
            sequence = pack_padded_sequence(sequence, lengths)
        output, final = called(module, sequence, tuple(given[1:]))
        if lengths is not None:
            output, _ = pad_packed_sequence(output, total_length=T)
        found = output, *final
        grads = [random(*e.shape, dtype=dtype, seed=9 + i) for i, e in enumerate(expected)]
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert a.dtype == dtype
            assert_near(a, b, tolerance(dtype), f"result {i} of {SIZES[size]}")

        pulled = torch.autograd.grad(
            found, [*given, *module.parameters()], [g.to(device) for g in grads]
        )
        defined_pulled = torch.autograd.grad(
            expected, [*leaves, *weights.values()], [g.double() for g in grads]
        )
        names = ["input", *module.cell.states, *weights]
        masks = module.masks()
        for name, a, b in zip(names, pulled, defined_pulled, strict=True):
            exact = b * masks[name].cpu() if name in masks else b
            assert_near(a, exact, tolerance(dtype), f"gradient of {name} of {SIZES[size]}")
            assert name not in masks or not a[~masks[name]].any()


@layers
@forms
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_tangents(
    layer: str, form: str, dtype: torch.dtype, device: torch.device, tolerance: Tolerance
) -> None:
    for size in (0, 2):
        B, I, _ = SIZES[size]  # noqa: E741
        module = stack(layer, form, size, dtype)
        x, d_x = (random(T, B, I, dtype=dtype, seed=s) for s in (1, 2))
        state, d_state = (state_of(module, B, dtype, seed=s) for s in (3, 6))
        weights = dense_weights(module)

        def call(x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            return defined(module, weights, x, state)  # noqa: B023

        _, expected = torch.func.jvp(
            call, tuple(t.double() for t in (x, *state)), tuple(t.double() for t in (d_x, *d_state))
        )
        module = module.to(device)
        x, d_x, *states = (t.to(device) for t in (x, d_x, *state, *d_state))
        half = len(states) // 2
        hx, d_hx = (tuple(s) if half > 1 else s[0] for s in (states[:half], states[half:]))
        _, (output, final) = module.tangent(x, hx, input_tangent=d_x, state_tangent=d_hx)
        found = output, *(final if isinstance(final, tuple) else (final,))
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_near(a, b, tolerance(dtype), f"tangent of result {i} of {SIZES[size]}")


@layers
@pytest.mark.parametrize("forms", [(a, b) for a in MIXED for b in MIXED if a != b], ids="-".join)
def test_matrices_of_different_forms_in_one_layer(
    layer: str, forms: tuple[str, ...], tolerance: Tolerance
) -> None:
    """Kernels share units out by one matrix for all of a layer; of many units, over workers."""
    B, I, H = 9, 40, 150  # noqa: E741
    torch.manual_seed(0)
    module = masked(LAYERS[layer](I, H).double(), *forms)
    x, state = random(T, B, I, dtype=torch.float64, seed=1), state_of(module, B, torch.float64, 2)
    weights, leaves = dense_weights(module), [t.requires_grad_() for t in (x, *state)]
    expected = defined(module, weights, x, state)
    output, final = called(module, x, state)
    grads = [random(*e.shape, dtype=torch.float64, seed=9 + i) for i, e in enumerate(expected)]
    pulled = torch.autograd.grad((output, *final), leaves, grads)
    for a, b in zip((output, *final), expected, strict=True):
        assert_near(a, b, tolerance(torch.float64), "result")
    for a, b in zip(pulled, torch.autograd.grad(expected, leaves, grads), strict=True):
        assert_near(a, b, tolerance(torch.float64), "gradient")


@forms
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_linear(form: str, dtype: torch.dtype, device: torch.device, tolerance: Tolerance) -> None:
    for rows, (B, columns, _) in zip((5, 32, 33, 64), SIZES, strict=True):
        torch.manual_seed(rows)
        module = masked(SparseLinear(columns, rows, dtype=dtype), form)
        x, grad = random(B, columns, dtype=dtype, seed=1), random(B, rows, dtype=dtype, seed=2)
        leaves = [x, module.masked_weight("weight"), module.bias]
        leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
        expected = torch.nn.functional.linear(*leaves)
        defined_pulled = torch.autograd.grad(expected, leaves, grad.double())

        module = module.to(device)
        given = [x.to(device).requires_grad_(), module.weight, module.bias]
        found = module(given[0])
        assert_near(found, expected, tolerance(dtype), f"{rows} rows")
        pulled = torch.autograd.grad(found, given, grad.to(device))
        exact = [defined_pulled[0], defined_pulled[1] * module.masks()["weight"].cpu()]
        for a, b in zip(pulled, [*exact, defined_pulled[2]], strict=True):
            assert_near(a, b, tolerance(dtype), f"gradients of {rows} rows")
