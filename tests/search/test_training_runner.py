"""The runner of language models: its checkpoints, its spectra, and what it refuses beforehand."""

from lsh_native.data import generate_corpus
from lsh_native.search.space import Space
from lsh_native.search.training_runner import SpectrumSettings, TrainingRunner
from lsh_native.search.trial import Trial
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
