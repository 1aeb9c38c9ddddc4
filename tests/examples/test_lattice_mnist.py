"""The example that compares masks: its masks, and a short run from end to end."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "lattice_mnist.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="needs the source tree")


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, SCRIPT.stem, module)
    spec.loader.exec_module(module)
    return module


def test_every_mask_has_the_count_asked_for(script):
    torch.manual_seed(0)
    model = script.RowClassifier(4, 10, 3)
    for mask_of in script.MASKS.values():
        mask = mask_of(model, 57, torch.Generator().manual_seed(0))
        assert (mask.shape, int(mask.sum())) == ((40, 10), 57)


def test_trades_keep_degrees(script):
    torch.manual_seed(0)
    model = script.RowClassifier(4, 10, 3)
    generator = torch.Generator().manual_seed(0)
    magnitude = script.by_magnitude(model, 130, generator)
    traded = script.with_degrees_of_magnitude(model, 130, generator)
    assert not torch.equal(traded, magnitude)
    assert torch.equal(traded.sum(1), magnitude.sum(1))
    by_gate = traded.view(4, 10, 10).sum(1), magnitude.view(4, 10, 10).sum(1)
    assert torch.equal(*by_gate)


def test_a_short_run_goes_on_and_draws(script, tmp_path, capsys):
    settings = {"hidden_size": 6, "epochs": 1, "tune_epochs": 0.1, "sparsities": (0.5, 0.9)}
    threads = torch.get_num_threads()
    for seeds in ((0,), (0, 1)):
        script.main(output=tmp_path, settings=script.Settings(**settings, seeds=seeds))
    torch.set_num_threads(threads)
    rows = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["rows"]
    assert [row["seed"] for row in rows] == [0] * (len(rows) // 2) + [1] * (len(rows) // 2)
    assert len(rows) == 2 * (2 * len(script.MASKS) + 2)
    assert {row["kept"] for row in rows if row["sparsity"] == 0.9} == {round(0.1 * 4 * 36)}
    assert (tmp_path / "table.md").read_text(encoding="utf-8").count("| random |") == 2
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "seed 1" in capsys.readouterr().out
