"""Levels, and which of them a vocabulary tells of."""

import pytest

from lsh_native.data import BYTES, CHARACTERS, WORDS, level_of


@pytest.mark.parametrize(
    ("tokens", "level"),
    [
        (BYTES.alphabet, BYTES),
        (("a", "b", "\n"), CHARACTERS),
        (("a", "b", "<unk>"), CHARACTERS),
        (("a", "b", "<eos>"), WORDS),
        (("the", "cat", "<unk>"), WORDS),  # of one line, whose end was too rare to be kept
    ],
)
def test_the_level_of_a_vocabulary(tokens, level):
    assert level_of(tokens) is level
