"""What recurrent stacks do beyond `torch.nn`'s: compilers, vmap, tangents, kinds of dropout."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, jvp, vmap

from lsh_native.cells import run_definition
from lsh_native.nn import SparseGRU, SparseLSTM, SparseRHN, SparseRNN
from lsh_native.sparsity.mask import draw_mask
from lsh_native.sparsity.packed import PackedWeights

# torch's compiler and its forward mode script their own rules when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

T, B, I, H, P = 5, 3, 4, 6, 4  # noqa: E741
KINDS: dict[str, Callable[..., Any]] = {
    "LSTM": SparseLSTM,
    "projected LSTM": lambda i, h, **options: SparseLSTM(i, h, proj_size=P, **options),
    "GRU": SparseGRU,
    "RNN": SparseRNN,
    "RHN": lambda i, h, **options: SparseRHN(i, h, 3, **options),
}
kinds = pytest.mark.parametrize("kind", KINDS)
densities = pytest.mark.parametrize("density", [0.4, 1.0], ids=["masked", "dense"])


def build(kind: str, density: float = 0.4, **options: Any) -> Any:
    torch.manual_seed(0)
    defaults = {"num_layers": 2, "dtype": torch.float64}
    return KINDS[kind](I, H, density=density, **(defaults | options))


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states(module: Any, seed: int = 5, lead: tuple[int, ...] = ()) -> Any:
    drawn = [
        draw(*lead, module.num_layers, B, width, seed=seed + i)
        for i, width in enumerate(module._state_sizes())
    ]
    return tuple(drawn) if len(drawn) > 1 else drawn[0]


def flat(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [t for part in result for t in flat(part)]


def assert_equal(found: Any, expected: Any) -> None:
    for a, b in zip(flat(found), flat(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def definition(module: Any, x: Tensor, hx: Any) -> tuple[Tensor, Any]:
    """The stack in plain torch, in evaluation."""
    finals = []
    for layer, [names] in enumerate(module._layers):
        initial = module._joined(hx if isinstance(hx, tuple) else (hx,), layer)
        biases = [module.get_parameter(name) for name in names.bias_hh]
        x, final = run_definition(
            module.cell,
            x,
            initial,
            module.masked_weight(names.weight_ih),
            [module.masked_weight(name) for name in names.weight_hh],
            module.get_parameter(names.bias_ih) if names.bias_ih else None,
            torch.stack(biases),
        )
        finals.append(final)
    ends = module._by_state(finals)
    return x, (tuple(ends) if len(ends) > 1 else ends[0])


# --------------------------------------------------------------------------------------- compilers


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@kinds
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_whole_and_not_again_when_masks_change(kind: str) -> None:
    module = build(kind)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")

    def gradients(call: Any) -> list[Tensor]:
        module.zero_grad()
        results = flat(call(draw(T, B, I)))
        sum(r.cos().sum() for r in results).backward()
        return [r.detach() for r in results] + [p.grad.clone() for p in module.parameters()]

    assert_equal(gradients(compiled), gradients(module))
    with torch.compiler.set_stance("fail_on_recompile"):
        for change in (lambda m: m.flip(0), torch.zeros_like):
            module.set_masks({name: change(mask) for name, mask in module.masks().items()})
            assert_equal(gradients(compiled), gradients(module))


@kinds
def test_exported_for_any_length_and_batch(kind: str) -> None:
    module = build(kind).eval()
    steps, batch = torch.export.Dim("steps", max=512), torch.export.Dim("batch", max=64)
    exported = torch.export.export(
        module, (draw(T, B, I),), dynamic_shapes=({0: steps, 1: batch},)
    ).module()
    for size in ((T, B), (2, 7), (9, 2)):
        assert_equal(exported(draw(*size, I)), module(draw(*size, I)))


# -------------------------------------------------------------------------------------------- vmap


@kinds
@densities
def test_vmap_over_inputs_and_stacked_states(kind: str, density: float) -> None:
    module = build(kind, density)
    x, hx = draw(4, T, B, I), states(module, lead=(4,))
    found = vmap(lambda x, h: module(x, h))(x, hx)
    for v in range(4):
        one = tuple(h[v] for h in hx) if isinstance(hx, tuple) else hx[v]
        assert_equal([t[v] for t in flat(found)], module(x[v], one))
    same_input = vmap(lambda h: module(x[0], h))(hx)
    assert_equal([t[0] for t in flat(same_input)], [t[0] for t in flat(found)])


@kinds
def test_vmap_over_models(kind: str) -> None:
    modules = [build(kind) for _ in range(3)]
    masks = modules[0].masks()
    for i, module in enumerate(modules):
        module.set_masks(masks)
        with torch.no_grad():
            for p in module.parameters():
                p.mul_(1 + i)
    parameters, buffers = torch.func.stack_module_state(modules)
    base, x = copy.deepcopy(modules[0]), draw(T, B, I)
    found = vmap(lambda p, b: functional_call(base, (p, b), (x,)))(parameters, buffers)
    for i, module in enumerate(modules):
        assert_equal([t[i] for t in flat(found)], module(x))


# ----------------------------------------------------------------------------------------- tangents


@kinds
@densities
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_tangent_of_a_call(kind: str, density: float, batch_first: bool) -> None:
    module = build(kind, density, batch_first=batch_first, dropout=0.5)
    x, d_x = (draw(B, T, I, seed=s) if batch_first else draw(T, B, I, seed=s) for s in (1, 2))
    hx, d_hx = states(module), states(module, seed=9)

    def call(x: Tensor, hx: Any) -> Any:
        output, final = definition(module, x.transpose(0, 1) if batch_first else x, hx)
        return (output.transpose(0, 1) if batch_first else output), final

    expected = jvp(call, (x, hx), (d_x, d_hx))
    assert_equal(module.tangent(x, hx, input_tangent=d_x, state_tangent=d_hx), expected)
    nothing = module.tangent(x, hx)[1]
    assert all(not t.any() for t in flat(nothing))


@kinds
def test_the_tangent_of_one_sequence(kind: str) -> None:
    module = build(kind)
    x, d_x = draw(T, I), draw(T, I, seed=2)
    found = module.tangent(x, input_tangent=d_x)
    whole = module.tangent(x.unsqueeze(1), input_tangent=d_x.unsqueeze(1))
    assert_equal(found, [[t.squeeze(1) for t in flat(part)] for part in whole])


@kinds
@densities
@pytest.mark.parametrize("way", ["func", "dual", "packed", "compiled"])
@pytest.mark.usefixtures("fresh_compiler")
def test_forward_mode_is_refused_or_right(kind: str, density: float, way: str) -> None:
    """Never a silent zero: torch's own kernels, which serve a dense stack, may know the answer."""
    module = build(kind, density)
    x, d_x = draw(T, B, I), draw(T, B, I, seed=2)
    call = torch.compile(module, backend="eager") if way == "compiled" else module
    try:
        if way == "func":
            found = jvp(lambda x: call(x)[0], (x,), (d_x,))[1]
        else:
            with forward_ad.dual_level():
                given = forward_ad.make_dual(x, d_x)
                if way == "packed":
                    given = nn.utils.rnn.pack_padded_sequence(given, torch.full((B,), T))
                output = call(given)[0]
                if way == "packed":
                    output, _ = nn.utils.rnn.pad_packed_sequence(output)
                found = forward_ad.unpack_dual(output).tangent
    except (NotImplementedError, RuntimeError) as error:
        if "forward" not in str(error).lower():
            raise
    else:
        expected = module.tangent(x, input_tangent=d_x)[1][0]
        torch.testing.assert_close(found, expected)


