"""The loss of a text against a plain loop, however the text is cut."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_language_model import PlainLanguageModel
from torch import nn

from lsh_native.training.evaluate import evaluate, perplexity


class Bigram(nn.Module):
    """Knows the probability of each token after each."""

    def __init__(self, probabilities):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probabilities, dtype=torch.float64).log())

    def forward(self, tokens, state=None):
        return self.logits[tokens], ()


def plain_loss(model, tokens):
    """One token after the other, one stream, summed in Python."""
    total, state = 0.0, None
    with torch.no_grad():
        for here, after in pairwise(tokens):
            logits, state = model(here.view(1, 1), state)
            total -= logits.view(-1).double().log_softmax(0)[after].item()
    return total / (len(tokens) - 1)


def test_known_value():
    model = Bigram([[0.25, 0.75], [0.5, 0.5]])
    tokens = torch.tensor([0, 1, 1, 0, 0])
    expected = -math.log(0.75 * 0.5 * 0.5 * 0.25) / 4
    for batch_size in (1, 2, 3, 4):
        assert evaluate(model, tokens, batch_size=batch_size, window=2) == pytest.approx(expected)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 40), st.integers(1, 50), st.integers(0, 10**6))
def test_one_column_is_the_plain_loop(length, window, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(7, (length,), generator=generator)
    model = PlainLanguageModel(7, 4, dropout=0.5).eval()
    loss = evaluate(model, tokens, batch_size=1, window=window)
    assert loss == pytest.approx(plain_loss(model, tokens), rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 20), st.integers(0, 10**6))
def test_every_target_counts_once(length, batch_size, window, seed):
    """A model without memory gives the same mean however the text is cut."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, (length,), generator=generator)
    model = Bigram([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.05, 0.9, 0.05]])
    expected = evaluate(model, tokens, batch_size=1, window=length)
    assert evaluate(model, tokens, batch_size=batch_size, window=window) == pytest.approx(expected)


def test_leaves_the_mode_and_the_random_numbers_alone():
    model = PlainLanguageModel(5, 4, dropout=0.5)
    before = torch.get_rng_state()
    tokens = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    assert evaluate(model, tokens, batch_size=2, window=2) == evaluate(
        model, tokens, batch_size=2, window=2
    )
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    evaluate(model.eval(), tokens, batch_size=2, window=2)
    assert not model.training


def test_loss_that_is_not_finite_is_reported():
    model = Bigram([[0.5, 0.5], [0.5, 0.5]])
    model.logits.data[0, 0] = math.nan
    assert math.isnan(evaluate(model, torch.tensor([0, 0, 1]), batch_size=1, window=2))


def test_one_token_cannot_be_evaluated():
    with pytest.raises(ValueError, match="at least 2 tokens"):
        evaluate(Bigram([[1.0]]), torch.tensor([0]), batch_size=1, window=1)


def test_perplexity():
    assert perplexity(0.0) == 1
    assert perplexity(math.log(60)) == pytest.approx(60)
    assert perplexity(1000.0) == math.inf
    with pytest.raises(ValueError, match="got nan"):
        perplexity(math.nan)
