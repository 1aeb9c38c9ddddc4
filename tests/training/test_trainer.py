"""A trainer against a plain loop, interrupted anywhere, and when numbers go wrong."""

import math
from functools import partial

import pytest
import torch
from plain_language_model import PlainLanguageModel
from torch import nn

from lsh_native.data import WORDS, Corpus, Vocabulary
from lsh_native.models import StackedLSTM
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology
from lsh_native.training.checkpoint import CheckpointError, load_checkpoint
from lsh_native.training.evaluate import evaluate, perplexity
from lsh_native.training.model import draw_model, load_model_state_
from lsh_native.training.optim import averaged_parameters, averaging_is_due
from lsh_native.training.recipe import Recipe
from lsh_native.training.result import DivergedError
from lsh_native.training.trainer import Trainer

V = 9
RECIPE = Recipe(
    model=StackedLSTM(embedding_size=6, hidden_size=6, dropout=0.3),
    batch_size=4,
    window=5,
    epochs=4,
    optimizer="sgd",
    learning_rate=6.0,
    clip=0.25,
    decay_start=1.0,
    nonmono=1,
    evaluation_batch_size=3,
)


def altered(**fields):
    return RECIPE.changed(**fields)


OTHER = StackedLSTM(embedding_size=7, hidden_size=6)
STEPS = 12  # 230 tokens in 4 columns of 57 are 11 windows of 5 targets and one of 1


def make_corpus(seed=0):
    generator = torch.Generator().manual_seed(seed)
    train, valid, test = (torch.randint(V, (n,), generator=generator) for n in (230, 60, 60))
    vocabulary = Vocabulary(tokens=tuple("abcdefghi"))
    return Corpus(
        name="noise", level=WORDS, vocabulary=vocabulary, train=train, valid=valid, test=test
    )


def make_plain_model(seed=0, recipe=RECIPE):
    model = PlainLanguageModel(V, recipe.model.hidden_size, dropout=recipe.model.dropout)
    model.load_state_dict(draw_model(recipe, V, seed=seed).state_dict())
    return model


METHODS = {
    "static": lambda: method("static"),
    "every step": lambda: method("dynamic", every=1, drop_fraction=0.5, redistribute="nonzeros"),
    "once per epoch": lambda: method("dynamic", every=STEPS, begin=1, drop="set"),
    "gradient growth": lambda: method("rigl", every=5),
    "falling density": lambda: method("gradual_magnitude", every=3),
}


def make_trainer(kind=None, *, model_seed=0, recipe=RECIPE, seed=1, corpus=None, model=None):
    model = model or draw_model(recipe, V, seed=model_seed)
    topology = None
    if kind is not None:
        steps = recipe.epochs * STEPS
        topology = Topology(model, METHODS[kind](), density=0.4, seed=5, steps=steps)
    return Trainer(model, corpus or make_corpus(), recipe, topology=topology, seed=seed)


def results(trainer):
    """All that was measured but the time it took."""
    return [
        {name: value for name, value in vars(result).items() if "seconds" not in name}
        for result in trainer.history
    ]