def test_a_tangent_runs_one_way_in_time() -> None:
    module = build("GRU", bidirectional=True)
    with pytest.raises(ValueError, match="bidirectional must be False"):
        module.tangent(draw(T, B, I))
    with pytest.raises(ValueError, match="bidirectional must be False"):
        module.tangent_maps(draw(T, B, I))
    with pytest.raises(ValueError, match="input_tangent must have the shape of input"):
        build("GRU").tangent(draw(T, B, I), input_tangent=draw(T, 1, I))


# ------------------------------------------------------------------------------------------ dropout


@kinds
@densities
def test_weight_dropout_drops_connections_with_an_exact_gradient(kind: str, density: float) -> None:
    module = build(kind, density, num_layers=1, weight_dropout=0.5)
    names = [name for name in module.maskable if "weight_hh" in name]

    def gradients(call: Callable[..., Any]) -> list[Tensor]:
        torch.manual_seed(3)
        module.zero_grad()
        sum(r.cos().sum() for r in flat(call())).backward()
        return [p.grad.clone() for p in module.parameters()]

    def dropped() -> Any:
        """The same drop masks on the weights of a stack in evaluation."""
        weights = {name: nn.functional.dropout(module.get_parameter(name), 0.5) for name in names}
        module.eval()
        result = functional_call(module, weights, (draw(T, B, I),))
        module.train()
        return result

    for a, b in zip(gradients(lambda: module(draw(T, B, I))), gradients(dropped), strict=True):
        torch.testing.assert_close(a, b)
    module.eval()
    assert_equal(module(draw(T, B, I)), definition(module, draw(T, B, I), zeros(module)))


