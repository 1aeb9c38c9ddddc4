"""From trainings to tables of rivals: recorded, torn, gone on with, replayed, drawn."""

import gzip
import json

from bench.search import draw_rivals, leads, record, rivals
from bench.search.table import Table

STUDY = """
sparsity = 0.67
[text]
train_tokens = 2000
vocabulary_size = 64
[recipe]
epochs = 4
[recipe.model]
embedding_size = 4
hidden_size = 4
[space]
initial = ["uniform"]
drop = ["magnitude", "set"]
redistribute = ["none"]
drop_fraction = [0.5, 0.8]
"""


def call(monkeypatch, module, *arguments):
    monkeypatch.setattr("sys.argv", [module.__name__, *map(str, arguments)])
    module.main()


def test_from_trainings_to_tables(tmp_path, monkeypatch, capsys):
    study, path = tmp_path / "study.toml", tmp_path / "text.jsonl.gz"
    study.write_text(STUDY)
    small = {
        name: record.SpectrumSettings(steps=5, sequences=2, reference=settings.reference)
        for name, settings in record.SPECTRA.items()
    }
    monkeypatch.setattr(record, "SPECTRA", small)
    monkeypatch.setattr(leads, "RESAMPLES", 50)
    call(monkeypatch, record, study, "--output", path, "--seeds", 2)
    whole = gzip.decompress(path.read_bytes())
    lines = [json.loads(line) for line in whole.splitlines()]
    assert [(x["seed"], x["number"]) for x in lines[1:]] == [
        (s, n) for s in (0, 1) for n in range(5)
    ]

    # What a kill left is gone on with: whole lines stay, the torn one is trained again.
    path.write_bytes(path.read_bytes()[:-20])
    call(monkeypatch, record, study, "--output", path, "--seeds", 2)
    again = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert [x["valid"] for x in again[1:]] == [x["valid"] for x in lines[1:]]

    call(monkeypatch, rivals, path, "--output", tmp_path, "--draws", 1, "--size", 4)
    found = json.loads((tmp_path / "results.json").read_text())["text"]
    table = Table.read(path)
    for schedule in found["schedules"].values():
        assert schedule["rivals"].keys() == rivals.RIVALS.keys()
        for row in schedule["rivals"].values():
            assert min(row["regret"]["seeds"]) >= 0
            assert row["epochs"] <= schedule["budget"]
    finals = [table.final(0, candidate) for candidate in table.pool]
    assert abs(found["table"]["best of the pool"]["seeds"][0] - min(finals)) < 1e-3
    assert set(found["leads"]["2"]) >= set(leads.LEADS)
    call(monkeypatch, draw_rivals, tmp_path / "results.json", tmp_path)
    assert "rank mean" in capsys.readouterr().out
    assert (tmp_path / "rivals.svg").read_text().startswith("<?xml")
