"""Training by live values takes the steps that training by dense weights takes."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsh_native.models import AWDLSTM, RHN, Model, StackedLSTM
from lsh_native.nn import LanguageModel, LiveWeights, SparseLinear, mean_loss
from lsh_native.sparsity.mask import draw_mask
from lsh_native.sparsity.zero_dead import zero_dead_
from lsh_native.training import AveragedSGD, LiveAdam

V, T, B = 31, 5, 3
RECORDS = (
    StackedLSTM(embedding_size=12, hidden_size=10),
    StackedLSTM(embedding_size=12, hidden_size=12, tied=True),
    RHN(embedding_size=8, hidden_size=8, depth=2),
    AWDLSTM(embedding_size=8, hidden_sizes=(10, 8), experts=2),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw_model(record: Model, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    model = record.build(V, torch.float64).eval()  # without dropout, with gradients
    draw_masks(model, seed)
    return model


def draw_masks(model: LanguageModel, seed: int) -> None:
    generator, drawn = torch.Generator().manual_seed(seed), {}
    for module in model.modules():
        if not hasattr(module, "set_masks"):
            continue
        for name, weight in module.named_parameters(recurse=False):
            if name in module.maskable and weight not in drawn:
                count = round(0.3 * weight.numel())
                drawn[weight] = draw_mask(count, weight.shape, generator)
        own = dict(module.named_parameters(recurse=False))
        module.set_masks({name: drawn[own[name]] for name in module.maskable})


def clear_dead(model: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
    """What a topology does after a step."""
    weights = dict(model.named_parameters())
    for name, mask in model.masks().items():
        weight = weights[name]
        state = optimizer.state.get(weight, {}).values()
        zero_dead_([weight, *(part for part in state if part.shape == mask.shape)], mask)


def loss_of(model: LanguageModel, limit: int = 2**23) -> Tensor:
    tokens, target = torch.randint(V, (2, T, B), generator=torch.Generator().manual_seed(3))
    hidden = model.encode(tokens).hidden.flatten(0, 1)
    return mean_loss(model.decoder, hidden, target.flatten(), limit=limit)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.family)
@pytest.mark.parametrize("limit", [2**23, 3 * V])
def test_steps_are_those_of_dense_weights(record: Model, limit: int) -> None:
    model, live = draw_model(record), LiveWeights()
    dense = copy.deepcopy(model)
    trained, parameters = live.parameters(model), list(dense.parameters())
    optimizers = [torch.optim.Adam(group, lr=0.01) for group in (trained, parameters)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        with live:
            torch.autograd.backward(loss_of(model, limit))
        torch.autograd.backward(loss_of(dense, limit))
        norms = [nn.utils.clip_grad_norm_(group, 0.1) for group in (trained, parameters)]
        torch.testing.assert_close(norms[0], norms[1], rtol=1e-10, atol=1e-12)
        for optimizer in optimizers:
            optimizer.step()
        live.write_()
    assert sum(weight.grad is None for weight in model.parameters()) >= 3
    for (name, found), expected in zip(model.named_parameters(), parameters, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=name)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": partial(AveragedSGD, lr=0.5),
    "averaging": partial(AveragedSGD, lr=0.5),
    "adam": partial(LiveAdam, lr=0.01),
    "adamw": partial(LiveAdam, lr=0.01, decoupled=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_follows_masks_and_foreign_changes(name: str) -> None:
    model, live = draw_model(RECORDS[1]), LiveWeights()
    clear_dead(model, torch.optim.SGD(model.parameters()))
    dense = copy.deepcopy(model)
    models = model, dense
    optimizers = [
        OPTIMIZERS[name](m.parameters(), weight_decay=0.01, live=given)
        for m, given in zip(models, (live, None), strict=True)
    ]
    for step in range(6):
        for optimizer in optimizers:
            optimizer.zero_grad()
            if name == "averaging" and step == 1:
                optimizer.start_averaging()
        with live:
            torch.autograd.backward(loss_of(model))
        torch.autograd.backward(loss_of(dense))
        for one in models:
            if step == 2:  # another mask, as a topology sets it
                draw_masks(one, seed=7)
        if step != 2:
            for optimizer in optimizers:
                optimizer.step()
        for one, optimizer in zip(models, optimizers, strict=True):
            if one is dense or step == 2:  # else nothing was moved there
                clear_dead(one, optimizer)
        with torch.no_grad():
            for one in models:
                if step == 3:
                    one.recurrent.weight_hh_l0.mul_(1.5)
        masks = model.masks()
        for (name, found), expected in zip(
            model.named_parameters(), dense.parameters(), strict=True
        ):
            live_only = masks.get(name, torch.ones_like(found).bool())
            pairs = [(found, expected)]
            for key, value in optimizers[1].state.get(expected, {}).items():
                if value.shape != expected.shape:
                    assert optimizers[0].state[found][key] == value
                    continue
                pairs.append((optimizers[0].state[found][key], value))
            for ours, theirs in pairs:
                torch.testing.assert_close(
                    ours[live_only], theirs[live_only], rtol=1e-9, atol=1e-12, msg=name
                )


def test_only_calls_within_read_leaves_and_evaluation_reads_weights() -> None:
    model, live = SparseLinear(6, 5, density=0.5), LiveWeights()
    leaf, _ = sorted(live.parameters(model), key=lambda p: -p.numel())
    with torch.no_grad():
        leaf += 1
    x = torch.ones(1, 6)
    with live:
        inside = model(x)
        with torch.no_grad():
            before = model(x)
    assert torch.equal(before, model(x))
    assert not torch.equal(inside, before)
    live.write_()
    torch.testing.assert_close(inside, model(x))
    assert int(model.weight.count_nonzero()) >= leaf.numel()


def refuse_masks(model: SparseLinear, live: LiveWeights) -> None:
    model.set_masks({"weight": ~model.masks()["weight"]})
    with live:
        model(torch.ones(1, 6))


def refuse_dense_gradient(model: SparseLinear, live: LiveWeights) -> None:
    model.gradient = "dense"
    with live:
        model(torch.ones(1, 6))


def refuse_late_write(model: SparseLinear, live: LiveWeights) -> None:
    with torch.no_grad():
        model.weight.zero_()
    live.write_()


@pytest.mark.parametrize("misuse", [refuse_masks, refuse_dense_gradient, refuse_late_write])
def test_misuse_is_refused(misuse: Callable[[SparseLinear, LiveWeights], None]) -> None:
    model, live = SparseLinear(6, 5, density=0.5), LiveWeights()
    live.parameters(model)
    with pytest.raises(RuntimeError, match="must"):
        misuse(model, live)


def test_two_masks_of_one_weight_are_refused() -> None:
    one, other = (SparseLinear(6, 5, density=0.5) for _ in range(2))
    other.weight = one.weight
    live = LiveWeights()
    with live, pytest.raises(RuntimeError, match="one mask"):
        one(torch.ones(1, 6)) + other(torch.ones(1, 6))