def zeros(module: Any, batch: int = B) -> Any:
    hx = [torch.zeros(module.num_layers, batch, n).double() for n in module._state_sizes()]
    return tuple(hx) if len(hx) > 1 else hx[0]


@kinds
@densities
def test_input_and_output_dropout_are_locked_over_time(kind: str, density: float) -> None:
    module = build(kind, density, input_dropout=0.5, output_dropout=0.5)
    output, _ = module(draw(T, B, I))
    dropped = output == 0
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert 0 < dropped[0].sum() < dropped[0].numel()
    module.output_dropout = 0.0
    torch.manual_seed(4)
    found, _ = module(draw(T, B, I))
    torch.manual_seed(4)
    kept = nn.functional.dropout(torch.ones(B, I, dtype=torch.float64), 0.5)
    module.eval()
    assert_equal(found, module(draw(T, B, I) * kept)[0])


@kinds
@densities
def test_zoneout(kind: str, density: float) -> None:
    module = build(kind, density, num_layers=1, zoneout=0.5)
    x, hx = draw(T, B, I), states(module)
    output, _ = module(x, hx)
    before = torch.cat([flat(hx)[0], output[:-1]])
    held = (output == before).double().mean()
    assert 0.2 < held < 0.8
    module.eval()
    state = flat(hx)
    one = build(kind, density, num_layers=1).eval()
    for t in range(T):  # in evaluation, half of the way at each step
        _, moved = one(x[t : t + 1], tuple(state) if len(state) > 1 else state[0])
        state = [(a + b) / 2 for a, b in zip(state, flat(moved), strict=True)]
    assert_equal(module(x, hx)[1], state)
    module.zoneout = (1.0,) * len(module.zoneout)
    assert_equal(module(x, hx)[1], hx)


def test_a_full_pattern_is_made_once_and_gives_way_to_masks() -> None:
    module = build("RHN", 1.0)
    x = draw(T, B, I)
    expected = module(x)
    pattern = module.weight_hh_l0_d0_pattern
    assert_equal(module(x), expected)
    assert module.weight_hh_l0_d0_pattern is pattern
    masks = {name: mask.logical_not() for name, mask in module.masks().items()}
    module.set_masks(masks)
    assert not module(x)[0].eq(expected[0]).any()
    module.set_masks({name: mask.logical_not() for name, mask in masks.items()})
    assert_equal(copy.deepcopy(module)(x), expected)


