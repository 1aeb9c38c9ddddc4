"""Every family of models beside its equations: losses, gradients, dynamics, records."""

from dataclasses import replace

import pytest
import torch
from plain_models import probabilities
from torch import Tensor

from lsh_native.lyapunov import lyapunov_spectrum
from lsh_native.models import (
    AWDLSTM,
    FAMILIES,
    RHN,
    RowClassifier,
    StackedGRU,
    StackedLSTM,
    StackedRNN,
    as_model,
    model_values,
)
from lsh_native.nn import LanguageModel, SparseModule, mean_loss
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology
from lsh_native.training import evaluate

V, T, B = 11, 6, 3
SHARES = {"embedding_dropout": 0.2, "input_dropout": 0.4, "output_dropout": 0.3}
MODELS = {
    "lstm": StackedLSTM(embedding_size=4, hidden_size=5, dropout=0.3),
    "tied lstm": StackedLSTM(embedding_size=5, hidden_size=5, tied=True, num_layers=1, dropout=0.3),
    "gru": StackedGRU(embedding_size=4, hidden_size=5, dropout=0.3),
    "rnn": StackedRNN(embedding_size=4, hidden_size=5, dropout=0.3),
    "rhn": RHN(
        embedding_size=5, hidden_size=5, depth=3, init_range=0.4, state_dropout=0.25, **SHARES
    ),
    "awd": AWDLSTM(
        embedding_size=4, hidden_sizes=(6, 4), experts=0, layer_dropout=0.2,
        weight_dropout=0.5, **SHARES,
    ),
    "mixture": AWDLSTM(
        embedding_size=4, hidden_sizes=(6, 5, 3), experts=3, layer_dropout=0.2,
        latent_dropout=0.3, weight_dropout=0.5, **SHARES,
    ),
}  # fmt: skip

each_model = pytest.mark.parametrize("name", MODELS)


def draw(name: str, density: float | None) -> LanguageModel:
    torch.manual_seed(1)
    model = MODELS[name].build(V, torch.float64)
    if density is not None:
        Topology(model, method("static"), density=density, seed=2)
    return model


def text() -> tuple[Tensor, Tensor]:
    ids = torch.randint(V, (T + 1, B), generator=torch.Generator().manual_seed(3))
    return ids[:-1], ids[1:]


@each_model
@pytest.mark.parametrize("limit", [10**9, 4 * V], ids=["whole", "slices"])
@pytest.mark.parametrize(
    ("density", "gradient"),
    [(None, "masked"), (0.5, "masked"), (0.5, "dense")],
    ids=["dense", "sparse", "dense gradient"],
)
def test_loss_and_gradients_are_those_of_the_equations(
    name: str, limit: int, density: float | None, gradient: str
) -> None:
    model, (ids, target) = draw(name, density), text()
    masks = model.masks()
    for module in model.modules():
        if isinstance(module, SparseModule):
            module.gradient = gradient
    weights = {
        key: (p.detach() * masks.get(key, torch.tensor(True))).requires_grad_()
        for key, p in model.named_parameters()
    }
    torch.manual_seed(4)
    hidden = model.encode(ids).hidden.flatten(0, 1)
    loss = mean_loss(model.decoder, hidden, target.flatten(), limit=limit)
    loss.backward()
    torch.manual_seed(4)
    expected = torch.nn.functional.nll_loss(
        probabilities(MODELS[name], weights, ids).flatten(0, 1), target.flatten()
    )
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for key, parameter in model.named_parameters():
        counts = masks.get(key, torch.tensor(True)) | (gradient == "dense")
        wanted = weights[key].grad * counts
        torch.testing.assert_close(parameter.grad, wanted, msg=lambda m, k=key: f"{k}: {m}")


@each_model
@pytest.mark.parametrize("batch_size", [1, 3])
def test_evaluation_predicts_every_token_once(name: str, batch_size: int) -> None:
    model = draw(name, 0.5)
    tokens = torch.randint(V, (24,), generator=torch.Generator().manual_seed(6))
    loss = evaluate(model, tokens, batch_size=batch_size, window=4)
    total = 0.0
    for start, end in ((0, 23),) if batch_size == 1 else ((0, 8), (8, 16), (16, 23)):
        with torch.no_grad():
            logits = model.eval()(tokens[start:end, None])[0][:, 0]
        expected = torch.nn.functional.cross_entropy(logits, tokens[start + 1 : end + 1])
        total += float(expected) * (end - start)
    assert loss == pytest.approx(total / 23, rel=1e-12)


