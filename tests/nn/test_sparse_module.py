"""What every sparse module promises, beside its twin in torch.nn: one suite for all of them."""

import copy
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from lsh_native.nn import SparseEmbedding, SparseLinear, SparseLSTM, SparseModule
from lsh_native.sparsity.pattern import pattern_parts

Tolerance = Callable[[torch.dtype], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A sparse module and how to use it.

    Attributes:
        sparse: its class.
        twin: the class in torch.nn.
        sizes: arguments of both constructors.
        tokens: whether it is fed integers below 7 instead of vectors of 6.
    """

    sparse: Any
    twin: type[nn.Module]
    sizes: tuple[int, ...]
    tokens: bool = False

    def draw(self, density: float = 1.0, dtype: torch.dtype = torch.float64) -> Any:
        torch.manual_seed(7)
        return self.sparse(*self.sizes, density=density, dtype=dtype)

    def draw_twin(self, dtype: torch.dtype = torch.float64) -> Any:
        torch.manual_seed(7)
        return self.twin(*self.sizes, dtype=dtype)

    def input(self, dtype: torch.dtype = torch.float64) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        if self.tokens:
            return torch.randint(7, (4, 3), generator=generator)
        return torch.randn(4, 3, 6, generator=generator, dtype=dtype)


KINDS = [
    Kind(sparse=SparseLinear, twin=nn.Linear, sizes=(6, 5)),
    Kind(sparse=SparseEmbedding, twin=nn.Embedding, sizes=(7, 6), tokens=True),
    Kind(sparse=SparseLSTM, twin=nn.LSTM, sizes=(6, 5, 2)),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.sparse.__name__)


def call(module: nn.Module, input: Tensor) -> Tensor:
    """All that a module returns, in one vector."""
    result = module(input)
    if isinstance(result, Tensor):
        return result.flatten()
    output, (h, c) = result
    return torch.cat([output.flatten(), h.flatten(), c.flatten()])


def gradients(module: nn.Module, input: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    result = call(module, input)
    (result * torch.linspace(-1, 1, result.numel(), dtype=result.dtype)).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters()}


def assert_same_function(a: nn.Module, b: nn.Module, kind: Kind, **tolerance: float) -> None:
    dtype = next(a.parameters()).dtype
    torch.testing.assert_close(call(a, kind.input(dtype)), call(b, kind.input(dtype)), **tolerance)


def masks_of(module: SparseModule) -> dict[str, Tensor]:
    return {name: mask.clone() for name, mask in module.masks().items()}


# ------------------------------------------------------------------------------- as torch.nn's twin


@every_kind
def test_dense_it_is_its_twin(kind: Kind) -> None:
    """Same seed, same parameters, same names, shapes, results and gradients."""
    layer, twin = kind.draw(), kind.draw_twin()
    assert list(layer.state_dict()) == list(twin.state_dict())
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], value)
    twin.load_state_dict(layer.state_dict())
    assert_same_function(layer, twin, kind)
    for name, gradient in gradients(twin, kind.input()).items():
        torch.testing.assert_close(gradients(layer, kind.input())[name], gradient)


@every_kind
@pytest.mark.parametrize("density", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_masked_it_is_its_twin_with_zeros(
    kind: Kind, density: float, dtype: torch.dtype, tolerance: Tolerance
) -> None:
    layer = kind.draw(density, dtype)
    twin = kind.draw_twin(dtype)
    masks = layer.masks()
    with torch.no_grad():
        for name, weight in twin.named_parameters():
            weight.copy_(layer.get_parameter(name) * masks.get(name, torch.tensor(True)))
    assert_same_function(layer, twin, kind, **tolerance(dtype))
    found = gradients(layer, kind.input(dtype))
    for name, gradient in gradients(twin, kind.input(dtype)).items():
        expected = gradient * masks.get(name, torch.tensor(True))
        torch.testing.assert_close(found[name], expected, **tolerance(dtype))


@every_kind
def test_dense_gradients_are_those_of_the_twin_at_every_entry(kind: Kind) -> None:
    layer = kind.draw(0.4)
    before = call(layer, kind.input())
    expected = gradients(layer.to_dense(), kind.input())
    layer.gradient = "dense"
    assert torch.equal(call(layer, kind.input()), before)
    found = gradients(layer, kind.input())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    assert any(bool(found[name][~mask].any()) for name, mask in layer.masks().items())


@every_kind
def test_entries_outside_the_mask_are_neither_read_nor_moved(kind: Kind) -> None:
    layer = kind.draw(0.4)
    expected = call(layer, kind.input()).detach()
    with torch.no_grad():
        for name, mask in layer.masks().items():
            layer.get_parameter(name).masked_fill_(~mask, 1e6)
    assert torch.equal(call(layer, kind.input()), expected)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    gradients(layer, kind.input())
    optimizer.step()
    for name, mask in layer.masks().items():
        assert (layer.get_parameter(name)[~mask] == 1e6).all()
    assert not torch.equal(call(layer, kind.input()), expected)


@every_kind
def test_nan_outside_the_mask_does_no_harm(kind: Kind) -> None:
    layer = kind.draw(0.4)
    expected, expected_gradients = call(layer, kind.input()), gradients(layer, kind.input())
    with torch.no_grad():
        for name, mask in layer.masks().items():
            layer.get_parameter(name).masked_fill_(~mask, torch.nan)
    for kind_of_gradient in ("masked", "dense"):
        layer.gradient = kind_of_gradient
        assert torch.equal(call(layer, kind.input()), expected)
        found = gradients(layer, kind.input())
        for name, mask in layer.masks().items():
            assert torch.equal(found[name] * mask, expected_gradients[name])
            assert found[name].isfinite().all()


@every_kind
def test_gradcheck(kind: Kind) -> None:
    layer, input = kind.draw(0.5), kind.input()
    parameters = tuple(layer.parameters())
    # the parameters are moved in place, so they need not be handed in
    assert torch.autograd.gradcheck(lambda *_: call(layer, input), parameters)
    if not kind.tokens:
        assert torch.autograd.gradcheck(lambda x: call(layer, x), input.requires_grad_())


# -------------------------------------------------------------------------------- density and masks


@every_kind
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_every_matrix_gets_its_exact_count(kind: Kind, density: float) -> None:
    layer = kind.draw(density)
    masks = layer.masks()
    assert set(masks) == {name for name, p in layer.named_parameters() if p.dim() == 2}
    for name, mask in masks.items():
        assert int(mask.sum()) == round(density * mask.numel())
        assert mask.shape == layer.get_parameter(name).shape
    total = sum(mask.numel() for mask in masks.values())
    assert layer.density() == sum(int(mask.sum()) for mask in masks.values()) / total


@every_kind
def test_masks_come_from_the_seed_and_leave_the_weights_alone(kind: Kind) -> None:
    layer, again = kind.draw(0.5), kind.draw(0.5)
    for name, mask in layer.masks().items():
        assert torch.equal(mask, again.masks()[name])
    dense = kind.draw_twin()
    for name, value in dense.named_parameters():
        torch.testing.assert_close(layer.get_parameter(name), value)
    torch.manual_seed(8)
    other = kind.sparse(*kind.sizes, density=0.5)
    assert any(not torch.equal(mask, layer.masks()[name]) for name, mask in other.masks().items())


@every_kind
@pytest.mark.parametrize("density", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_density_outside_0_to_1(kind: Kind, density: float) -> None:
    with pytest.raises(ValueError, match=rf"density must be in \[0, 1\], got {density}"):
        kind.sparse(*kind.sizes, density=density)
    with pytest.raises(ValueError, match=rf"density must be in \[0, 1\], got {density}"):
        kind.sparse.from_dense(kind.draw_twin(), density=density)


@every_kind
def test_set_masks_changes_the_named_ones_only(kind: Kind) -> None:
    layer = kind.draw(0.5)
    name, before = list(layer.masks())[-1], masks_of(layer)
    layer.set_masks({name: ~before[name]})
    for other, mask in layer.masks().items():
        assert torch.equal(mask, ~before[other] if other == name else before[other])
    assert_same_function(layer, layer.to_dense(), kind)


@every_kind
def test_masks_grow_shrink_vanish_and_return(kind: Kind) -> None:
    """Through every capacity: in place, beyond it, to no connection at all, and to all of them."""
    layer = kind.draw(0.3)
    generator = torch.Generator().manual_seed(0)
    for density in (0.3, 0.28, 0.5, 0.52, 0.1, 0.0, 0.9, 1.0, 0.2):
        for mask in layer.masks().values():
            assert mask.dtype == torch.bool
        masks = {
            name: torch.rand(mask.shape, generator=generator) < density
            for name, mask in layer.masks().items()
        }
        layer.set_masks(masks)
        for name, mask in layer.masks().items():
            assert torch.equal(mask, masks[name])
        assert_same_function(layer, layer.to_dense(), kind)
        expected = gradients(layer.to_dense(), kind.input())
        found = gradients(layer, kind.input())
        for name, mask in masks.items():
            torch.testing.assert_close(found[name], expected[name] * mask)


@every_kind
def test_patterns_stay_where_they_are_while_there_is_room(kind: Kind) -> None:
    layer = kind.draw(0.5)
    places = {name: buffer.data_ptr() for name, buffer in layer.named_buffers()}
    assert len(places) == 2 * len(layer.masks())
    layer.set_masks({name: mask.flip(0) for name, mask in layer.masks().items()})
    layer.set_masks({name: mask & mask.roll(1, 0) for name, mask in layer.masks().items()})
    assert places == {name: buffer.data_ptr() for name, buffer in layer.named_buffers()}


@every_kind
def test_a_full_mask_is_the_dense_kernel_again(kind: Kind) -> None:
    layer, dense = kind.draw(0.5), kind.draw()
    layer.set_masks({name: torch.ones_like(mask) for name, mask in layer.masks().items()})
    assert layer.density() == 1.0
    assert torch.equal(call(layer, kind.input()), call(dense, kind.input()))
    assert layer.explain() == dense.explain()


@every_kind
def test_the_mask_given_is_copied(kind: Kind) -> None:
    layer = kind.draw()
    masks = {name: torch.rand(m.shape) < 0.5 for name, m in layer.masks().items()}
    layer.set_masks(masks)
    expected = call(layer, kind.input())
    for mask in masks.values():
        mask.fill_(True)
    assert torch.equal(call(layer, kind.input()), expected)
    assert layer.density() < 1


@every_kind
def test_a_shared_mask_is_kept_and_never_written_to(kind: Kind) -> None:
    layer = kind.draw()
    masks = {name: torch.rand(m.shape) < 0.5 for name, m in layer.masks().items()}
    before = {name: mask.clone() for name, mask in masks.items()}
    layer.share_masks(masks)
    assert all(getattr(layer, f"{name}_mask") is mask for name, mask in masks.items())
    expected = call(layer, kind.input())
    others = {name: ~mask for name, mask in masks.items()}
    layer.set_masks(others)
    layer.share_masks(masks)
    layer.load_state_dict(layer.state_dict() | {f"{n}_mask": m for n, m in others.items()})
    assert all(torch.equal(mask, before[name]) for name, mask in masks.items())
    layer.share_masks(masks)
    assert torch.equal(call(layer, kind.input()), expected)


@every_kind
def test_masks_taken_earlier_bring_the_earlier_state_back(kind: Kind) -> None:
    layer = kind.draw(0.5)
    expected, before = call(layer, kind.input()), layer.masks()
    layer.set_masks({name: ~mask for name, mask in layer.masks().items()})
    assert not torch.equal(call(layer, kind.input()), expected)
    layer.set_masks(before)
    assert torch.equal(call(layer, kind.input()), expected)


@every_kind
def test_a_mask_changed_before_backward_gives_an_error_or_the_gradient_of_the_old_one(
    kind: Kind,
) -> None:
    layer = kind.draw(0.5)
    loss, weights = call(layer, kind.input()).sum(), list(layer.parameters())
    expected = torch.autograd.grad(loss, weights, retain_graph=True)
    layer.set_masks({name: ~mask for name, mask in layer.masks().items()})
    try:
        found = torch.autograd.grad(loss, weights)
    except RuntimeError:
        return
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@every_kind
def test_wrong_masks_are_refused_and_change_nothing(kind: Kind) -> None:
    layer = kind.draw(0.5)
    before, expected = masks_of(layer), call(layer, kind.input())
    good, bad = next(iter(before)), list(before)[-1]
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"weight_xx": before[bad]}, KeyError, f"masks must be named {good}.*got 'weight_xx'"),
        ({"bias": before[bad]}, KeyError, "masks must be named"),
        ({bad: before[bad].double()}, TypeError, f"mask of {bad} must be a bool tensor, got torch"),
        ({bad: before[bad].tolist()}, TypeError, f"mask of {bad} must be a bool tensor, got list"),
        ({bad: None}, TypeError, f"mask of {bad} must be a bool tensor, got NoneType"),
        ({bad: before[bad][1:]}, ValueError, rf"mask of {bad} must have shape \(.*\), got \("),
        ({bad: before[bad][None]}, ValueError, rf"mask of {bad} must have shape \(.*\), got \(1"),
    ]
    for masks, error, message in wrong:
        with pytest.raises(error, match=message):
            layer.set_masks({good: ~before[good], **masks} if good not in masks else masks)
        for name, mask in layer.masks().items():
            assert torch.equal(mask, before[name])
        assert torch.equal(call(layer, kind.input()), expected)


@every_kind
def test_an_unknown_kind_of_gradient_is_refused(kind: Kind) -> None:
    layer = kind.draw(0.5)

    def use() -> None:
        layer.gradient = "Dense"
        call(layer, kind.input())

    with pytest.raises(ValueError, match="gradient must be"):
        use()


@every_kind
def test_explain_says_what_runs_for_each_weight(kind: Kind) -> None:
    layer = kind.draw(0.5)
    lines = layer.explain().splitlines()
    assert [line.split(":")[0] for line in lines] == list(layer.masks())
    for line, mask in zip(lines, layer.masks().values(), strict=True):
        rows, columns = mask.shape
        assert f"{rows} x {columns}, {int(mask.sum())} connections (50.0%)" in line
    for line in kind.draw().explain().splitlines():
        assert "fully connected: torch's" in line


@every_kind
def test_repr_shows_the_density(kind: Kind) -> None:
    assert "density=0.5" in repr(kind.draw(0.5))
    assert "density=1" in repr(kind.draw())


# -------------------------------------------------------------------------------- dense and back


@every_kind
def test_from_dense_copies(kind: Kind) -> None:
    twin = kind.draw_twin()
    layer = kind.sparse.from_dense(twin)
    assert_same_function(layer, twin, kind)
    expected = call(twin, kind.input())
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    torch.testing.assert_close(call(layer, kind.input()), expected)


@every_kind
@pytest.mark.parametrize("density", [0.0, 0.25, 0.5])
def test_from_dense_keeps_the_largest_magnitudes(kind: Kind, density: float) -> None:
    twin = kind.draw_twin(torch.float32)
    layer = kind.sparse.from_dense(twin, density=density)
    for name, mask in layer.masks().items():
        magnitudes = twin.get_parameter(name).detach().abs()
        count = round(density * mask.numel())
        assert int(mask.sum()) == count
        if count:
            assert magnitudes[mask].min() >= magnitudes[~mask].max()
        assert torch.equal(layer.get_parameter(name), twin.get_parameter(name))
        assert layer.get_parameter(name).dtype == torch.float32


@every_kind
def test_to_dense_is_a_copy_with_zeros(kind: Kind) -> None:
    layer = kind.draw(0.4)
    twin = layer.to_dense()
    assert type(twin) is kind.twin
    for name, mask in layer.masks().items():
        assert torch.equal(twin.get_parameter(name), layer.get_parameter(name) * mask)
        assert torch.equal(twin.get_parameter(name), layer.masked_weight(name))
    assert all(parameter.requires_grad for parameter in twin.parameters())
    before = call(layer, kind.input())
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert torch.equal(call(layer, kind.input()), before)


@every_kind
def test_there_and_back_again(kind: Kind) -> None:
    layer = kind.draw(0.4)
    back = kind.sparse.from_dense(layer.to_dense(), density=0.4)
    for name, mask in layer.masks().items():
        assert torch.equal(back.masks()[name], mask)
    assert torch.equal(call(back, kind.input()), call(layer, kind.input()))


@every_kind
@pytest.mark.parametrize("density", [1.0, 0.5])
def test_both_ways_keep_the_mode(kind: Kind, density: float) -> None:
    layer = kind.sparse.from_dense(kind.draw_twin().eval(), density=density)
    assert not layer.training
    assert not layer.to_dense().training


# -------------------------------------------------------------------------------------- state dicts


@every_kind
def test_state_dicts_of_the_twin_load_strictly_and_into_it(kind: Kind) -> None:
    layer, twin = kind.draw(), kind.draw_twin()
    with torch.no_grad():
        for weight in twin.parameters():
            weight.add_(0.1)
    layer.load_state_dict(twin.state_dict())
    assert_same_function(layer, twin, kind)
    kind.draw_twin().load_state_dict(layer.state_dict())

    masked = kind.draw(0.5)
    result = twin.load_state_dict(masked.state_dict(), strict=False)
    assert result.missing_keys == []
    assert sorted(result.unexpected_keys) == sorted(f"{name}_mask" for name in masked.masks())


@every_kind
@pytest.mark.parametrize("other", [1.0, 0.5, 0.2])
def test_masks_travel_in_the_state_dict(kind: Kind, other: float) -> None:
    layer = kind.draw(0.4)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    loaded = kind.sparse(*kind.sizes, density=other, dtype=torch.float64)
    keys = list(state)
    loaded.load_state_dict(state)
    assert list(state) == keys
    assert torch.equal(call(loaded, kind.input()), call(layer, kind.input()))
    for name, mask in layer.masks().items():
        assert torch.equal(loaded.masks()[name], mask)
    assert loaded.explain() == layer.explain()


@every_kind
def test_masks_travel_in_the_state_dict_of_a_model_around_it(kind: Kind) -> None:
    model = nn.ModuleDict({"inner": nn.ModuleList([kind.draw(0.4)])})
    fresh = nn.ModuleDict({"inner": nn.ModuleList([kind.draw()])})
    fresh.load_state_dict(model.state_dict())
    a, b = model["inner"][0], fresh["inner"][0]
    assert torch.equal(call(a, kind.input()), call(b, kind.input()))
    assert b.density() == a.density()


@every_kind
def test_loading_by_assignment(kind: Kind) -> None:
    layer, loaded = kind.draw(0.4), kind.draw(0.7)
    loaded.load_state_dict(copy.deepcopy(layer.state_dict()), assign=True)
    assert torch.equal(call(loaded, kind.input()), call(layer, kind.input()))
    loaded.set_masks({name: ~mask for name, mask in loaded.masks().items()})
    assert_same_function(loaded, loaded.to_dense(), kind)


@every_kind
def test_a_state_dict_without_masks(kind: Kind) -> None:
    """Strictly it says which masks are missing; otherwise the masks stay."""
    layer, twin = kind.draw(0.4), kind.draw_twin()
    before = masks_of(layer)
    with pytest.raises(RuntimeError, match=f"Missing key.*{next(iter(before))}_mask"):
        layer.load_state_dict(twin.state_dict())
    layer.load_state_dict(twin.state_dict(), strict=False)
    for name, mask in layer.masks().items():
        assert torch.equal(mask, before[name])
    assert_same_function(layer, layer.to_dense(), kind)


@every_kind
def test_a_full_mask_in_a_state_dict(kind: Kind) -> None:
    state = kind.draw_twin().state_dict()
    for name, mask in kind.draw().masks().items():
        state[f"{name}_mask"] = mask
    layer = kind.draw(0.5)
    layer.load_state_dict(state)
    assert layer.density() == 1
    assert_same_function(layer, kind.draw_twin(), kind)


@every_kind
@pytest.mark.parametrize("density", [1.0, 0.4])
@pytest.mark.parametrize("position", [0, -1], ids=["first", "last"])
def test_wrong_masks_in_a_state_dict(kind: Kind, density: float, position: int) -> None:
    """They are refused, and the masks stay as they were, whichever came before."""
    state, name = kind.draw(0.5).state_dict(), list(kind.draw().masks())[position]
    layer = kind.draw(density)
    before = masks_of(layer)
    with pytest.raises((ValueError, RuntimeError), match=f"mask of {name} must have shape"):
        layer.load_state_dict(state | {f"{name}_mask": state[f"{name}_mask"][1:]})
    for other, mask in layer.masks().items():
        assert torch.equal(mask, before[other])
    assert layer.density() == kind.draw(density).density()


@every_kind
@pytest.mark.parametrize("all_weights", [True, False])
def test_state_dicts_of_torch_prune(kind: Kind, all_weights: bool) -> None:
    twin = kind.draw_twin()
    names = [name for name, weight in twin.named_parameters() if weight.dim() == 2]
    for name in names if all_weights else names[-1:]:
        prune.l1_unstructured(twin, name, amount=0.6)
    state = twin.state_dict()
    assert f"{names[-1]}_orig" in state
    for layer in (kind.draw(), nn.Sequential(kind.draw())):
        inner = layer[0] if isinstance(layer, nn.Sequential) else layer
        prefix = "0." if isinstance(layer, nn.Sequential) else ""
        given = {prefix + key: value for key, value in state.items()}
        keys = list(given)
        layer.load_state_dict(given)
        assert list(given) == keys
        for name in names:
            expected = getattr(twin, f"{name}_mask", torch.ones(())) != 0
            assert torch.equal(inner.masks()[name], expected.expand(inner.masks()[name].shape))
        if kind.twin is not nn.LSTM:  # torch's LSTM holds on to the weights from before
            assert_same_function(inner, twin, kind)
        assert_same_function(inner, inner.to_dense(), kind)


# -------------------------------------------------------------------------- copies, dtypes, devices


@every_kind
@pytest.mark.parametrize("density", [1.0, 0.4])
@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))],
    ids=["deepcopy", "pickle"],
)
def test_copies_are_equal_and_independent(
    kind: Kind, density: float, duplicate: Callable[[Any], Any]
) -> None:
    layer = kind.draw(density)
    layer.gradient = "dense"
    twin = duplicate(layer)
    assert twin.gradient == "dense"
    expected = call(layer, kind.input())
    assert torch.equal(call(twin, kind.input()), expected)
    twin.set_masks({name: ~mask | (mask & False) for name, mask in twin.masks().items()})
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(call(layer, kind.input()), expected)


@every_kind
def test_dtypes(kind: Kind, tolerance: Tolerance) -> None:
    layer = kind.draw(0.4, torch.float32)
    expected = call(layer, kind.input(torch.float32))
    for convert in (lambda m: m.double(), lambda m: m.to(torch.float64)):
        wide = convert(copy.deepcopy(layer))
        for name, mask in wide.masks().items():
            assert torch.equal(mask, layer.masks()[name])
            assert wide.get_parameter(name).dtype == torch.float64
        found = call(wide, kind.input(torch.float32).double() if not kind.tokens else kind.input())
        torch.testing.assert_close(found.float(), expected, **tolerance(torch.float32))
        narrow = wide.float()
        assert torch.equal(call(narrow, kind.input(torch.float32)), expected)


@every_kind
def test_on_a_device(kind: Kind, device: torch.device, tolerance: Tolerance) -> None:
    """Moved there or made there; masks come from anywhere."""
    here = kind.draw(0.4, torch.float32)
    input = kind.input(torch.float32)
    moved = copy.deepcopy(here).to(device)
    made = kind.sparse(*kind.sizes, device=device, density=0.7)
    made.load_state_dict(here.state_dict())
    for turn in range(2):
        expected = call(here, input).detach()
        expected_gradients = gradients(here, input)
        for there in (moved, made):
            found = call(there, input.to(device)).detach().cpu()
            torch.testing.assert_close(found, expected, **tolerance(torch.float32))
            for name, gradient in gradients(there, input.to(device)).items():
                assert gradient.device.type == device.type
                torch.testing.assert_close(
                    gradient.cpu(), expected_gradients[name], **tolerance(torch.float32)
                )
        if turn == 0:
            masks = {name: ~mask for name, mask in here.masks().items()}
            for layer in (here, moved, made):
                layer.set_masks(masks)


@every_kind
def test_patterns_describe_the_masks(kind: Kind) -> None:
    layer = kind.draw(0.4).to(torch.float32)
    patterns = dict(layer.named_buffers())
    for name, mask in layer.masks().items():
        parts = pattern_parts(patterns[f"{name}_pattern"])
        assert parts.column_of.tolist() == mask.nonzero()[:, 1].tolist()
        assert not any("pattern" in key for key in layer.state_dict())


@every_kind
def test_construction_without_memory(kind: Kind) -> None:
    """As large models are set up: on the meta device, then loaded by assignment."""
    layer = kind.sparse(*kind.sizes, device="meta", dtype=torch.float64)
    source = kind.draw()
    layer.load_state_dict(source.state_dict(), assign=True)
    assert torch.equal(call(layer, kind.input()), call(source, kind.input()))


@every_kind
def test_without_gradients(kind: Kind) -> None:
    layer = kind.draw(0.4)
    expected = call(layer, kind.input()).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(call(layer, kind.input()), expected)


@every_kind
def test_frozen_parameters(kind: Kind) -> None:
    layer = kind.draw(0.4)
    frozen, expected = next(iter(layer.masks())), gradients(layer, kind.input())
    layer.get_parameter(frozen).requires_grad_(False)
    layer.zero_grad()
    result = call(layer, kind.input())
    if not result.requires_grad:
        return
    (result * torch.linspace(-1, 1, result.numel(), dtype=result.dtype)).sum().backward()
    for name, parameter in layer.named_parameters():
        if name == frozen:
            assert parameter.grad is None
        else:
            assert torch.equal(parameter.grad, expected[name])


@every_kind
@pytest.mark.parametrize("density", [1.0, 0.4])
def test_functional_call(kind: Kind, density: float) -> None:
    """With plain tensors in the place of parameters, as meta-learning and weight drop do."""
    layer = kind.draw(density)
    values = {name: p.detach() * 2 for name, p in layer.named_parameters()}
    for value in values.values():
        value.requires_grad_()
    result = torch.func.functional_call(layer, values, (kind.input(),))
    found = result if isinstance(result, Tensor) else result[0]
    found.square().sum().backward()

    doubled = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in doubled.parameters():
            parameter.mul_(2)
    result = doubled(kind.input())
    expected = result if isinstance(result, Tensor) else result[0]
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    for name, parameter in doubled.named_parameters():
        torch.testing.assert_close(values[name].grad, parameter.grad)
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_a_pattern_of_another_kind_of_device_is_packed_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the question where patterns lie is answered falsely: no device is needed."""
    layer = SparseLSTM(4, 3, density=0.5)
    patterns = {name: layer._pattern(name).clone() for name in layer.maskable}
    kinds = iter(["cuda", "cpu"])
    monkeypatch.setattr(layer, "_pattern_devices", lambda: dict.fromkeys(patterns, next(kinds)))
    for name in patterns:
        layer._pattern(name).zero_()
    layer._apply(lambda tensor: tensor)
    for name, pattern in patterns.items():
        found, expected = pattern_parts(layer._pattern(name)), pattern_parts(pattern)
        assert torch.equal(found.row_offsets, expected.row_offsets)
        assert torch.equal(found.column_of, expected.column_of)
