"""The language model beside an independent plain one, and its dynamics beside dense Jacobians."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsh_native.lyapunov import lyapunov_spectrum
from lsh_native.lyapunov.lsh2022 import lsh2022_spectrum
from lsh_native.models import StackedLSTM
from lsh_native.nn import LanguageModel, SparseEmbedding, SparseLinear, SparseLSTM
from lsh_native.pruning import PruningMethod, method
from lsh_native.sparsity.topology import Topology

V, E, H, L = 13, 6, 5, 2
T, B = 7, 3


def draw(density: float | None = None, **options: Any) -> LanguageModel:
    """A model in float64; below density 1 every matrix gets a mask."""
    torch.manual_seed(2)
    init_range = options.pop("init_range", 0.3)
    record = StackedLSTM(
        embedding_size=H if options.get("tied") else E,
        hidden_size=H,
        num_layers=L,
        init_range=init_range,
        **options,
    )
    model = record.build(V, torch.float64)
    if density is not None:
        generator = torch.Generator().manual_seed(3)
        for module in (model.embedding, model.recurrent, model.decoder):
            if options.get("tied") and module is model.decoder:
                module.set_masks(model.embedding.masks())
                continue
            module.set_masks(
                {
                    name: torch.rand(mask.shape, generator=generator) < density
                    for name, mask in module.masks().items()
                }
            )
    return model


def tokens(steps: int = T, batch: int = B) -> Tensor:
    return torch.randint(V, (steps, batch), generator=torch.Generator().manual_seed(4))


def values(model: LanguageModel) -> dict[str, Tensor]:
    """All parameters by name, zero where masked, as leaves of their own."""
    masks = model.masks()
    return {
        name: (p.detach() * masks.get(name, torch.tensor(True))).requires_grad_()
        for name, p in model.named_parameters()
    }


def plain_model(
    weights: dict[str, Tensor], ids: Tensor, state: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and final (h, c), written out from the equations of an LSTM."""
    decoder = weights.get("decoder.weight", weights["embedding.weight"])
    x = torch.nn.functional.one_hot(ids, V).double() @ weights["embedding.weight"]
    last_h, last_c = [], []
    for i in range(L):
        ih, hh, b_ih, b_hh = (
            weights[f"recurrent.{name}_l{i}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h, c = (x.new_zeros(x.shape[1], H),) * 2 if state is None else (state[0][i], state[1][i])
        outputs = []
        for now in x:
            a = now @ ih.T + b_ih + h @ hh.T + b_hh
            write, forget, new, show = a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]
            c = forget.sigmoid() * c + write.sigmoid() * new.tanh()
            h = show.sigmoid() * c.tanh()
            outputs.append(h)
        x = torch.stack(outputs)
        last_h.append(h)
        last_c.append(c)
    return x @ decoder.T + weights["decoder.bias"], torch.stack(last_h), torch.stack(last_c)


def loss_of(logits: Tensor, ids: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())


# ------------------------------------------------------------------------------------------ results


@pytest.mark.parametrize("density", [None, 0.0, 0.4])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_logits_state_and_gradients(density: float | None, tied: bool) -> None:
    model, ids = draw(density, tied=tied), tokens()
    weights = values(model)
    logits, (h, c) = model(ids)
    expected = plain_model(weights, ids)
    assert logits.shape == (T, B, V)
    for found, wanted in zip((logits, h, c), expected, strict=True):
        torch.testing.assert_close(found, wanted)

    target = ids.roll(-1, 0)
    loss_of(logits, target).backward()
    loss_of(expected[0], target).backward()
    masks = model.masks()
    for name, parameter in model.named_parameters():
        gradient = weights[name].grad * masks.get(name, torch.tensor(True))
        torch.testing.assert_close(parameter.grad, gradient, msg=lambda m, n=name: f"{n}: {m}")


def test_dense_gradients() -> None:
    model, ids = draw(0.4), tokens()
    for module in (model.embedding, model.recurrent, model.decoder):
        module.gradient = "dense"
    weights = values(model)
    loss_of(model(ids)[0], ids).backward()
    loss_of(plain_model(weights, ids)[0], ids).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad)


