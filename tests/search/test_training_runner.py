"""The runner of language models: its checkpoints, its spectra, and what it refuses beforehand."""

from dataclasses import replace

import pytest
import torch

from lsh_native.data import generate_corpus
from lsh_native.lyapunov import NonFiniteTangentError, TooLittleMemoryError
from lsh_native.search.space import Space
from lsh_native.search.training_runner import SpectrumSettings, TrainingRunner
from lsh_native.search.trial import Diverged, OutOfMemory, Trial
from lsh_native.training import Recipe

SPECTRUM = SpectrumSettings(steps=10, state_warmup=5, tangent_warmup=5)
CORPUS = generate_corpus(seed=0, train_tokens=3000)


def make(folder, **changes):
    arguments = {
        "corpus": CORPUS,
        "recipe": Recipe(model={"hidden_size": 8, "embedding_size": 8}, epochs=4),
        "density": 0.3,
        "folder": folder,
        "spectrum_settings": SPECTRUM,
    }
    return TrainingRunner(**{**arguments, **changes})


def trial(epochs=0):
    return Trial(number=1, candidate=next(iter(Space(method=("rigl",)))), seed=3, epochs=epochs)


def comparable(records):
    """Records without what is measured by a clock."""
    names = ("non_zeros", "densities", "survival", "explored")
    return [
        (r.epoch, r.train_loss, r.valid_loss, r.density, r.tokens, *map(r.details.get, names))
        for r in records
    ]


def test_a_checkpoint_that_is_epochs_ahead_of_the_store(tmp_path):
    undisturbed, heard = [], []
    make(tmp_path / "undisturbed").run(trial(), 4, undisturbed.append)
    runner = make(tmp_path / "killed")
    runner.run(trial(), 1, lambda record: None)
    runner.run(trial(epochs=1), 3, lambda record: None)  # nobody hears of epochs 2 and 3
    runner.run(trial(epochs=1), 4, heard.append)
    assert [record.epoch for record in heard] == [2, 3, 4]
    assert comparable(heard) == comparable(undisturbed[1:])
    assert all(record.details["token_milliseconds"] > 0 for record in heard)


def test_a_checkpoint_keeps_what_is_not_known_to_be_stored_alone(tmp_path):
    runner = make(tmp_path)
    runner.run(trial(), 3, lambda record: None)
    assert set(runner.trainer(trial()).notes) == {"1", "2", "3"}
    runner.run(trial(epochs=3), 4, lambda record: None)
    assert set(runner.trainer(trial()).notes) == {"4"}


def trained(runner):
    """The trial after an epoch."""
    runner.run(trial(), 1, lambda record: None)
    return trial(epochs=1)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (TooLittleMemoryError("they must fit"), OutOfMemory),
        (NonFiniteTangentError("they must be finite"), Diverged),
        (ValueError("a fault of the program"), ValueError),
    ],
)
def test_what_a_spectrum_that_fails_says_of_its_trial(tmp_path, monkeypatch, raised, expected):
    runner = make(tmp_path)
    after = trained(runner)

    def fail(*_, **__):
        raise raised

    monkeypatch.setattr("lsh_native.search.training_runner.lyapunov_spectrum", fail)
    with pytest.raises(expected, match=str(raised)) as caught:
        runner.spectrum(after, 1)
    assert type(caught.value) is expected


def test_a_spectrum_gives_signs_of_life(tmp_path):
    heard = []
    runner = make(tmp_path, on_step=lambda trial, *step: heard.append(step))
    after = trained(runner)
    steps = len(heard)
    runner.spectrum(after, 1)
    assert len(heard) > steps + 5
    loss = runner.trainer(after).history[-1].train_loss
    assert set(heard[steps:]) == {(1, steps, steps, loss)}


def test_a_weight_that_is_not_finite_has_no_spectrum(tmp_path, monkeypatch):
    runner = make(tmp_path)
    after = trained(runner)
    trainer = runner.trainer(after)
    with torch.no_grad():
        trainer.model.decoder.bias[0] = torch.inf
    monkeypatch.setattr(TrainingRunner, "trainer", lambda self, trial: trainer)
    with pytest.raises(Diverged, match=r"decoder\.bias is not finite after epoch 1"):
        runner.spectrum(after, 1)


@pytest.mark.parametrize(
    ("family", "settings", "sentence"),
    [
        ("gru", {"reference": "lsh2022"}, "needs a stack of LSTM layers of one width, got SparseG"),
        ("lstm", {"k": 17}, "spectrum.k must be at most 16, the size of the state .*, got 17"),
        ("gru", {"k": 9}, "spectrum.k must be at most 8, the size of the state .*, got 9"),
    ],
)
def test_a_spectrum_that_the_model_has_not_is_refused(tmp_path, family, settings, sentence):
    recipe = Recipe(model={"family": family, "hidden_size": 8, "embedding_size": 8})
    with pytest.raises(ValueError, match=sentence):
        make(tmp_path, recipe=recipe, spectrum_settings=SpectrumSettings(**settings)).refuse(
            Space()
        )
    if "k" in settings:
        fits = SpectrumSettings(k=settings["k"] - 1)
        make(tmp_path, recipe=recipe, spectrum_settings=fits).refuse(Space())


def test_a_spectrum_along_all_of_the_validation_text(tmp_path):
    # 62 predictions in three columns: 21 rows to read, the last of them not in every column.
    corpus = replace(CORPUS, valid=CORPUS.valid[:63])
    settings = replace(SPECTRUM, steps=11, sequences=3)
    runner = make(tmp_path, corpus=corpus, spectrum_settings=settings)
    runner.run(trial(), 1, lambda record: None)
    assert runner.spectrum(trial(epochs=1), 1).conventions["steps"] == 11
    with pytest.raises(ValueError, match="for each of 3 sequences of the spectrum, got 21"):
        make(tmp_path, corpus=corpus, spectrum_settings=replace(settings, steps=12))