@each_model
def test_a_call_gives_log_probabilities_up_to_a_constant(name: str) -> None:
    model, (ids, _) = draw(name, 0.5).eval(), text()
    record = replace(MODELS[name], **dict.fromkeys(
        (field for field in vars(MODELS[name]) if field.endswith("dropout")), 0.0
    ))  # fmt: skip
    weights = {
        key: p.detach() * model.masks().get(key, torch.tensor(True))
        for key, p in model.named_parameters()
    }
    if isinstance(record, AWDLSTM | RHN):  # a share of 0 draws nothing there
        torch.testing.assert_close(
            model(ids)[0].log_softmax(-1).detach(), probabilities(record, weights, ids)
        )
    first, state = model(ids[:2])
    assert all(isinstance(part, Tensor) for part in state)
    whole = model(ids)
    second, last = model(ids[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole[0])
    torch.testing.assert_close(last, whole[1])


@each_model
def test_its_dynamics_are_there(name: str) -> None:
    model = draw(name, 0.5)
    ids = torch.randint(V, (30, 2), generator=torch.Generator().manual_seed(5))
    spectrum = lyapunov_spectrum(model, ids, state_warmup=5, tangent_warmup=5, k=2)
    widths = getattr(MODELS[name], "hidden_sizes", None)
    assert len(spectrum.layers) == (len(widths) if widths else MODELS[name].num_layers)
    assert model.training


def test_the_published_convention_needs_layers_of_one_width() -> None:
    ids = torch.zeros(35, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="a stack of LSTM layers of one width, got LSTMStack"):
        lyapunov_spectrum(draw("awd", None), ids, reference="lsh2022")


def test_initial_weights_of_highways() -> None:
    model = RHN(embedding_size=8, hidden_size=8, depth=2).build(V, torch.float32)
    for name, parameter in model.named_parameters():
        if "weight" in name:
            assert 0.03 < float(parameter.detach().abs().max()) <= 0.04
        elif "recurrent" in name:
            h, t = parameter.detach().chunk(2)
            assert (h == 0).all()
            assert (t == -2).all()


@each_model
def test_a_record_comes_back_from_its_values(name: str) -> None:
    record = MODELS[name]
    assert as_model(model_values(record)) == record
    assert as_model(record) is record
    assert hash(record) == hash(as_model(model_values(record)))


def test_published_sizes() -> None:
    count = {
        name: sum(p.numel() for p in record.build(10_000, torch.float32).parameters()) / 1e6
        for name, record in {
            "rhn": RHN(),
            "lstm": StackedLSTM(embedding_size=1500, hidden_size=1500),
        }.items()
    }
    assert count["rhn"] == pytest.approx(23.5, abs=0.2)
    assert count["lstm"] == pytest.approx(66, abs=0.1)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"family": "transformer"}, ValueError, "model.family must be one of lstm, gru, rnn, rhn"),
        ({"family": "rhn", "dropout": 0.1}, ValueError, "family rhn has the fields .*got dropout"),
        ({"family": "rhn", "depth": 0}, ValueError, "depth must be at least 1, got 0"),
        ({"family": "rhn", "hidden_size": 9}, ValueError, "equal to hidden_size, got 830 and 9"),
        ({"family": "awd_lstm", "hidden_sizes": []}, TypeError, "hidden_sizes must be a list"),
        ({"family": "awd_lstm", "hidden_sizes": [3, 0]}, ValueError, "integers of at least 1"),
        ({"family": "awd_lstm", "experts": -1}, ValueError, "experts must be at least 1, got -1"),
        (
            {"family": "awd_lstm", "experts": 0, "tied": False, "latent_dropout": 0.1},
            ValueError,
            "latent_dropout must be 0 without experts, got 0.1",
        ),
        ({"family": "awd_lstm", "weight_dropout": 1}, ValueError, r"weight_dropout must be in \[0"),
        ("lstm", TypeError, "model must be a record or a table of fields, got 'lstm'"),
    ],
)
def test_bad_records(given: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_model(given)


def test_every_family_of_text_is_tested() -> None:
    of_text = {name for name, record in FAMILIES.items() if record.reads == "text"}
    assert {record.family for record in MODELS.values()} == of_text


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_classifier_is_torchs_layers_with_a_decision(cell: str) -> None:
    record = RowClassifier(cell=cell, columns=4, hidden_size=5, num_layers=2)
    assert as_model(model_values(record)) == record
    torch.manual_seed(1)
    model = record.build(3, torch.float64)
    Topology(model, method("static"), density=0.5, seed=2)
    x, target = torch.rand(T, B, 4, dtype=torch.float64), torch.arange(B)
    recurrent, decoder = model.recurrent.to_dense(), model.decoder.to_dense()
    loss = torch.nn.functional.cross_entropy(model(x), target)
    expected = torch.nn.functional.cross_entropy(decoder(recurrent(x)[0][-1]), target)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    plain = {f"recurrent.{name}": p.grad for name, p in recurrent.named_parameters()}
    plain |= {f"decoder.{name}": p.grad for name, p in decoder.named_parameters()}
    for name, mask in model.masks().items():
        torch.testing.assert_close(model.get_parameter(name).grad, plain[name] * mask)
