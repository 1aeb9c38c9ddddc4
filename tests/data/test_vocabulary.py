"""Vocabulary: known ids, round trips, a hash that tells vocabularies apart, named errors."""

import hashlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.data import UnknownTokenError, Vocabulary

texts = st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=30)


def test_ids_follow_first_appearance():
    vocabulary = Vocabulary.first_seen(["the", "cat", "sat", "on", "the", "mat"])
    assert vocabulary.tokens == ("the", "cat", "sat", "on", "mat")
    ids = vocabulary.encode(["mat", "the"])
    assert ids.dtype == torch.int64
    assert ids.tolist() == [4, 0]
    assert len(vocabulary) == 5
    assert "sat" in vocabulary
    assert "dog" not in vocabulary


def test_empty_text_encodes_to_an_empty_tensor():
    ids = Vocabulary(tokens=("a",)).encode([])
    assert ids.dtype == torch.int64
    assert ids.shape == (0,)


@given(texts)
def test_decode_undoes_encode(text):
    vocabulary = Vocabulary.first_seen(text)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.decode(ids.numpy()) == text


@given(texts)
def test_json_round_trip(text):
    vocabulary = Vocabulary.first_seen(text)
    stored = json.loads(json.dumps(vocabulary.to_dict()))
    assert Vocabulary.from_dict(stored) == vocabulary


def test_hash_known_answer():
    expected = hashlib.sha256(b"1:a" + b"2:\xc3\xa9" + b"5:<eos>").hexdigest()
    assert Vocabulary(tokens=("a", "é", "<eos>")).hash == expected


@given(texts, texts)
def test_hash_tells_vocabularies_apart(one, other):
    a, b = Vocabulary.first_seen(one), Vocabulary.first_seen(other)
    assert (a.hash == b.hash) == (a.tokens == b.tokens)


def test_hash_sees_where_tokens_end():
    assert Vocabulary(tokens=("ab", "c")).hash != Vocabulary(tokens=("a", "bc")).hash


def test_unknown_token_names_token_and_position():
    vocabulary = Vocabulary(tokens=("a", "b", "<unk>"))
    with pytest.raises(UnknownTokenError, match=r"got 'z' at position 2: build .* unknown='<unk>'"):
        vocabulary.encode(["a", "b", "z"])
    assert vocabulary.encode(["a", "z", "b"], unknown="<unk>").tolist() == [0, 2, 1]


def test_unknown_token_message_is_one_short_line():
    with pytest.raises(UnknownTokenError) as caught:
        Vocabulary(tokens=("a",)).encode(["a\n\x1b[31m\u202e" + "x" * 10_000])
    message = str(caught.value)
    assert len(message) < 300
    assert message.isprintable()
    assert caught.value.position == 0


def test_stand_in_must_be_known():
    with pytest.raises(ValueError, match="unknown must be a token of the vocabulary, got '<unk>'"):
        Vocabulary(tokens=("a",)).encode(["a"], unknown="<unk>")


@pytest.mark.parametrize("bad", [-1, 2, 0.5])
def test_decode_refuses_other_numbers(bad):
    with pytest.raises(ValueError, match=r"ids must be integers in \[0, 2\), got .* at position 1"):
        Vocabulary(tokens=("a", "b")).decode([0, bad])


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ((), ValueError, "must not be empty"),
        (["a"], TypeError, "must be a tuple, got list"),
        (("a", 1), TypeError, "must be strings, got int at position 1"),
        (("a", "b", "a"), ValueError, "must be different.* got 'a' at position 2"),
        (("a", ""), ValueError, "not empty.* got '' at position 1"),
        (("\ud800",), ValueError, r"valid Unicode, got '\\ud800' at position 0"),
    ],
)
def test_bad_tokens(tokens, error, message):
    with pytest.raises(error, match=message):
        Vocabulary(tokens=tokens)


@pytest.mark.parametrize("stored", [{}, {"tokens": ["a"]}, {"tokens": "a", "hash": ""}])
def test_stored_vocabulary_must_be_complete(stored):
    with pytest.raises(ValueError, match="must hold a list 'tokens' and their 'hash'"):
        Vocabulary.from_dict(stored)


def test_stored_vocabulary_must_match_its_hash():
    stored = Vocabulary(tokens=("a", "b")).to_dict() | {"tokens": ["b", "a"]}
    with pytest.raises(ValueError, match="must match its hash"):
        Vocabulary.from_dict(stored)
