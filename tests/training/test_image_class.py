"""A classifier of images under the trainer: beside a plain loop, stopped anywhere, refused."""

import random

import pytest
import torch
from test_features import complete
from test_trainer import assert_same, make_corpus
from torch import nn

from lsh_native.data import Images, digits, image_batches
from lsh_native.models import RowClassifier, StackedLSTM
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology
from lsh_native.training import Recipe, Trainer, draw_model, evaluate_classifier

CLASSES, ROWS, COLUMNS = 3, 4, 5
RECIPE = Recipe(
    model=RowClassifier(columns=COLUMNS, hidden_size=6, num_layers=2, dropout=0.3),
    batch_size=7, epochs=3, optimizer="adam", learning_rate=0.02, clip=0.25, clip_norm="masked",
    evaluation_batch_size=4,
)  # fmt: skip


def make_images(count: int = 66) -> Images:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (count + 12,), generator=generator)
    images = torch.rand(count + 12, ROWS, COLUMNS, generator=generator)
    images[torch.arange(count + 12), :, labels] += 1  # the class is the brightest column
    return Images(
        name="stripes", train=images[12:], train_labels=labels[12:],
        test=images[:12], test_labels=labels[:12], classes=CLASSES,
    ).held_out()  # fmt: skip


def make(recipe: Recipe = RECIPE, sparse: bool = True, model_seed: int = 0) -> Trainer:
    images, model = make_images(), draw_model(recipe, CLASSES, seed=model_seed)
    topology = None
    if sparse:
        steps = recipe.steps_per_epoch(len(images.train))
        changes = method("rigl", every=4)
        topology = Topology(model, changes, density=0.4, seed=5, steps=steps * recipe.epochs)
    return Trainer(model, images, recipe, topology=topology, seed=1)


def test_agrees_with_a_plain_loop() -> None:
    recipe = RECIPE.changed(dropout=0.0, dtype="float64", epochs=2, decay_start=1, clip=1e6)
    recipe = recipe.changed(weight_decay=0)
    trainer, images = make(recipe, sparse=False), make_images()
    plain = nn.LSTM(COLUMNS, 6, 2).double()
    decoder = nn.Linear(6, CLASSES).double()
    plain.load_state_dict(dict(trainer.model.recurrent.named_parameters()))
    decoder.load_state_dict(dict(trainer.model.decoder.named_parameters()))
    optimizer = torch.optim.Adam([*plain.parameters(), *decoder.parameters()], lr=0.02)
    for epoch in range(2):
        result = trainer.train_epoch()
        order = torch.randperm(len(images.train), generator=generator_of(epoch))
        for chosen in order.split(7):
            x = images.train[chosen].double().transpose(0, 1)
            logits = decoder(plain(x)[0][-1])
            loss = nn.functional.cross_entropy(logits, images.train_labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        logits = decoder(plain(images.valid.double().transpose(0, 1))[0][-1])
    loss = nn.functional.cross_entropy(logits, images.valid_labels)
    assert result.valid_loss == pytest.approx(loss.item(), rel=1e-9)
    right = (logits.argmax(1) == images.valid_labels).double().mean()
    assert result.accuracy == pytest.approx(right.item())


def generator_of(epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(1 + (epoch << 32))


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_interrupted_at_twenty_random_steps_is_uninterrupted(tmp_path, sparse) -> None:
    whole = complete(make(sparse=sparse))
    stops = random.Random(sparse).sample(range(1, whole.total_steps), 20)
    trainer = make(sparse=sparse)
    for stop in sorted(stops):

        def give_up(*_, trainer=trainer, stop=stop) -> None:
            if trainer.total_steps == stop:
                trainer.save(tmp_path / "checkpoint")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            complete(trainer, give_up)
        trainer = make(sparse=sparse, model_seed=stop)
        trainer.load(tmp_path / "checkpoint")
    assert_same(complete(trainer), whole)


def test_parts_of_a_batch_make_the_same_step() -> None:
    base = RECIPE.changed(dropout=0.0, dtype="float64", epochs=1)
    whole, parts = (complete(make(base.changed(micro_batches=n), sparse=False)) for n in (1, 5))
    for ours, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_it_learns_which_column_is_bright() -> None:
    trainer = complete(make(RECIPE.changed(epochs=12, dropout=0.0), sparse=False))
    assert trainer.history[0].valid_loss > 0.8
    assert trainer.history[-1].accuracy == 1
    images = make_images()
    found = evaluate_classifier(trainer.model, images.test, images.test_labels, batch_size=5)
    assert found.accuracy == 1
    assert trainer.model.training


def test_batches_are_every_image_once() -> None:
    images = make_images()
    generator = torch.Generator().manual_seed(0)
    batches = list(image_batches(images.train, images.train_labels, 7, generator))
    assert {tuple(batch.input.shape) for batch in batches[:-1]} == {(ROWS, 7, COLUMNS)}
    read = torch.cat([batch.input.transpose(0, 1) for batch in batches])
    assert torch.equal(read.sum((1, 2)).sort()[0], images.train.sum((1, 2)).sort()[0])
    [first] = image_batches(images.test, images.test_labels, 99)
    assert torch.equal(first.target, images.test_labels)


def test_what_is_held_out() -> None:
    images = make_images()
    assert (len(images.train), len(images.valid)) == (60, 6)
    fewer = images.held_out(share=0.5, limit=8)
    assert (len(fewer.train), len(fewer.valid)) == (4, 4)
    assert fewer.hash != images.hash
    assert images.hash == make_images().hash
    assert images.vocabulary.tokens == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"must be in .0, 1. and leave images .* got 1.0 of"):
        images.held_out(share=1.0)


def test_what_does_not_belong_together_is_refused() -> None:
    model = draw_model(RECIPE, CLASSES, seed=0)
    with pytest.raises(ValueError, match="row_classifier must be given images, got noise, which"):
        Trainer(model, make_corpus(), RECIPE, seed=0)
    of_text = Recipe(model=StackedLSTM(embedding_size=4, hidden_size=4))
    with pytest.raises(ValueError, match="lstm must be given text, got stripes, which is images"):
        Trainer(draw_model(of_text, 9, seed=0), make_images(), of_text, seed=0)
    with pytest.raises(ValueError, match="columns must be those of digits, 8, got 5"):
        Trainer(model, digits().held_out(), RECIPE, seed=0)
    with pytest.raises(ValueError, match="digits must have images held out for validation"):
        Trainer(model, digits(), RECIPE, seed=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "sum"}, "loss must be mean for a model that reads images, got sum"),
        ({"temporal_penalty": 1}, "temporal_penalty must be 0 for a model that reads images"),
        ({"window_spread": 2}, "window_spread must be 0 for a model that reads images, got 2"),
        ({"cell": "transformer"}, "cell must be lstm or gru or rnn, got 'transformer'"),
        ({"columns": 0}, "columns must be at least 1, got 0"),
    ],
)
def test_contradictions_are_refused(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        RECIPE.changed(**fields)