def assert_same_tensors(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(tensor, theirs[name]), name
        else:
            assert tensor == theirs[name], name


def assert_same(ours, theirs):
    """Bit for bit the same weights, masks, averages, random numbers and measurements."""
    assert results(ours) == results(theirs)
    assert_same_tensors(ours.model.state_dict(), theirs.model.state_dict())
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert_same_tensors(ours.optimizer.state.get(a, {}), theirs.optimizer.state.get(b, {}))
    assert_same_tensors(ours._random.state_dict(), theirs._random.state_dict())
    if ours.topology is not None:
        assert_same_tensors(ours.topology.state_dict(), theirs.topology.state_dict())
    assert (ours.best.epoch, ours.best.valid_loss) == (theirs.best.epoch, theirs.best.valid_loss)
    assert_same_tensors(ours.best.state, theirs.best.state)


def finish(trainer, on_step=None):
    while trainer.epoch < trainer.recipe.epochs:
        trainer.train_epoch(on_step)
    return trainer


def test_agrees_with_a_plain_loop():
    recipe = altered(dropout=0.0, weight_decay=0.01, epochs=2, decay_start=0.5)
    corpus, plain = make_corpus(), make_plain_model()
    plain.eval()  # without dropout
    trainer = make_trainer(recipe=recipe, corpus=corpus)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0, weight_decay=0.01)
    text = corpus.train[:228].view(4, 57)
    for epoch in range(2):
        result = trainer.train_epoch()
        state, total = None, 0.0
        for step in range(STEPS):
            last = min(5 * step + 5, 56)
            read, follow = text[:, 5 * step : last], text[:, 5 * step + 1 : last + 1]
            logits, state = plain(read.t(), state)
            state = tuple(part.detach() for part in state)
            loss = nn.functional.cross_entropy(
                logits.transpose(0, 1).flatten(0, 1), follow.flatten()
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(plain.parameters(), recipe.clip)
            progress = (epoch * STEPS + step) / (2 * STEPS)
            cosine = (1 + math.cos(math.pi * (progress - 0.5) / 0.5)) / 2 if progress > 0.5 else 1
            optimizer.param_groups[0]["lr"] = 6 * (0.02 + 0.98 * cosine)
            optimizer.step()
            total += loss.item() * follow.numel()
        assert result.train_loss == pytest.approx(total / 224, rel=1e-5)
        assert result.learning_rate == optimizer.param_groups[0]["lr"]
        for ours, theirs in zip(trainer.model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_epoch_result():
    corpus = make_corpus()
    trainer = make_trainer("static", corpus=corpus)
    result = trainer.train_epoch()
    valid = evaluate(trainer.model, corpus.valid, batch_size=3, window=5)
    assert (result.epoch, result.tokens, result.averaging) == (1, 224, False)
    assert result.valid_loss == valid
    assert result.perplexity == perplexity(valid)
    assert result.density == pytest.approx(0.4, abs=1e-3)
    assert 0 < result.train_seconds < result.seconds
    assert trainer.history == [result]
    assert trainer.epoch == 1


def test_learns_a_text_without_chance():
    tokens = torch.arange(230) % V
    corpus = make_corpus()
    corpus = Corpus(
        name="cycle",
        level=WORDS,
        vocabulary=corpus.vocabulary,
        train=tokens,
        valid=tokens[:60],
        test=tokens[:60],
    )
    recipe = altered(dropout=0.0, epochs=30, learning_rate=4, clip=1, nonmono=None)
    trainer = finish(make_trainer(recipe=recipe, corpus=corpus))
    assert trainer.history[0].perplexity > 5
    assert trainer.best.valid_loss < math.log(2)


@pytest.mark.parametrize("kind", [None, *METHODS])
@pytest.mark.parametrize("stop", [0, 1, 9, 12, 13, 22, 24, 31, 36, 41])
def test_interrupted_is_uninterrupted(tmp_path, kind, stop):
    path = tmp_path / "trial.safetensors"

    def average_from_step_15(trainer, save_at=None):
        def on_step(step, steps, loss):
            done = trainer.epoch * STEPS + step
            if done == 15:
                trainer.optimizer.start_averaging()
            if done == save_at:
                trainer.save(path)

        return on_step

    whole = make_trainer(kind)
    if stop == 0:
        whole.save(path)
    finish(whole, average_from_step_15(whole, save_at=stop))
    assert [result.averaging for result in whole.history] == [False, True, True, True]

    torch.rand(stop)  # the caller's own random numbers stand elsewhere
    resumed = make_trainer(kind, model_seed=7)
    resumed.load(path)
    assert resumed.epoch == max(0, stop - 1) // STEPS
    assert_same(finish(resumed, average_from_step_15(resumed)), whole)


@pytest.mark.parametrize("kind", [None, "gradient growth"])
def test_interrupted_is_uninterrupted_for_any_model(tmp_path, kind):
    path = tmp_path / "trial.safetensors"
    whole = make_trainer(kind, model=make_plain_model())
    finish(whole, lambda step, *_: step == 7 and whole.epoch == 2 and whole.save(path))
    resumed = make_trainer(kind, model=make_plain_model(seed=7))
    resumed.load(path)
    assert_same(finish(resumed), whole)


@pytest.mark.parametrize("kind", [None, "gradient growth"])
def test_checkpoint_between_epochs(tmp_path, kind):
    path = tmp_path / "trial.safetensors"
    whole = finish(make_trainer(kind))
    part = make_trainer(kind)
    while part.epoch < RECIPE.epochs:
        part.train_epoch()
        part.save(path)
        part = make_trainer(kind, model_seed=part.epoch)
        part.load(path)
    assert_same(part, whole)


def test_a_checkpoint_keeps_the_notes_of_its_owner(tmp_path):
    path = tmp_path / "trial.safetensors"
    trainer, other = make_trainer(None), make_trainer(None)
    trainer.notes = {"1": {"survival": 0.5}}
    trainer.save(path)
    other.load(path)
    assert other.notes == {"1": {"survival": 0.5}}


def test_stopped_from_outside_and_continued():
    def stop(step, steps, loss):
        if step == 7:
            raise KeyboardInterrupt

    trainer = make_trainer("every step")
    with pytest.raises(KeyboardInterrupt):
        trainer.train_epoch(stop)
    assert_same(finish(trainer), finish(make_trainer("every step")))


def test_on_step():
    heard = []
    trainer = make_trainer()
    result = trainer.train_epoch(lambda *step: heard.append(step))
    assert [(step, steps) for step, steps, _ in heard] == [(i + 1, STEPS) for i in range(STEPS)]
    weights = [20] * 11 + [4]
    total = sum(w * loss for w, (_, _, loss) in zip(weights, heard, strict=True))
    assert result.train_loss == pytest.approx(total / 224)


def test_dropout_is_the_trainers_alone():
    quiet = make_trainer()
    before = torch.get_rng_state()
    finish(quiet)
    assert torch.equal(torch.get_rng_state(), before)
    noisy = finish(make_trainer(), lambda *step: torch.rand(5))
    assert_same(noisy, quiet)
    other = finish(make_trainer(seed=2))
    assert results(other) != results(quiet)


def test_masks_change_after_the_evaluation():
    """With `begin=1` an epoch ends with the masks it was evaluated with."""
    trainer = make_trainer("once per epoch")
    for _ in range(3):
        before = trainer.topology.masks()
        at_step = []
        trainer.train_epoch(
            lambda *_, seen=at_step: seen.append(trainer.topology.masks()["decoder.weight"])
        )
        after = trainer.topology.masks()["decoder.weight"]
        assert all(torch.equal(mask, after) for mask in at_step)
        assert torch.equal(before["decoder.weight"], after) == (trainer.epoch == 1)


def test_dead_connections_are_zero_in_weights_averages_and_best():
    trainer = make_trainer("every step")
    trainer.optimizer.start_averaging()
    finish(trainer)
    for name, mask in trainer.topology.masks().items():
        weight = trainer.model.get_parameter(name)
        assert not weight[~mask].any()
        for value in trainer.optimizer.state[weight].values():
            assert not value[~mask].any()
        with averaged_parameters(trainer.optimizer):
            assert not weight[~mask].any()
        assert not trainer.best.state[name][~trainer.best.state[f"{name}_mask"]].any()


def test_average_of_a_grown_connection_starts_anew():
    trainer = make_trainer("once per epoch")
    trainer.optimizer.start_averaging()
    trainer.train_epoch()
    before = trainer.topology.masks()["decoder.weight"]
    ages = []
    weight = trainer.model.decoder.weight
    trainer.train_epoch(lambda *_: ages.append(trainer.optimizer.state[weight]["age"].clone()))
    after = trainer.topology.masks()["decoder.weight"]
    assert (after & ~before).any()
    for step, age in enumerate(ages):
        assert (age[after & ~before] == step).all()  # grown at the end of the first step
        assert (age[~after] == 0).all()
    assert (ages[-1][after & before].max() == 2 * STEPS).all()


def test_evaluates_averages_and_keeps_the_best():
    corpus = make_corpus()
    recipe = altered(epochs=6, learning_rate=20)  # too fast to get better for long
    trainer = finish(make_trainer(recipe=recipe, corpus=corpus))
    losses = [result.valid_loss for result in trainer.history]
    due = [any(averaging_is_due(losses[:end], 1) for end in range(epoch)) for epoch in range(1, 7)]
    assert [result.averaging for result in trainer.history] == due
    assert due[-1]
    own = evaluate(trainer.model, corpus.valid, batch_size=3, window=5)
    with averaged_parameters(trainer.optimizer):
        shown = evaluate(trainer.model, corpus.valid, batch_size=3, window=5)
    assert shown == trainer.history[-1].valid_loss != own

    best = min(trainer.history, key=lambda result: result.valid_loss)
    assert (trainer.best.epoch, trainer.best.valid_loss) == (best.epoch, best.valid_loss)
    model = draw_model(RECIPE, V, seed=9)
    load_model_state_(model, trainer.best.state)
    assert evaluate(model, corpus.valid, batch_size=3, window=5) == best.valid_loss


def test_all_epochs_are_done():
    trainer = finish(make_trainer())
    with pytest.raises(ValueError, match="the recipe ends after 4 epochs, and all are done"):
        trainer.train_epoch()


def poison(trainer, step, value):
    """Make the model's logits not finite from a step of the epoch on."""

    def on_step(done, steps, loss):
        if done == step - 1:
            trainer.model.decoder.bias.data[0] = value

    return on_step


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite(tmp_path, value):
    path = tmp_path / "trial.safetensors"
    trainer = make_trainer()
    trainer.train_epoch()
    trainer.save(path)
    good = path.read_bytes()
    message = "training diverged in step 5 of epoch 2: the training loss must be finite, got nan"
    with pytest.raises(DivergedError, match=message) as caught:
        trainer.train_epoch(poison(trainer, 5, value))
    assert (caught.value.epoch, caught.value.step) == (2, 5)
    assert caught.value.quantity == "training loss"
    assert math.isnan(caught.value.value)
    for use in (partial(trainer.save, path), trainer.train_epoch):
        with pytest.raises(RuntimeError, match="step 5 of epoch 2 did not end well"):
            use()
    assert path.read_bytes() == good
    trainer.load(path)
    assert_same(finish(trainer), finish(make_trainer()))


def test_gradient_that_is_not_finite():
    trainer = make_trainer()
    trainer.model.decoder.bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(DivergedError, match="step 1 of epoch 1: the gradient norm must be finite"):
        trainer.train_epoch()
    fresh = make_trainer()
    assert_same_tensors(trainer.model.state_dict(), fresh.model.state_dict())


def test_weight_that_is_not_finite_is_not_saved(tmp_path):
    path = tmp_path / "trial.safetensors"
    trainer = make_trainer()
    trainer.save(path)
    good = path.read_bytes()
    trainer.model.decoder.bias.data[0] = math.inf
    with pytest.raises(DivergedError, match=r"the sum of decoder.bias must be finite, got inf"):
        trainer.save(path)
    assert path.read_bytes() == good


@pytest.mark.parametrize(
    ("value", "quantity"), [(math.nan, "validation loss"), (-1e30, "validation perplexity")]
)
def test_evaluation_that_is_not_finite(value, quantity):
    trainer = make_trainer()
    with pytest.raises(DivergedError, match=f"step 12 of epoch 1: the {quantity}") as caught:
        trainer.train_epoch(poison(trainer, STEPS + 1, value))
    assert caught.value.step == STEPS
    assert trainer.history == []
    assert trainer.best is None


def test_topology_that_meets_nan():
    trainer = make_trainer("every step")
    step = trainer.optimizer.step

    def poisoned_step():
        step()
        trainer.model.decoder.weight.data.fill_(math.nan)

    trainer.optimizer.step = poisoned_step
    with pytest.raises(DivergedError, match="step 1 of epoch 1: the weights and gradients"):
        trainer.train_epoch()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: make_trainer("static", seed=2), "belongs to another run: seed is 1 there and 2"),
        (lambda: make_trainer(), "sparse is True there and False here"),
        (
            lambda: make_trainer("static", recipe=altered(clip=1, epochs=5)),
            "recipe.clip is 0.25 there and 1.0 here; recipe.epochs is 4 there and 5 here",
        ),
        (
            lambda: make_trainer("static", corpus=make_corpus(seed=1)),
            "belongs to another run: corpus is '",
        ),
        (
            lambda: make_trainer("static", model=make_plain_model()),
            "does not fit: the model's tensors",
        ),
        (
            lambda: make_trainer("static", model=OTHER.build(V, torch.float32)),
            r"does not fit: embedding.weight must be \(9, 7\) of torch.float32, got \(9, 6\)",
        ),
        (
            lambda: make_trainer("every step"),
            "does not fit: the state must be of the same topology",
        ),
    ],
)
def test_checkpoint_of_another_run(tmp_path, other, message):
    path = tmp_path / "trial.safetensors"
    trainer = make_trainer("static")
    trainer.train_epoch()
    trainer.save(path)
    trainer = other()
    before = {name: w.clone() for name, w in trainer.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        trainer.load(path)
    assert_same_tensors(trainer.model.state_dict(), before)
    assert trainer.epoch == 0


def test_checkpoint_holds_plain_tensors_by_name(tmp_path):
    path = tmp_path / "trial.safetensors"
    trainer = make_trainer("static")
    trainer.train_epoch()
    trainer.optimizer.start_averaging()
    trainer.save(path)
    tensors, metadata = load_checkpoint(path)
    assert torch.equal(tensors["model.decoder.bias"], trainer.model.decoder.bias)
    assert torch.equal(
        tensors["topology.mask.decoder.weight"], trainer.topology.masks()["decoder.weight"]
    )
    assert tensors["optimizer.age.recurrent.weight_hh_l0"].shape == (24, 6)
    assert metadata["history"][0]["valid_loss"] == trainer.history[0].valid_loss
    assert metadata["recipe"] == RECIPE.to_dict()


def test_text_shorter_than_a_window():
    corpus = make_corpus()
    recipe = altered(window=60)
    with pytest.raises(ValueError, match=r"training needs at least 244 tokens.* got 230"):
        make_trainer(recipe=recipe, corpus=corpus)
