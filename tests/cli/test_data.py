"""Text for commands: read as settings say or as a model knows it, losses beside what is known."""

import math
from dataclasses import replace

import pytest

from lsh_native.cli.data import DataSettings, beside_floor, load_corpus, load_data
from lsh_native.data import BYTES, Vocabulary, generate_corpus
from lsh_native.models import RowClassifier


@pytest.fixture
def folder(tmp_path):
    for split, text in {"train": "a b a c\n", "valid": "a dog\n", "test": "b\n"}.items():
        (tmp_path / f"{split}.txt").write_text(text)
    return tmp_path


def settings(**values):
    return DataSettings(**values)


def test_ordinary_text_needs_a_stand_in_and_is_told_so(folder):
    told = r"'dog' at line 1 of .*valid.* --text\.unknown .* \"<unk>"
    with pytest.raises(ValueError, match=told):
        load_corpus(folder, settings())
    corpus = load_corpus(folder, settings(unknown="<unk>"))
    assert corpus.vocabulary.decode(corpus.valid) == ["a", "<unk>", "<eos>"]


def test_a_model_s_vocabulary_says_how_a_text_is_read(folder):
    words = Vocabulary(tokens=("<eos>", "b", "a", "<unk>"))
    corpus = load_corpus(folder, settings(), words)
    assert corpus.vocabulary is words
    assert corpus.train.tolist() == [2, 1, 2, 3, 0]
    assert load_corpus(folder, settings(vocabulary_size=4), words).hash == corpus.hash
    characters = Vocabulary(tokens=tuple("abcdgo \n"))
    assert load_corpus(folder, settings(), characters).level.name == "character"
    bytes_ = Vocabulary(tokens=BYTES.alphabet)
    assert load_corpus(folder, settings(level="byte"), bytes_).level is BYTES
    made = load_corpus(None, settings(), generate_corpus(vocabulary_size=70).vocabulary)
    assert len(made.vocabulary) == 70


@pytest.mark.parametrize(
    ("values", "tokens", "sentence"),
    [
        ({"vocabulary_size": 9}, ("<eos>", "<unk>"), "left to the model, which has 2 types"),
        ({"level": "byte"}, ("<eos>", "<unk>"), "tokens are those of a word level, got byte"),
        ({}, ("<eos>", "a", "b", "c"), "'dog' at line 1 of .* must be a token of the model, or"),
    ],
)
def test_what_a_model_cannot_read_is_refused(folder, values, tokens, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_corpus(folder, settings(**values), Vocabulary(tokens=tokens))


@pytest.mark.parametrize(
    ("values", "own"),
    [
        ({"level": "byte"}, False),
        ({"limit": 20}, False),
        ({"unknown": "<unk>"}, False),
        ({"seed": 1}, True),
        ({"train_tokens": 100}, True),
    ],
)
def test_settings_of_other_data_are_refused(folder, values, own):
    (name,) = values
    with pytest.raises(ValueError, match=f"text.{name} must be left out for"):
        load_corpus(folder if own else None, settings(**values))
    if name != "limit":
        with pytest.raises(ValueError, match=f"text.{name} must be left out for images"):
            load_data(RowClassifier(columns=8), None, settings(**values))


def test_no_size_is_not_the_default_one():
    with pytest.raises(ValueError, match="vocabulary_size must be at least 64, got 0"):
        load_corpus(None, settings(vocabulary_size=0))


def test_bits_beside_the_floor() -> None:
    """A source of half a nat a token, and a model that needs one: twice the floor."""
    corpus = replace(generate_corpus(train_tokens=500), entropy=0.5)
    bits = 1 / math.log(2)
    assert beside_floor(1.0, corpus) == f"{bits:.4f} bits a token, floor {bits / 2:.4f}, +100.00%"


def test_no_floor_is_known_of_other_texts() -> None:
    corpus = replace(generate_corpus(train_tokens=500), entropy=None)
    assert beside_floor(math.log(2), corpus) == "1.0000 bits a token"


@pytest.mark.parametrize("loss", [0.0, 3.0])
def test_the_excess_has_a_sign(loss: float) -> None:
    corpus = replace(generate_corpus(train_tokens=500), entropy=1.5)
    assert beside_floor(loss, corpus).endswith("-100.00%" if loss == 0 else "+100.00%")
