"""The measurement of a GPU runs to its end without one."""

import json
from pathlib import Path

import pytest
import torch

from bench.gpu.__main__ import main
from bench.gpu.rows import UNBUILT, rows


def test_rows_have_one_form_large_and_small() -> None:
    large, small = list(rows()), list(rows(small=True))
    assert len({row.name for row in large}) == len(large)
    for a, b in zip(large, small, strict=True):
        assert a.ours.keys() == b.ours.keys()
        assert a.peers.keys() == b.peers.keys()
        assert set(a.goals) <= set(a.peers)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize("names", ["95 %, forward", "mask update", "K 4"])
def test_a_dry_run(names: str, tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    assert main(["--dry-run", "--rows", names, "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    assert record["dry_run"]
    assert record["rows"]
    assert not any(row.get("error") or row["notes"] for row in record["rows"])
    assert all(row["agree"] in (None, True) for row in record["rows"])
    table = output.with_suffix(".md").read_text()
    for row in (*record["rows"], *record["unbuilt"]):
        assert row["name"] in table
    assert len(record["unbuilt"]) == len(UNBUILT)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_asks_for_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "or --dry-run" in capsys.readouterr().err
