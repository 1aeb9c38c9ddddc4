"""Corpus record: checks, a hash over its content, the best perplexity."""

import math

import pytest
import torch

from lsh_native.data import WORDS, Corpus, Vocabulary


def corpus(**changes):
    fields = {
        "name": "toy",
        "level": WORDS,
        "vocabulary": Vocabulary(tokens=("a", "b")),
        "train": torch.tensor([0, 1, 1, 0]),
        "valid": torch.tensor([0, 1]),
        "test": torch.tensor([1, 0]),
    }
    return Corpus(**fields | changes)


def test_hash_is_stable():
    assert corpus().hash == "1574576b90f162e49a63eef90c961ea67dd56b62aa34ba664f8d553a43556068"


def test_hash_ignores_the_name():
    assert corpus(name="other").hash == corpus().hash


@pytest.mark.parametrize(
    "changes",
    [
        {"train": torch.tensor([0, 1, 1, 1])},
        {"train": torch.tensor([0, 1, 1, 0, 0]), "valid": torch.tensor([1, 0, 1])},
        {"valid": torch.tensor([1, 0]), "test": torch.tensor([0, 1])},
        {"vocabulary": Vocabulary(tokens=("b", "a"))},
    ],
)
def test_hash_sees_the_content(changes):
    assert corpus(**changes).hash != corpus().hash


def test_best_perplexity():
    assert corpus().best_perplexity is None
    assert corpus(entropy=math.log(2)).best_perplexity == pytest.approx(2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": [0, 1]}, TypeError, "train must be an int64 tensor, got list"),
        (
            {"valid": torch.tensor([0, 1]).int()},
            TypeError,
            "valid must be an int64 tensor, got torch.int32",
        ),
        ({"test": torch.tensor([0])}, ValueError, r"test must be 1-D with at least two"),
        ({"test": torch.zeros(2, 2).long()}, ValueError, r"got shape \(2, 2\)"),
        ({"train": torch.tensor([0, 2])}, ValueError, r"ids in \[0, 2\), got 0 to 2"),
        ({"train": torch.tensor([-1, 1])}, ValueError, r"ids in \[0, 2\), got -1 to 1"),
        ({"entropy": -0.1}, ValueError, r"entropy must be in \[0, log V\]"),
        ({"entropy": 0.7}, ValueError, r"entropy must be in \[0, log V\] = \[0, 0.693147\]"),
        ({"entropy": math.nan}, ValueError, "got nan"),
    ],
)
def test_bad_corpus(changes, error, message):
    with pytest.raises(error, match=message):
        corpus(**changes)
