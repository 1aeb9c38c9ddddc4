"""Rows that share their columns: found in patterns, and the same results whatever the form."""

from dataclasses import replace

import pytest
import torch
from random_form import FORMS, draw_form
from torch import Tensor

from lsh_native.nn import SparseGRU, SparseLinear, SparseLSTM, SparseRHN
from lsh_native.nn.sparse_module import SparseModule
from lsh_native.sparsity.form import form_of
from lsh_native.sparsity.linear import sparse_linear
from lsh_native.sparsity.pattern import pack_pattern

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
PLAN = 5  # where a packed weight's plan begins, in numbers of 8 bytes
BUNDLE_ROWS = PLAN + 7


def packed_bundles(mask: Tensor, gates: int) -> int:
    """Rows of a bundle, as the kernels' own form of a weight has them."""
    weight = torch.zeros(mask.shape)
    packed = torch.ops.lsh.pack_weight(weight, pack_pattern(mask), *mask.shape, gates, 16)
    return int(packed[8 * BUNDLE_ROWS : 8 * BUNDLE_ROWS + 8].view(torch.int64))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gates", [1, 2, 3, 4])
def test_bundles_are_what_the_form_says(form: str, gates: int) -> None:
    mask = draw_form(form, 48 * gates, 33, gates)
    assert packed_bundles(mask, gates) == form_of(mask, gates).shared_rows
    mask[-1, -1] = ~mask[-1, -1]  # one entry more or less
    assert packed_bundles(mask, gates) == form_of(mask, gates).shared_rows == 1


def test_every_form_has_its_kernel() -> None:
    at_once = 8 if form_of(torch.ones(8, 1, dtype=torch.bool)).shared_rows == 8 else 4
    expected = {"any": 1, "4x1": 4, "8x1": at_once, "16x1": at_once, "gates": 4, "both": 4}
    for form, rows in (expected | {"fan-in": 1, "full": at_once, "none": 1}).items():
        assert form_of(draw_form(form, 192, 33, 4), 4).shared_rows == rows, form


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inputs", [8, 20, 29, 290])
@DTYPES
def test_products_and_gradients(
    form: str, inputs: int, dtype: torch.dtype, tolerance: object
) -> None:
    rows, columns = 208, 300  # more rows than a chunk has, more columns than a panel
    mask = draw_form(form, rows, columns, 4)
    generator = torch.Generator().manual_seed(1)
    x, weight, grad = (
        torch.randn(shape, generator=generator).to(dtype)
        for shape in ((inputs, columns), (rows, columns), (inputs, rows))
    )
    pattern, leaf = pack_pattern(mask), weight.clone().requires_grad_()
    leaf_x = x.clone().requires_grad_()
    y = sparse_linear(leaf_x, leaf, pattern, None, rows)
    d_x, d_weight = torch.autograd.grad(y, (leaf_x, leaf), grad)
    X, W, g = x.double(), (weight * mask).double(), grad.double()
    found = {"y": (y.detach(), X @ W.mT), "d_x": (d_x, g @ W), "d_w": (d_weight, g.mT @ X * mask)}
    for name, (kernel, exact) in found.items():
        allowed = tolerance(dtype)["rtol"] * float(exact.abs().max()) + 1e-12  # type: ignore[operator]
        assert float((kernel.double() - exact).abs().max()) <= allowed, name


def modules(form: str) -> list[tuple[SparseModule, Tensor]]:
    torch.manual_seed(2)
    layers: list[SparseModule] = [
        SparseLSTM(40, 48),
        SparseGRU(40, 48),
        SparseRHN(40, 48, 2),
        SparseLinear(40, 96),
    ]
    for layer in layers:
        masks = {}
        for name, mask in layer.masks().items():
            gates = layer._gates(name)
            masks[name] = draw_form(form, *mask.shape, gates)
        layer.set_masks(masks)
    sequence = torch.randn(5, 20, 40)
    return [(layer, sequence if layer is not layers[-1] else sequence[0]) for layer in layers]


@pytest.mark.parametrize("form", FORMS)
def test_layers_give_the_same_bits_for_every_number_of_threads(form: str) -> None:
    threads = torch.get_num_threads()
    for layer, x in modules(form):
        exact, _ = results(layer.double(), x.double())
        layer.float()
        torch.set_num_threads(1)
        one = results(layer, x)
        torch.set_num_threads(3)
        three = results(layer, x)
        torch.set_num_threads(threads)
        if form != "full":  # torch's kernels run, which promise no bits
            for a, b in zip((one[0], *one[1]), (three[0], *three[1]), strict=True):
                assert torch.equal(a, b)
        torch.testing.assert_close(one[0].double(), exact, rtol=0, atol=2e-6)


def results(layer: SparseModule, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    layer.zero_grad()
    output = layer(x)
    output = output if isinstance(output, Tensor) else output[0]
    output.square().sum().backward()
    return output.detach(), [p.grad.clone() for p in layer.parameters() if p.grad is not None]


@pytest.mark.parametrize("forms", [("any", "8x1"), ("8x1", "any"), ("gates", "4x1")], ids="-".join)
def test_the_matrices_of_a_layer_may_come_in_different_forms(forms: tuple[str, str]) -> None:
    """Units are shared out by one matrix for all of a layer, so all are cut alike."""
    torch.manual_seed(0)
    layer, x = SparseLSTM(40, 160).double(), torch.randn(3, 20, 40).double()
    masks = zip(layer.masks().items(), forms, strict=True)
    layer.set_masks({name: draw_form(form, *mask.shape, 4) for (name, mask), form in masks})
    torch.testing.assert_close(layer(x)[0], layer.to_dense()(x)[0])


def test_not_a_number_stays_with_the_rows_that_read_it() -> None:
    mask = draw_form("4x1", 64, 40, 1)
    x = torch.ones(20, 40)
    x[:, 7] = torch.nan
    y = sparse_linear(x, torch.ones(64, 40), pack_pattern(mask), None, 64)
    assert torch.equal(y[0].isnan(), mask[:, 7])


def test_explained() -> None:
    for form, words in {"gates": "operand for 4 rows at once", "any": "compressed rows"}.items():
        assert words in modules(form)[0][0].explain()
    assert "at once" not in modules("any")[0][0].explain()


def test_forms_differ_in_their_shared_rows_only_by_form() -> None:
    form = form_of(draw_form("gates", 96, 10, 2), 2)
    assert form.shared_rows == 2
    assert replace(form, shared_by_gates=False).shared_rows == 1
