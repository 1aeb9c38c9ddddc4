"""What a program can notice of `torch.nn`'s recurrent stacks, asked of them first and then of ours.

Every test takes a subject: torch's own module, ours without masks (torch's kernels), ours with
full masks that native kernels run, and ours with masks, whose twin has zeros there.
"""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import prune
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

from lsh_native.nn import SparseGRU, SparseLSTM, SparseRNN
from lsh_native.nn.dtypes import torch_lacks_16_bits

T, B, I, H = 5, 3, 4, 6  # noqa: E741
KINDS: dict[str, tuple[Any, Any]] = {
    "LSTM": (nn.LSTM, SparseLSTM),
    "GRU": (nn.GRU, SparseGRU),
    "RNN": (nn.RNN, SparseRNN),
}
SUBJECTS = ("torch", "dense", "native", "masked")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]

kinds = pytest.mark.parametrize("kind", KINDS)
subjects = pytest.mark.parametrize("subject", SUBJECTS)
every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "default")
states_given = pytest.mark.parametrize("with_state", [False, True], ids=["zero-state", "state"])


def build(kind: str, subject: str, **options: Any) -> Any:
    """The module itself."""
    torch.manual_seed(0)
    dense, sparse = KINDS[kind]
    if subject == "torch":
        return dense(I, H, **options)
    module = sparse(I, H, **options, density=0.4 if subject == "masked" else 1.0)
    if subject == "native":
        name = module.maskable[0]
        module.set_masks({name: torch.zeros_like(module.masks()[name])})  # one weight without any
    return module


def pair(kind: str, subject: str, **options: Any) -> tuple[Any, nn.RNNBase]:
    """A subject in float64 and torch's module that it shall equal."""
    module = build(kind, subject, dtype=torch.float64, **options)
    twin = copy.deepcopy(module) if subject == "torch" else module.to_dense()
    return module, twin


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state_for(module: Any, batch: int | None = B) -> Any:
    count = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [getattr(module, "proj_size", 0) or H, H][: 2 if module.mode == "LSTM" else 1]
    middle = () if batch is None else (batch,)
    states = [draw(count, *middle, size, seed=7 + i) for i, size in enumerate(sizes)]
    return tuple(states) if len(states) > 1 else states[0]


def flat(result: Any) -> list[Tensor]:
    """Every tensor of a result, a PackedSequence as its data."""
    if isinstance(result, PackedSequence):
        return [result.data]
    if isinstance(result, Tensor):
        return [result]
    return [tensor for part in result for tensor in flat(part)]