def test_what_explain_says_of_a_projection() -> None:
    lines = build("projected LSTM").explain().splitlines()
    assert [line.split(":")[0] for line in lines[2:6:3]] == ["weight_hr_l0", "weight_hr_l1"]
    assert all("sparse kernel" in line for line in lines if line.startswith("weight"))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_where_little_is_masked_torch_multiplies_zeros(kind: str) -> None:
    """Of many sequences; a few, and a sparser stack, run on sparse kernels. The function is one."""
    module = build(kind, 0.8)
    line = module.explain().splitlines()[-1]
    assert f"torch's dense {kind} with zeros where masked; sparse kernel" in line
    for batch in (2, 8):
        x = draw(T, batch, I)
        assert module._runs_dense(batch) == (batch == 8)
        for gradient in ("masked", "dense"):
            module.gradient = gradient
            module.zero_grad()
            output, final = module(x)
            assert_equal((output, final), definition(module, x, zeros(module, batch)))
            output.sum().backward()
            dead = ~module.masks()["weight_hh_l0"]
            assert bool(module.weight_hh_l0.grad[dead].any()) == (gradient == "dense")
    generator = torch.Generator().manual_seed(0)
    half = {
        name: draw_mask(round(0.52 * mask.numel()), mask.shape, generator)
        for name, mask in module.masks().items()
    }
    module.set_masks(half)
    assert module._runs_dense(8)
    assert "without gradients and below" in module.explain()
    with torch.no_grad():
        assert not module._runs_dense(8)
    module.set_masks({name: mask & mask.roll(1, 0) for name, mask in half.items()})
    assert not module._runs_dense(8)


@torch.no_grad()
def test_a_masked_form_for_torch_is_kept_until_weight_or_mask_change() -> None:
    module, x = build("LSTM", 0.8), draw(T, 8, I)
    with PackedWeights():
        first, second = module(x)[0], module(x)[0]
        assert torch.equal(first, second)
        module.weight_hh_l0.mul_(2)
        doubled = module(x)[0]
        module.set_masks({"weight_hh_l0": module.masks()["weight_hh_l0"].roll(1, 0)})
        other = module(x)[0]
    assert not torch.equal(first, doubled)
    assert torch.equal(other, module(x)[0])


def test_zoneout_of_each_state() -> None:
    module = build("LSTM", num_layers=1, zoneout=(0.0, 1.0))
    hx = states(module)
    _, (h, c) = module(draw(T, B, I), hx)
    assert torch.equal(c, hx[1])
    assert not torch.equal(h, hx[0])


@kinds
def test_tangent_maps_of_zoneout_are_those_of_evaluation(kind: str) -> None:
    module = build(kind, num_layers=1, zoneout=0.25)
    x, hx = draw(T, B, I), states(module)
    [flow] = module.tangent_maps(x, hx)
    direction = states(module, seed=9)
    vectors = torch.cat([s[0] for s in flat(direction)], dim=-1).unsqueeze(-1)
    for t in range(T):
        vectors = flow.apply(t, vectors)
    expected = module.tangent(x, hx, state_tangent=direction)[1][1]
    assert_equal(vectors.squeeze(-1), torch.cat([s[0] for s in flat(expected)], dim=-1))


@kinds
@pytest.mark.parametrize("option", ["weight_dropout", "state_dropout", "zoneout", "input_dropout"])
def test_seeds_and_evaluation(kind: str, option: str) -> None:
    module = build(kind, **{option: 0.5})

    def seeded(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return module(draw(T, B, I))[0]

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))
    module.eval()
    assert torch.equal(seeded(1), seeded(2))


def test_what_torch_cannot_say_stays_here() -> None:
    for option in ("weight_dropout", "state_dropout", "zoneout", "output_dropout"):
        with pytest.raises(ValueError, match="to become a dense one"):
            build("LSTM", **{option: 0.5}).to_dense()
    with pytest.raises(ValueError, match="proj_size must be 0 for a stack of four tensors"):
        build("projected LSTM").lstm_layers()


@kinds
def test_dense_gradients_reach_every_entry(kind: str) -> None:
    module = build(kind, num_layers=1, gradient="dense")
    module(draw(T, B, I))[0].sum().backward()
    found = {name: module.get_parameter(name).grad.clone() for name in module.maskable}
    leaves = {n: module.masked_weight(n).detach().requires_grad_() for n in module.maskable}
    full = {n: torch.ones_like(m) for n, m in module.masks().items()}
    module.set_masks(full)
    functional_call(module, leaves, (draw(T, B, I),))[0].sum().backward()
    for name, leaf in leaves.items():
        torch.testing.assert_close(found[name], leaf.grad)
