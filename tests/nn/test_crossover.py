"""Which kernel runs a masked stack: shipped, measured and kept, set, and explained."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lsh_native.nn import SparseLinear, SparseLSTM
from lsh_native.nn import crossover as table
from lsh_native.nn.crossover import Crossover, crossover, first_density, keep_crossover
from lsh_native.nn.measure_crossover import first_units, measure_crossover
from lsh_native.sparsity.packed import PackedWeights


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(table.VARIABLE, raising=False)
    table._standing.cache_clear()
    yield table.cache_file()
    table._standing.cache_clear()


def test_a_measured_table_is_kept_and_read(own_cache: Path) -> None:
    assert crossover() == Crossover()
    found, seconds = measure_crossover(hidden=16, steps=2, batch=8, repeats=1)
    assert keep_crossover(found, seconds) == own_cache
    assert {*found} == {"training", "forward", "linear", "training_mode"}
    assert {name: getattr(crossover(), name) for name in found} == found
    assert crossover().source.startswith("measured on")
    assert [path.name for path in own_cache.parent.iterdir()] == ["crossover.json"]


def test_the_dense_kernel_runs_from_where_it_is_never_slower() -> None:
    assert first_density({0.3: 1.0, 0.5: 3.0, 0.7: 2.5, 0.9: 4.0}, dense=2.0) == 0.5
    assert first_density({0.3: 3.0, 0.5: 1.0, 0.9: 1.5}, dense=2.0) == 1.0


def test_training_mode_is_taken_from_where_it_is_always_faster() -> None:
    assert first_units({8: 1.0, 16: 1.0, 24: 1.0}, {8: 1.0, 16: 2.0, 24: 2.0}) == 12
    assert first_units({8: 1.0, 16: 1.0}, {8: 2.0, 16: 2.0}) == 8
    assert first_units({8: 1.0, 16: 1.0, 24: 1.0}, {8: 2.0, 16: 2.0, 24: 1.0}) is None
    with pytest.raises(ValueError, match="training_mode must be a number of units or None, got 0"):
        Crossover(training_mode=0)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("ragged", [False, True])
def test_the_training_mode_gives_the_same_without_a_gradient(
    layers: int, ragged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes, call = [], SparseLSTM.dense_call

    def heard(*arguments: object) -> object:
        modes.append(torch.is_grad_enabled())
        return call(*arguments)

    monkeypatch.setattr(SparseLSTM, "dense_call", staticmethod(heard))
    dense = torch.nn.LSTM(12, 16, layers, bidirectional=True)
    layer, x = SparseLSTM.from_dense(dense), torch.randn(4, 9, 12, requires_grad=True)
    given = torch.nn.utils.rnn.pack_padded_sequence(x, [4] * 5 + [2] * 4) if ragged else x
    with torch.no_grad():
        expected, final = layer(given)
        with table.use_crossover(Crossover(training_mode=16)):
            found, found_final = layer(given)
    assert modes == [False, True]
    if ragged:
        expected, found = expected.data, found.data
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_final, final)
    assert not found.requires_grad
    assert found.grad_fn is None
    assert "training mode from 16 units" in str(Crossover(training_mode=16))


@pytest.mark.parametrize("gradient", ["masked", "dense"])
def test_a_linear_layer_with_zeros_is_the_same(gradient: str) -> None:
    layer, x = SparseLinear(12, 16, density=0.7), torch.randn(3, 5, 12, requires_grad=True)
    layer.gradient = gradient
    results = []
    for at in (1.0, 0.0):
        with table.use_crossover(Crossover(linear=at)):
            y = layer(x)
            results.append((y, *torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))))
            with torch.no_grad(), PackedWeights():
                torch.testing.assert_close(layer(x), y)
            assert ("with zeros" in layer.explain()) == (at == 0)
    for sparse, dense in zip(*results, strict=True):
        torch.testing.assert_close(dense, sparse)


@pytest.mark.parametrize("gradient", ["masked", "dense"])
def test_a_stack_with_zeros_is_the_same(gradient: str) -> None:
    layer = SparseLSTM(5, 6, num_layers=2, density=0.7, dtype=torch.float64)
    x = torch.randn(4, 9, 5, dtype=torch.float64, requires_grad=True)
    layer.gradient = gradient
    results = []
    for at in (1.0, 0.0):
        with table.use_crossover(Crossover(training=at, forward=at)):
            y = layer(x)[0]
            kept = torch.autograd.grad(y.square().sum(), layer.parameters(), retain_graph=True)
            again = torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))
            second = torch.autograd.grad(
                layer(x)[0].square().sum(), (x, layer.weight_hh_l0), create_graph=True
            )
            third = torch.autograd.grad(sum(g.square().sum() for g in second), (x,))
            results.append((y, *kept, *again, *second, *third))
    for sparse, dense in zip(*results, strict=True):
        torch.testing.assert_close(dense, sparse)


def test_another_machines_table_is_not_used(own_cache: Path) -> None:
    keep_crossover({"training": 0.1, "forward": 0.1}, {})
    kept = json.loads(own_cache.read_text())
    kept["machine"]["processor"] = "another"
    own_cache.write_text(json.dumps(kept))
    table._standing.cache_clear()
    assert crossover().forward == Crossover().forward
    assert "another machine" in crossover().source


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00"])
def test_a_spoilt_file_is_refused_in_a_sentence(own_cache: Path, content: str) -> None:
    own_cache.parent.mkdir()
    own_cache.write_text(content)
    with pytest.warns(UserWarning, match="not a table of crossovers"):
        assert crossover() == Crossover()


def test_a_spoilt_density_is_refused(own_cache: Path) -> None:
    keep_crossover({"training": 0.5, "forward": 0.5}, {})
    own_cache.write_text(own_cache.read_text().replace('"forward": 0.5', '"forward": 7'))
    table._standing.cache_clear()
    with pytest.warns(UserWarning, match="not a table of crossovers"):
        assert crossover() == Crossover()


def test_the_variable_and_the_block_go_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(table.VARIABLE, "0.25")
    assert crossover().training == crossover().forward == 0.25
    with table.use_crossover(Crossover(training=0.5, forward=0.75)):
        assert crossover().dense_is_faster(0.6, 8, True)
        assert not crossover().dense_is_faster(0.6, 8, False)
        assert not crossover().dense_is_faster(0.9, 7, True)
    table._standing.cache_clear()
    monkeypatch.setenv(table.VARIABLE, "much")
    with pytest.raises(ValueError, match=r"LSH_DENSE_FROM must be a density in \[0, 1\]"):
        crossover()


def test_the_layer_explains_its_choice() -> None:
    layer, x = SparseLSTM(12, 8, density=0.5), torch.randn(4, 9, 12)
    results = []
    for least in (1.0, 0.4):
        with table.use_crossover(Crossover(training=least, forward=least, source="as tested")):
            results.append(layer(x)[0])
            text = layer.explain()
        assert (
            f"(density 0.5; dense kernel for 8 sequences and more from density {least:.3g}" in text
        )
        assert ("torch's dense LSTM" in text) == (least < 0.5)
        assert "as tested" in text
    torch.testing.assert_close(*results)