def assert_equal_results(found: Any, expected: Any) -> None:
    for a, b in zip(flat(found), flat(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def gradients(module: Any, inputs: list[Tensor], call: Callable[..., Any]) -> list[Tensor | None]:
    """By inputs and by the parameters that the twin has too, zero where masked."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    parameters = dict(module.named_parameters())
    loss = sum(r.cos().sum() for r in flat(call(*leaves)))
    found = torch.autograd.grad(loss, [*leaves, *parameters.values()])
    masks = module.masks() if hasattr(module, "masks") else {}
    names = [""] * len(leaves) + list(parameters)
    return [g * masks[n] if n in masks else g for n, g in zip(names, found, strict=True)]


def assert_equal_gradients(module: Any, twin: Any, inputs: list[Tensor], call: Any) -> None:
    found = gradients(module, inputs, lambda *x: call(module, *x))
    expected = gradients(twin, inputs, lambda *x: call(twin, *x))
    masks = module.masks() if hasattr(module, "masks") else {}
    names = [""] * len(inputs) + [name for name, _ in twin.named_parameters()]
    for name, a, b in zip(names, found, expected, strict=True):
        torch.testing.assert_close(
            a, b * masks[name] if name in masks else b, rtol=1e-8, atol=1e-10
        )


# ------------------------------------------------------------------------------------------- calls


@kinds
@subjects
@every_option
@states_given
def test_batched(kind: str, subject: str, options: dict[str, Any], with_state: bool) -> None:
    module, twin = pair(kind, subject, **options)
    x = draw(B, T, I) if module.batch_first else draw(T, B, I)
    hx = state_for(module) if with_state else None
    assert_equal_results(module(x, hx), twin(x, hx))
    assert_equal_gradients(module, twin, [x], lambda m, x: m(x, hx))


@kinds
@subjects
@every_option
@states_given
def test_unbatched(kind: str, subject: str, options: dict[str, Any], with_state: bool) -> None:
    module, twin = pair(kind, subject, **options)
    hx = state_for(module, None) if with_state else None
    assert_equal_results(module(draw(T, I), hx), twin(draw(T, I), hx))


@kinds
@subjects
def test_no_sequence_at_all(kind: str, subject: str) -> None:
    module, twin = pair(kind, subject, num_layers=2)
    assert_equal_results(module(draw(T, 0, I)), twin(draw(T, 0, I)))


@kinds
@subjects
def test_inputs_and_states_of_any_strides(kind: str, subject: str) -> None:
    module, twin = pair(kind, subject)
    x = draw(I, B, 2 * T).permute(2, 1, 0)[::2]
    hx = state_for(module)
    wide = [s.repeat_interleave(2, -1)[..., ::2] for s in flat(hx)]
    given = tuple(wide) if len(wide) > 1 else wide[0]
    assert not x.is_contiguous()
    assert not wide[0].is_contiguous()
    assert_equal_results(module(x, given), twin(x.contiguous(), hx))


@kinds
@subjects
@pytest.mark.parametrize("options", [{}, OPTIONS[-1]], ids=["default", "two-ways"])
@pytest.mark.parametrize("in_order", [True, False], ids=["sorted", "unsorted"])
@states_given
def test_packed(
    kind: str, subject: str, options: dict[str, Any], in_order: bool, with_state: bool
) -> None:
    module, twin = pair(kind, subject, **options)
    lengths = [5, 2, 2] if in_order else [2, 5, 3]
    packed = pack_padded_sequence(draw(T, B, I), torch.tensor(lengths), enforce_sorted=in_order)
    hx = state_for(module) if with_state else None
    found, expected = module(packed, hx), twin(packed, hx)
    assert_equal_results(found, expected)
    for a, b in zip(found[0][1:], expected[0][1:], strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)

    def call(m: Any, x: Tensor) -> Any:
        sequences = [x[:length, b] for b, length in enumerate(lengths)]
        return m(pack_sequence(sequences, enforce_sorted=in_order), hx)

    assert_equal_gradients(module, twin, [draw(T, B, I)], call)


@subjects
@every_option
def test_projection(subject: str, options: dict[str, Any]) -> None:
    module, twin = pair("LSTM", subject, proj_size=2, **options)
    x = draw(B, T, I) if module.batch_first else draw(T, B, I)
    hx = state_for(module)
    assert_equal_results(module(x, hx), twin(x, hx))
    assert_equal_gradients(module, twin, [x], lambda m, x: m(x, hx))
    packed = pack_sequence([draw(4, I), draw(2, I)])
    assert_equal_results(module(packed), twin(packed))


@kinds
@subjects
@every_option
def test_results_may_be_changed_in_place(kind: str, subject: str, options: dict[str, Any]) -> None:
    module, twin = pair(kind, subject, **options)

    def call(m: Any, x: Tensor) -> list[Tensor]:
        results = flat(m(x))
        return [r.mul_(2).add_(1) for r in results]

    assert_equal_gradients(
        module, twin, [draw(B, T, I) if module.batch_first else draw(T, B, I)], call
    )


# --------------------------------------------------------------------------------------- dropout


@kinds
@subjects
def test_dropout_between_layers(kind: str, subject: str) -> None:
    module, twin = pair(kind, subject, num_layers=3, dropout=0.5)
    x = draw(T, B, I)

    def seeded(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return module(x)[0]

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))
    module.eval()
    assert torch.equal(seeded(1), seeded(2))
    assert_equal_results(module(x), twin.eval()(x))


# ---------------------------------------------------------------------------------- as an object


@kinds
@subjects
@pytest.mark.parametrize("options", [*OPTIONS, {"proj_size": 2}], ids=lambda o: "-".join(o))
def test_attributes(kind: str, subject: str, options: dict[str, Any]) -> None:
    if "proj_size" in options and kind != "LSTM":
        pytest.skip("an LSTM's option")
    module, twin = build(kind, subject, **options), KINDS[kind][0](I, H, **options)
    for name in (
        *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"),
        *("bidirectional", "proj_size", "mode", "_flat_weights_names", "_all_weights"),
    ):
        assert getattr(module, name) == getattr(twin, name), name
    assert [n for n, _ in module.named_parameters()] == [n for n, _ in twin.named_parameters()]
    for mine, theirs in zip(module.all_weights, twin.all_weights, strict=True):
        assert [w.shape for w in mine] == [w.shape for w in theirs]
    assert [w.shape for w in module._flat_weights] == [w.shape for w in twin._flat_weights]
    assert module.flatten_parameters() is None


@kinds
@subjects
def test_the_same_seed_draws_the_same_parameters(kind: str, subject: str) -> None:
    module = build(kind, subject, num_layers=2, bidirectional=True)
    torch.manual_seed(0)
    twin = KINDS[kind][0](I, H, num_layers=2, bidirectional=True)
    for name, parameter in twin.named_parameters():
        assert torch.equal(module.get_parameter(name), parameter)


@kinds
@subjects
def test_state_dicts_both_ways(kind: str, subject: str) -> None:
    module, twin = pair(kind, subject, num_layers=2, bidirectional=True)
    other = KINDS[kind][0](I, H, 2, bidirectional=True, dtype=torch.float64)
    module.load_state_dict(other.state_dict(), strict=subject in ("torch", "dense"))
    x = draw(T, B, I)
    if subject in ("torch", "dense"):
        assert_equal_results(module(x), other(x))
    result = twin.load_state_dict(module.state_dict(), strict=False)
    assert not result.missing_keys
    assert all(key.endswith("_mask") for key in result.unexpected_keys)


@kinds
@pytest.mark.parametrize("subject", SUBJECTS[1:])
def test_state_dicts_of_torch_prune(kind: str, subject: str) -> None:
    pruned = KINDS[kind][0](I, H, dtype=torch.float64)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        prune.random_unstructured(pruned, name, 0.5)
    module = build(kind, subject, dtype=torch.float64)
    module.load_state_dict(pruned.state_dict())
    assert_equal_results(module(draw(T, B, I)), pruned(draw(T, B, I)))


def saved(module: Any) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@kinds
@subjects
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved],
    ids=["deepcopy", "pickle", "torch.save"],
)  # fmt: skip
def test_copies(kind: str, subject: str, copied: Callable[[Any], Any]) -> None:
    module, _ = pair(kind, subject)
    x = draw(T, B, I)
    module(x)[0].sum().backward()  # copies are taken at any time
    twin = copied(module)
    assert_equal_results(twin(x), module(x))
    with torch.no_grad():
        twin.weight_hh_l0.zero_()
    assert module.weight_hh_l0.any()


@kinds
@subjects
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_dtypes(kind: str, subject: str, dtype: torch.dtype, device: torch.device) -> None:
    module, twin = pair(kind, subject)
    x = draw(T, B, I)
    expected = flat(twin(x))
    module = module.to(device, dtype)
    assert {p.dtype for p in module.parameters()} == {dtype}
    found = module(x.to(device, dtype))
    within = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    for a, b in zip(flat(found), expected, strict=True):
        assert a.dtype == dtype
        assert a.device.type == device.type
        torch.testing.assert_close(a.cpu().double(), b, rtol=within, atol=within)
    sum(r.sum() for r in flat(found)).backward()
    assert all(p.grad.dtype == dtype for p in module.parameters())


@kinds
@subjects
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(kind: str, subject: str, dtype: torch.dtype, device: torch.device) -> None:
    module = build(kind, subject).to(device)
    torchs = (kind, subject, device.type) == ("LSTM", "torch", "cpu")
    if torchs and torch_lacks_16_bits(dtype, True):
        pytest.skip(f"torch's LSTM has no {dtype} kernel for this processor; ours need none")
    x = draw(T, B, I).float().to(device)
    expected = module(x)
    with torch.autocast(device.type, dtype=dtype):
        found = module(x)
        embedded = module(nn.Linear(I, I, device=device)(x)) if kind == "LSTM" else found
        with torch.no_grad():
            without_gradients = module(x)
    for results in (found, without_gradients):
        for a, b in zip(flat(results), flat(expected), strict=True):
            assert kind != "LSTM" or a.dtype == dtype
            torch.testing.assert_close(a.float(), b, rtol=5e-2, atol=5e-2)
    sum(r.float().sum() for r in flat(embedded)).backward()
    assert all(p.grad.dtype == torch.float32 for p in module.parameters())


@kinds
@subjects
def test_functional_call(kind: str, subject: str) -> None:
    module, _ = pair(kind, subject)
    x = draw(T, B, I)
    doubled = {name: 2 * p.detach() for name, p in module.named_parameters()}
    found = functional_call(module, doubled, (x,))
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(2)
    assert_equal_results(found, module(x))


# ------------------------------------------------------------------------------------ derivatives


@kinds
@subjects
@pytest.mark.parametrize("options", [{}, OPTIONS[-1]], ids=["default", "two-ways"])
def test_first_and_second_derivatives(kind: str, subject: str, options: dict[str, Any]) -> None:
    module, _ = pair(kind, subject, **options)
    x = draw(2, 2, I).requires_grad_()
    names = ["weight_hh_l0", "bias_hh_l0"]
    weights = [module.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def call(x: Tensor, *values: Tensor) -> list[Tensor]:
        given = dict(zip(names, values, strict=True))
        return [functional_call(module, given, (x,))[0].sum(-1)]

    assert torch.autograd.gradcheck(call, (x, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (x, *weights), fast_mode=True)


# ----------------------------------------------------------------------------------------- errors


@kinds
@subjects
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, H), ValueError),
        ((I, 0), ValueError),
        ((I, H, 0), ValueError),
        ((1.5, H), TypeError),
        ((I, "6"), TypeError),
    ],
    ids=str,
)
def test_errors_of_sizes(
    kind: str, subject: str, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    constructor = KINDS[kind][subject != "torch"]
    with pytest.raises(error):
        constructor(*arguments)


@kinds
@subjects
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"bias": 1}, TypeError),
        ({"batch_first": "yes"}, TypeError),
        ({"dropout": 1.5, "num_layers": 2}, ValueError),
        ({"dropout": True, "num_layers": 2}, ValueError),
    ],
    ids=str,
)
def test_errors_of_options(
    kind: str, subject: str, options: dict[str, Any], error: type[Exception]
) -> None:
    constructor = KINDS[kind][subject != "torch"]
    with pytest.raises(error):
        constructor(I, H, **options)


@kinds
@subjects
def test_dropout_in_one_layer_warns(kind: str, subject: str) -> None:
    with pytest.warns(UserWarning, match="dropout"):
        KINDS[kind][subject != "torch"](I, H, dropout=0.5)


@subjects
@pytest.mark.parametrize("proj_size", [-1, H])
def test_errors_of_projection(subject: str, proj_size: int) -> None:
    with pytest.raises(ValueError, match="proj_size"):
        KINDS["LSTM"][subject != "torch"](I, H, proj_size=proj_size)


@kinds
@subjects
def test_only_an_lstm_projects(kind: str, subject: str) -> None:
    if kind != "LSTM":
        with pytest.raises(ValueError, match="proj_size"):
            KINDS[kind][subject != "torch"](I, H, proj_size=2)


@kinds
@subjects
@pytest.mark.parametrize(
    ("shape", "batch", "error"),
    [
        ((T, B, I, 1), B, ValueError),
        ((I,), B, ValueError),
        ((T, B, I + 1), B, RuntimeError),
        ((T, B, I), B + 1, RuntimeError),
        ((0, B, I), B, RuntimeError),
        ((T, I), B, RuntimeError),
    ],
    ids=str,
)
def test_errors_of_a_call(
    kind: str, subject: str, shape: tuple[int, ...], batch: int, error: type[Exception]
) -> None:
    module, _ = pair(kind, subject)
    with pytest.raises(error):
        module(draw(*shape), state_for(module, batch))


@kinds
@subjects
def test_errors_of_dtypes(kind: str, subject: str) -> None:
    module, _ = pair(kind, subject)
    with pytest.raises(ValueError, match=r"torch\.float32"):
        module(draw(T, B, I).float())


@kinds
@subjects
def test_errors_of_packing(kind: str, subject: str) -> None:
    module, _ = pair(kind, subject)
    with pytest.raises(RuntimeError):
        pack_padded_sequence(draw(T, B, I), torch.tensor([5, 2, 0]))
    with pytest.raises(RuntimeError):
        module(PackedSequence(draw(7, I + 1), torch.tensor([3, 2, 2])))


# ----------------------------------------------------------------------- what others do to modules


@kinds
@subjects
def test_weight_norm(kind: str, subject: str) -> None:
    module, twin = pair(kind, subject)
    x = draw(T, B, I)
    for m in (module, twin):
        nn.utils.parametrizations.weight_norm(m, "weight_hh_l0")
    if subject != "masked":  # there, the norm is that of the whole weight
        assert_equal_results(module(x), twin(x))
    module(x)[0].sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@kinds
@subjects
def test_pruned_where_it_stands(kind: str, subject: str) -> None:
    module, twin = pair(kind, subject)
    mask = torch.rand(module.weight_hh_l0.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    for m in (module, twin):
        prune.custom_from_mask(m, "weight_hh_l0", mask)
    assert_equal_results(module(draw(T, B, I)), twin(draw(T, B, I)))
    module(draw(T, B, I))[0].sum().backward()
    assert not module.weight_hh_l0_orig.grad[~mask].any()
