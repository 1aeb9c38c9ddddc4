"""What a study leaves in its folder, for every family of models that read text."""

import json

import pytest
from synthetic_runner import make_study

from lsh_native.cells import ELMAN, GRU, LSTM, RHN
from lsh_native.data import generate_corpus
from lsh_native.models import FAMILIES
from lsh_native.report import measure
from lsh_native.report.final import Block
from lsh_native.report.finish import DENSE, REPORT, finish_study, read_table
from lsh_native.report.measure import measure_models
from lsh_native.search.result import read_result
from lsh_native.search.rounds import Elimination
from lsh_native.search.space import Space
from lsh_native.search.spectral import spectrum_distance
from lsh_native.search.training_runner import SpectrumSettings, TrainingRunner
from lsh_native.training import Recipe

# Sizes that no other number of gates divides into equal parts.
SMALL = {
    "lstm": {"embedding_size": 6, "hidden_size": 5, "num_layers": 1},
    "gru": {"embedding_size": 6, "hidden_size": 5, "num_layers": 1},
    "rnn": {"embedding_size": 6, "hidden_size": 5, "num_layers": 1},
    "rhn": {"embedding_size": 5, "hidden_size": 5, "depth": 2},
    "awd_lstm": {"embedding_size": 6, "hidden_sizes": [5, 7], "experts": 2},
}
CELLS = {"lstm": LSTM, "gru": GRU, "rnn": ELMAN, "rhn": RHN, "awd_lstm": LSTM}
WORDS = {"gru": ("reset", "update", "new"), "rhn": ("candidate", "transform")}


@pytest.fixture
def finished(store, tmp_path):
    """`finish_study` of a small search over a family."""

    def finish(family):
        runner = TrainingRunner(
            corpus=generate_corpus(seed=0, train_tokens=600, valid_tokens=200, test_tokens=200),
            recipe=Recipe(
                model={"family": family, **SMALL[family]}, epochs=2, batch_size=4, window=10
            ),
            density=0.4,
            folder=tmp_path / "trials",
            spectrum_settings=SpectrumSettings(steps=6, state_warmup=2, tangent_warmup=2),
        )
        make_study(
            store,
            runner,
            space=Space(method=("set",)),
            rounds=Elimination(total=2, first=1),
            distance=spectrum_distance,
            candidates=1,
        ).run(lambda event: None)
        return finish_study(store, runner, tmp_path)

    return finish


@pytest.mark.parametrize("family", [f for f, model in FAMILIES.items() if model.reads == "text"])
def test_every_family_ends_with_its_own_gates(family, finished, store, tmp_path):
    table = finished(family).table
    assert read_table(store, tmp_path) == table
    json.loads((tmp_path / "summary.json").read_text())
    gates = CELLS[family].gates if len(CELLS[family].gates) > 1 else ("",)
    for model in (table.dense, table.found):
        recurrent = [b for b in model.blocks if b.matrix.rpartition(".")[2].startswith("weight_")]
        assert tuple(b.gate for b in recurrent) == gates * (len(recurrent) // len(gates))
        assert len(recurrent) >= 2 * len(gates)
        assert {b.gate for b in model.blocks if b not in recurrent} == {""}
    page = (tmp_path / REPORT).read_text(encoding="utf-8")
    assert all(word in page for word in WORDS.get(family, ()))
    assert ("forget" in page) == ("f" in gates)


def test_models_are_measured_on_the_device_that_is_named(finished, store, tmp_path, monkeypatch):
    finished("rnn")
    seen = []

    def evaluated(model, tokens, **options):
        seen.append(next(model.parameters()).device.type)
        return 1.0

    monkeypatch.setattr(measure, "evaluate", evaluated)
    block = Block(matrix="w", weights=1, non_zeros=1)
    monkeypatch.setattr(measure, "count_blocks", lambda masks, gates: (block,))
    reference = read_result(store).reference
    models = [(reference, tmp_path / DENSE, store.epochs(reference.trial.number))]
    corpus = generate_corpus(train_tokens=600, valid_tokens=200, test_tokens=200)
    measure_models(models, corpus, device="meta")  # without numbers, but on every machine
    assert set(seen) == {"meta"}
