"""SparseLSTM beside torch.nn.LSTM with the same weights."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from lstm_pair import H, I, draw, pair, single_layer
from torch import Tensor, nn

from lsh_native.nn import SparseLSTM

Tolerance = Callable[[torch.dtype], dict[str, float]]

# torch scripts the rules of its forward mode when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


def flat(result: tuple[Tensor, tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
    output, (h, c) = result
    return output, h, c


def assert_equal_results(found: Any, expected: Any) -> None:
    for a, b in zip(flat(found), flat(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 3},
    {"bias": False},
    {"num_layers": 2, "bias": False, "batch_first": True},
    {"batch_first": True},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "default")
densities = pytest.mark.parametrize("density", [0.0, 0.4, 1.0])


# ------------------------------------------------------------------------------------------ results


@every_option
@densities
@pytest.mark.parametrize("with_state", [False, True], ids=["zero-state", "given-state"])
@pytest.mark.parametrize("shape", [(7, 3), (1, 1), (4, 19)], ids=str)
def test_results_and_gradients(
    options: dict[str, Any], density: float, with_state: bool, shape: tuple[int, int]
) -> None:
    layer, dense = pair(density, **options)
    T, B = shape
    L = layer.num_layers
    x = draw(B, T, I) if layer.batch_first else draw(T, B, I)
    hx = (draw(L, B, H, seed=1), draw(L, B, H, seed=2)) if with_state else None
    found, expected = (
        gradients_of(module, x, hx, names=[name for name, _ in dense.named_parameters()])
        for module in (layer, dense)
    )
    assert_equal_results(found[0], expected[0])
    masks = layer.masks()
    for name, gradient in expected[1].items():
        keep = masks.get(name, torch.tensor(True))
        torch.testing.assert_close(found[1][name], gradient * keep, rtol=1e-10, atol=1e-12)


def gradients_of(
    module: nn.Module, x: Tensor, hx: Any, names: list[str]
) -> tuple[Any, dict[str, Tensor]]:
    leaves = {name: module.get_parameter(name) for name in names}
    leaves["input"] = x = x.clone().requires_grad_()
    if hx is not None:
        leaves["h"], leaves["c"] = hx = tuple(state.clone().requires_grad_() for state in hx)
    result = module(x, hx)
    loss = sum((part * draw(*part.shape, seed=5)).sum() for part in flat(result))
    return result, dict(zip(leaves, torch.autograd.grad(loss, tuple(leaves.values())), strict=True))


@densities
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_one_sequence_without_a_batch(density: float, batch_first: bool, with_state: bool) -> None:
    layer, dense = pair(density, num_layers=2, batch_first=batch_first)
    x = draw(7, I)
    hx = (draw(2, H, seed=1), draw(2, H, seed=2)) if with_state else None
    found = layer(x, hx)
    assert [part.shape for part in flat(found)] == [(7, H), (2, H), (2, H)]
    assert_equal_results(found, dense(x, hx))


@densities
def test_an_empty_batch(density: float) -> None:
    layer, dense = pair(density, num_layers=2)
    x = draw(4, 0, I)
    assert_equal_results(layer(x), dense(x))
    layer(x)[0].sum().backward()
    for parameter in layer.parameters():
        assert torch.equal(parameter.grad, torch.zeros_like(parameter))


def test_inputs_of_any_strides() -> None:
    layer, dense = pair(num_layers=2)
    x = draw(3, I, 7).permute(2, 0, 1)
    hx = draw(3, 2, H).transpose(0, 1), draw(2, H, 3).transpose(1, 2)
    assert not any(part.is_contiguous() for part in (x, *hx))
    assert_equal_results(layer(x, hx), dense(x, hx))


def test_the_state_carries_over() -> None:
    layer, _ = pair(num_layers=2)
    x = draw(9, 3, I)
    whole, final = layer(x)
    first, state = layer(x[:4])
    second, end = layer(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end, final)


def test_one_masked_matrix_in_a_dense_stack() -> None:
    """The rest of the stack keeps its values, whichever kernel runs it."""
    for name in SparseLSTM(I, H, 2).masks():
        layer, _ = pair(1.0, num_layers=2)
        layer.set_masks({name: draw(*layer.get_parameter(name).shape) > 0})
        assert_equal_results(layer(draw(7, 3, I)), layer.to_dense()(draw(7, 3, I)))
        assert f"{name}: " in layer.explain()
        sparse = [line for line in layer.explain().splitlines() if "connections" in line]
        assert len(sparse) == 1
        assert sparse[0].startswith(name)


def test_float32(tolerance: Tolerance) -> None:
    layer, dense = pair(num_layers=2)
    x = draw(20, 3, I).float()
    found, expected = layer.float()(x), dense.float()(x)
    for a, b in zip(flat(found), flat(expected), strict=True):
        torch.testing.assert_close(a, b, **tolerance(torch.float32))


# ----------------------------------------------------------------------------------------- dropout


@densities
@pytest.mark.parametrize("dropout", [0.5, 1.0])
def test_no_dropout_in_evaluation(density: float, dropout: float) -> None:
    layer, _ = pair(density, num_layers=3, dropout=dropout)
    without, dense = pair(density, num_layers=3)
    x = draw(7, 3, I)
    assert_equal_results(layer.eval()(x), without(x))
    assert_equal_results(layer.eval()(x), dense(x))


@densities
def test_dropout_of_everything_leaves_the_biases(density: float) -> None:
    layer, dense = pair(density, num_layers=3, dropout=1.0)
    x = draw(7, 3, I)
    assert_equal_results(layer(x), dense(x))


@pytest.mark.parametrize("density", [0.4, 1.0])
def test_dropout_comes_from_torchs_seed(density: float) -> None:
    layer, _ = pair(density, num_layers=2, dropout=0.5)
    x = draw(7, 3, I)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert_equal_results(layer(x), first)
    torch.manual_seed(4)
    assert not torch.equal(layer(x)[0], first[0])


def test_dropout_acts_between_layers() -> None:
    """The stack is its layers one by one, with torch's dropout between them and none at the end."""
    layer, dense = pair(num_layers=3, dropout=0.3)
    x = draw(7, 3, I)
    singles = [single_layer(dense, i) for i in range(3)]
    torch.manual_seed(3)
    found = layer(x)
    torch.manual_seed(3)
    h, c = [], []
    for i, single in enumerate(singles):
        x, (last_h, last_c) = single(nn.functional.dropout(x, 0.3) if i > 0 else x)
        h.append(last_h)
        c.append(last_c)
    assert_equal_results(found, (x, (torch.cat(h), torch.cat(c))))


