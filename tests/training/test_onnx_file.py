"""Every family of language models as ONNX, beside itself in ONNX Runtime."""

import pytest
import torch
from torch import Tensor

from lsh_native.models import (
    AWDLSTM,
    RHN,
    Model,
    RowClassifier,
    StackedGRU,
    StackedLSTM,
    StackedRNN,
)
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology
from lsh_native.training import Recipe, draw_model, write_onnx
from lsh_native.training import onnx_file as module

pytest.importorskip("onnxscript", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

V = 11
MODELS: dict[str, Model] = {
    "lstm": StackedLSTM(embedding_size=5, hidden_size=6, dropout=0.5),
    "gru": StackedGRU(embedding_size=6, hidden_size=6, tied=True),
    "rnn": StackedRNN(embedding_size=5, hidden_size=6),
    "rhn": RHN(embedding_size=6, hidden_size=6, depth=3, init_range=0.5, state_dropout=0.5),
    "mixture": AWDLSTM(
        embedding_size=4, hidden_sizes=(6, 5), experts=3, weight_dropout=0.5, layer_dropout=0.5
    ),
}


def run(session: "onnxruntime.InferenceSession", tokens: Tensor, state: list[Tensor]):
    names = [given.name for given in session.get_inputs()]
    given = dict(zip(names, [tokens.numpy(), *(s.numpy() for s in state)], strict=True))
    return [torch.from_numpy(found) for found in session.run(None, given)]


@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_predicts_the_same(name, tmp_path):
    model = draw_model(Recipe(model=MODELS[name]), V, seed=0)
    Topology(model, method("static"), density=0.4, seed=1)
    path = tmp_path / "model.onnx"
    write_onnx(path, model)
    assert model.training
    model.eval()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    B = 4
    tokens = torch.randint(V, (7, B), generator=torch.Generator().manual_seed(2))
    expected, last = model(tokens)
    found, state = [], [torch.zeros_like(part) for part in last]
    for piece in tokens.split(1 if name == "rhn" else [5, 2]):
        log_probabilities, *state = run(session, piece, state)
        found.append(log_probabilities)
    torch.testing.assert_close(torch.cat(found), expected.log_softmax(-1).detach())
    for ours, theirs in zip(state, last, strict=True):
        torch.testing.assert_close(ours, theirs.detach())


def test_onnx_runtime_tells_the_same_class(tmp_path):
    recipe = Recipe(model=RowClassifier(columns=5, hidden_size=6, num_layers=2, dropout=0.5))
    model = draw_model(recipe, 3, seed=0)
    Topology(model, method("static"), density=0.4, seed=1)
    path = tmp_path / "model.onnx"
    write_onnx(path, model)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = torch.rand(7, 4, 5, generator=torch.Generator().manual_seed(2))
    [found] = run(session, rows, [])
    torch.testing.assert_close(found, model.eval()(rows).log_softmax(-1).detach())


def test_without_onnx_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    model = draw_model(Recipe(model=MODELS["rnn"]), V, seed=0)
    with pytest.raises(ValueError, match=r"pip install 'lsh-native\[onnx\]'"):
        write_onnx(tmp_path / "model.onnx", model)
    assert not list(tmp_path.iterdir())