@pytest.mark.parametrize("density", [None, 0.4])
def test_the_state_carries_over(density: float | None) -> None:
    model, ids = draw(density), tokens()
    whole, end = model(ids)
    first, state = model(ids[:3])
    second, last = model(ids[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(last, end)
    logits, h, c = plain_model(values(model), ids[3:], state)
    torch.testing.assert_close(second, logits)
    torch.testing.assert_close(last, (h, c))


def test_a_tied_weight_is_one_parameter() -> None:
    model = draw(tied=True)
    assert model.decoder.weight is model.embedding.weight
    assert "decoder.weight" not in dict(model.named_parameters())
    assert model.masks().keys() == {
        "embedding.weight",
        *(f"recurrent.weight_{kind}_l{i}" for kind in ("ih", "hh") for i in range(L)),
    }
    assert draw().masks().keys() == {*model.masks(), "decoder.weight"}
    copied = draw(tied=True)
    copied.load_state_dict(model.state_dict())
    assert copied.decoder.weight is copied.embedding.weight


def test_a_tied_model_needs_equal_sizes() -> None:
    embedding, decoder = SparseEmbedding(V, E), SparseLinear(H, V)
    message = r"shape in a tied model, got \(13, 5\) and \(13, 6\)"
    with pytest.raises(ValueError, match=message):
        LanguageModel(embedding, SparseLSTM(E, H), decoder, tied=True)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_initial_weights_in_their_range(tied: bool) -> None:
    model = draw(init_range=0.03, tied=tied)
    for name, parameter in model.named_parameters():
        if name == "decoder.bias":
            assert not parameter.any()
        else:
            assert 0.02 < float(parameter.detach().abs().max()) <= 0.03
            assert float(parameter.detach().min()) < 0


def test_dropout_in_training_only() -> None:
    model, ids = draw(0.4, dropout=0.5), tokens()
    logits, h, c = plain_model(values(model), ids)
    found, state = model.eval()(ids)
    torch.testing.assert_close(found, logits)
    torch.testing.assert_close(state, (h, c))
    torch.manual_seed(0)
    first = model.train()(ids)[0]
    torch.manual_seed(0)
    assert torch.equal(model(ids)[0], first)
    assert not torch.equal(model(ids)[0], first)


def test_dropout_of_one_layer_gives_no_warning() -> None:
    StackedLSTM(num_layers=1, dropout=0.5).build(V, torch.float32)(tokens())


def test_one_step_and_no_sequence() -> None:
    for density in (None, 0.4):
        model = draw(density)
        assert model(tokens(1, 1))[0].shape == (1, 1, V)
        assert model(tokens(4, 0))[0].shape == (4, 0, V)
        with pytest.raises(ValueError, match="at least one time step"):
            model(tokens(0, 3))


@pytest.mark.parametrize("density", [None, 0.4])
def test_tokens_outside_the_vocabulary(density: float | None) -> None:
    with pytest.raises(IndexError):
        draw(density)(torch.full((2, 2), V))


# ----------------------------------------------------------------------------------------- topology


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(
    "pruning", [method("static"), method("rigl", every=2)], ids=["static", "rigl"]
)
def test_training_under_a_topology(tied: bool, pruning: PruningMethod) -> None:
    """Masks of modules and topology agree after every step, and results with the plain model."""
    model, ids = draw(tied=tied), tokens()
    topology = Topology(model, pruning, density=0.3, seed=0, steps=6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for step in range(6):
        optimizer.zero_grad()
        weights = values(model)
        logits, _ = model(ids)
        loss_of(logits, ids).backward()
        expected = plain_model(weights, ids)[0]
        torch.testing.assert_close(logits, expected)
        loss_of(expected, ids).backward()
        dense = model.recurrent.gradient == "dense"
        for key, parameter in model.named_parameters():
            keep = model.masks().get(key, torch.tensor(True)) | dense
            torch.testing.assert_close(parameter.grad, weights[key].grad * keep)
        optimizer.step()
        topology.step(optimizer)
        for key, mask in topology.masks().items():
            assert torch.equal(model.masks()[key], mask), f"step {step}"
        assert torch.equal(
            model.decoder.masks()["weight"],
            topology.masks()["embedding.weight" if tied else "decoder.weight"],
        )
        assert sum(topology.counts().values()) == round(
            0.3 * sum(mask.numel() for mask in topology.masks().values())
        )


# ----------------------------------------------------------------------------------------- dynamics


def plain_states(model: LanguageModel, ids: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Inputs (T, B, ·) and states before each step (T, B, 2 H) of each layer."""
    weights = {name: value.detach() for name, value in values(model).items()}
    x = nn.functional.one_hot(ids, V).double() @ weights["embedding.weight"]
    found = []
    for i in range(L):
        state, states = x.new_zeros(x.shape[1], 2 * H), []
        for now in x:
            states.append(state)
            state = advance(weights, i, now, state)
        states.append(state)
        found.append((x, torch.stack(states[:-1])))
        x = torch.stack([after[:, :H] for after in states[1:]])
    return found


def advance(weights: dict[str, Tensor], i: int, x: Tensor, state: Tensor) -> Tensor:
    """One step of layer i for (h, c) side by side."""
    a = x @ weights[f"recurrent.weight_ih_l{i}"].T + weights[f"recurrent.bias_ih_l{i}"]
    a = a + state[..., :H] @ weights[f"recurrent.weight_hh_l{i}"].T
    write, forget, new, show = (a + weights[f"recurrent.bias_hh_l{i}"]).split(H, dim=-1)
    c = forget.sigmoid() * state[..., H:] + write.sigmoid() * new.tanh()
    return torch.cat([show.sigmoid() * c.tanh(), c], dim=-1)


@pytest.mark.parametrize("density", [None, 0.0, 0.4])
def test_tangent_maps_are_the_jacobians_of_each_layer(density: float | None) -> None:
    model, ids = draw(density, dropout=0.5), tokens()
    weights = {name: value.detach() for name, value in values(model).items()}
    maps = model.tangent_maps(ids, state_warmup=2)
    assert len(maps) == L
    units = torch.eye(2 * H, dtype=torch.float64).expand(B, -1, -1)
    for i, (x, states) in enumerate(plain_states(model, ids)):
        assert (maps[i].steps, maps[i].batch, maps[i].size) == (T - 2, B, 2 * H)
        for time in range(2, T):
            found = maps[i].apply(time - 2, units)
            assert not found.requires_grad
            for b in range(B):
                expected = torch.autograd.functional.jacobian(
                    lambda s, i=i, now=x[time, b]: advance(weights, i, now, s), states[time, b]
                )
                torch.testing.assert_close(found[b], expected, rtol=1e-9, atol=1e-12)


def test_its_spectrum_is_that_of_the_jacobians() -> None:
    model, ids = draw(0.4), tokens(60, 2)
    spectrum = lyapunov_spectrum(model, ids, state_warmup=5, tangent_warmup=10, sort=False)
    assert len(spectrum.exponents) == L * 2 * H
    weights = {name: value.detach() for name, value in values(model).items()}
    expected = []
    for i, (x, states) in enumerate(plain_states(model, ids)):
        growth = torch.zeros(2 * H, dtype=torch.float64)
        for b in range(2):
            Q = torch.eye(2 * H, dtype=torch.float64)
            for time in range(5, 60):
                jacobian = torch.autograd.functional.jacobian(
                    lambda s, i=i, now=x[time, b]: advance(weights, i, now, s), states[time, b]
                )
                Q, R = torch.linalg.qr(jacobian @ Q)
                if time >= 15:
                    growth += R.diagonal().abs().log() / (45 * 2)
        expected.append(growth)
    # the leading ones, which do not depend on how lost directions are treated
    for i in range(L):
        found = torch.tensor(spectrum.exponents[i * 2 * H : i * 2 * H + 5])
        torch.testing.assert_close(found, expected[i][:5], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("density", [None, 0.4])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_published_convention_sees_masked_weights(density: float | None, tied: bool) -> None:
    model, ids = draw(density, tied=tied, dropout=0.5), tokens(35, 2)
    found = lyapunov_spectrum(model, ids, reference="lsh2022")
    weights = {name: value.detach() for name, value in values(model).items()}
    layers = [
        tuple(
            weights[f"recurrent.{name}_l{i}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        for i in range(L)
    ]
    expected = lsh2022_spectrum(layers, weights["embedding.weight"][ids])
    assert len(found.exponents) == L * H
    torch.testing.assert_close(torch.tensor(found.exponents), torch.tensor(expected.exponents))
    for mine, theirs in zip(model.lstm_layers(), layers, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert torch.equal(a, b)
    assert torch.equal(model.layer_inputs(ids), weights["embedding.weight"][ids])