def test_how_much_is_dropped() -> None:
    """A second layer that copies: its gates tell which outputs of the first were dropped."""
    torch.manual_seed(0)
    layer = SparseLSTM(1, 40, num_layers=2, dropout=0.3, dtype=torch.float64, density=0.99)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.zero_() if name.endswith("l1") else parameter.fill_(0.5)
        layer.weight_ih_l1[80:120] = torch.eye(40, dtype=torch.float64)
    layer.set_masks({"weight_ih_l1": torch.ones(160, 40, dtype=torch.bool)})
    first = layer(torch.ones(1, 50, 1, dtype=torch.float64))[0]
    share = float((first == 0).double().mean())
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5


# ------------------------------------------------------------------------------ constructor, errors


def test_the_same_seed_draws_the_same_parameters_as_torch() -> None:
    for options in ({"num_layers": 2}, {"bias": False}):
        torch.manual_seed(5)
        layer = SparseLSTM(I, H, **options)
        torch.manual_seed(5)
        dense = nn.LSTM(I, H, **options)
        assert list(layer.state_dict()) == list(dense.state_dict())
        for name, value in dense.state_dict().items():
            assert torch.equal(layer.state_dict()[name], value)


def test_attributes_that_other_code_reads() -> None:
    layer = SparseLSTM(I, H, 2, False, True, 0.25)
    dense = nn.LSTM(I, H, 2, False, True, 0.25)
    for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"):
        assert getattr(layer, name) == getattr(dense, name)
    assert (layer.bidirectional, layer.proj_size) == (False, 0)
    assert layer.flatten_parameters() is None
    for mine, theirs in zip(layer.all_weights, dense.all_weights, strict=True):
        assert [weight.shape for weight in mine] == [weight.shape for weight in theirs]
    assert layer.all_weights[1][0] is layer.weight_ih_l1
    assert repr(layer) == (
        "SparseLSTM(5, 6, num_layers=2, bias=False, batch_first=True, dropout=0.25, density=1)"
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"input_size": 0}, ValueError, "input_size must be at least 1, got 0"),
        ({"hidden_size": -3}, ValueError, "hidden_size must be at least 1, got -3"),
        ({"num_layers": 0}, ValueError, "num_layers must be at least 1, got 0"),
        ({"hidden_size": 2.0}, TypeError, "hidden_size must be an int, got float"),
        ({"num_layers": True}, TypeError, "num_layers must be an int, got bool"),
        ({"num_layers": 2, "dropout": 1.5}, ValueError, r"dropout must be a number in \[0, 1\]"),
        ({"num_layers": 2, "dropout": -1}, ValueError, r"dropout must be a number in \[0, 1\]"),
        ({"num_layers": 2, "dropout": True}, ValueError, r"dropout must be a number in \[0, 1\]"),
        ({"bias": 1}, TypeError, "bias must be a bool, got int"),
        ({"proj_size": H}, ValueError, r"proj_size must be in \[0, hidden_size\), got 6"),
        ({"proj_size": -1}, ValueError, r"proj_size must be in \[0, hidden_size\), got -1"),
        ({"zoneout": (0.1,)}, ValueError, "zoneout must be one number or 2"),
        ({"weight_dropout": 2}, ValueError, r"weight_dropout must be a number in \[0, 1\], got 2"),
        ({"wieght_dropout": 0.5}, TypeError, "options must be among density"),
        ({"density": 2.0}, ValueError, r"density must be in \[0, 1\], got 2.0"),
    ],
    ids=str,
)
def test_errors_of_the_constructor(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    sizes = {"input_size": I, "hidden_size": H}
    with pytest.raises(error, match=message):
        SparseLSTM(**(sizes | options))


def test_dropout_in_one_layer_warns_as_torch_does() -> None:
    with pytest.warns(UserWarning, match="no effect"):
        layer = SparseLSTM(I, H, dropout=0.5)
    with warnings.catch_warnings():  # the other way round it has been said already
        warnings.simplefilter("error")
        SparseLSTM.from_dense(layer.to_dense())


@pytest.mark.parametrize("density", [0.5, 1.0], ids=["masked", "dense"])
@pytest.mark.parametrize(
    ("input", "hx", "message"),
    [
        (draw(2, 2, 2, I), None, r"input must have 2 or 3 dimensions, got shape \(2, 2, 2, 5\)"),
        (draw(I), None, r"input must have 2 or 3 dimensions, got shape \(5,\)"),
        (draw(4, 3, I + 1), None, r"last dimension of input must be input_size 5.*\(4, 3, 6\)"),
        (draw(0, 3, I), None, "input must have at least one time step"),
        (draw(4, 3, I).float(), None, r"input must be torch.float64 on cpu.*got torch.float32"),
        (draw(4, 3, I).to("meta"), None, r"input must be torch.float64 on cpu.*on meta"),
        (torch.ones(4, 3, I, dtype=torch.int64), None, r"input must be torch.float64"),
        (draw(4, 3, I), (draw(1, 2, H), draw(1, 3, H)), r"initial h must have shape \(1, 3, 6\)"),
        (draw(4, 3, I), (draw(1, 3, H), draw(2, 3, H)), r"initial c must have shape \(1, 3, 6\)"),
        (draw(4, 3, I), (draw(1, H), draw(1, H)), r"initial h must have shape \(1, 3, 6\)"),
        (draw(4, I), (draw(1, 1, H), draw(1, 1, H)), r"initial h must have shape \(1, 6\)"),
        (draw(4, 3, I), (draw(1, 3, H).float(), draw(1, 3, H)), r"initial h must be torch.float64"),
        (draw(4, 3, I), (draw(1, 3, H), draw(1, 3, H).to("meta")), r"initial c must be .* on cpu"),
        (draw(4, 3, I), (draw(1, 3, H),), "hx must be|initial"),
        (draw(4, 3, I), (draw(1, 3, H),) * 3, "hx must be|initial"),
        (draw(4, 3, I), (draw(1, 3, H), None), "hx must be|initial"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_of_a_call(density: float, input: Tensor, hx: Any, message: str) -> None:
    layer, _ = pair(density)
    with pytest.raises((ValueError, TypeError), match=message):
        layer(input, hx)


def test_nan_in_weights_comes_out_as_nan() -> None:
    layer, _ = pair()
    mask = layer.masks()["weight_hh_l0"]
    with torch.no_grad():
        layer.weight_hh_l0[tuple(mask.nonzero()[0])] = torch.nan
    assert layer(draw(3, 2, I))[0].isnan().any()


# ---------------------------------------------------------------------------------- transformations


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("masked", ["all", "one matrix", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_compile(masked: str, dtype: torch.dtype, tolerance: Tolerance) -> None:
    layer, _ = pair(0.4 if masked == "all" else 1.0, num_layers=2)
    layer.to(dtype)
    if masked == "one matrix":
        layer.set_masks({"weight_hh_l1": draw(4 * H, H) > 0})
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = draw(5, 3, I).to(dtype)
    found, expected = [], []
    for module, parts in ((compiled, found), (layer, expected)):
        layer.zero_grad()
        output, (h, c) = module(x)
        (output.square().sum() + h.sum() + c.sum()).backward()
        parts += [output, h, c, *(parameter.grad.clone() for parameter in layer.parameters())]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance(dtype))


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("masked", ["all", "one matrix", "none"])
def test_one_compilation_serves_every_length(masked: str) -> None:
    """A graph that grows with T would take minutes to compile for an everyday T."""
    layer, _ = pair(0.4 if masked == "all" else 1.0, num_layers=2)
    if masked == "one matrix":
        layer.set_masks({"weight_hh_l1": draw(4 * H, H) > 0})
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    compiled(draw(4, 3, I))[0].sum().backward()
    with torch.compiler.set_stance("fail_on_recompile"):
        for T, B in ((7, 3), (40, 5)):
            assert_equal_results(compiled(draw(T, B, I)), layer(draw(T, B, I)))


@pytest.mark.parametrize("what", ["input", "h", "weight"])
def test_forward_mode_is_refused_and_not_silently_zero(what: str) -> None:
    layer, _ = pair(num_layers=2)
    x, h, c = draw(4, 3, I), draw(2, 3, H), draw(2, 3, H)

    def output(value: Tensor) -> Tensor:
        if what == "weight":
            return torch.func.functional_call(layer, {"weight_hh_l1": value}, (x, (h, c)))[0]
        return layer(value, (h, c))[0] if what == "input" else layer(x, (value, c))[0]

    start = {"input": x, "h": h, "weight": layer.weight_hh_l1.detach()}[what]
    with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        torch.func.jvp(output, (start,), (torch.ones_like(start),))


def test_layers_and_inputs_for_the_published_convention() -> None:
    for options in ({"num_layers": 2}, {"bias": False}):
        layer, dense = pair(**options)
        for i, (ih, hh, b_ih, b_hh) in enumerate(layer.lstm_layers()):
            assert torch.equal(ih, dense.get_parameter(f"weight_ih_l{i}"))
            assert torch.equal(hh, dense.get_parameter(f"weight_hh_l{i}"))
            if layer.bias:
                assert torch.equal(b_ih, dense.get_parameter(f"bias_ih_l{i}"))
                assert torch.equal(b_hh, dense.get_parameter(f"bias_hh_l{i}"))
            else:
                assert b_ih is None
                assert b_hh is None
    layer, _ = pair(batch_first=True)
    x = draw(3, 5, I)
    assert torch.equal(layer.layer_inputs(x), x.transpose(0, 1))
