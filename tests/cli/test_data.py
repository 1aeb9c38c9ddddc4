"""Text for commands: losses beside what is known of it."""

import math
from dataclasses import replace

import pytest

from lsh_native.cli.data import beside_floor
from lsh_native.data import generate_corpus


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
