"""The default corpus: reproducible, of the entropy it states, and not to be had without memory."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from lsh_native.data import agreement_source, generate_corpus
from lsh_native.data.generated import CLASSES, SMALLEST_VOCABULARY, TRAIN_TOKENS


@cache
def source():
    return agreement_source()


def unigram_entropy(source):
    share = source.stationary @ source.probability
    return -share @ np.log(share)


def bigram_entropy(source):
    """Mean surprise of the best prediction from the last token alone."""
    S, V = source.probability.shape
    reached = np.zeros((V, S))
    for state in range(S):
        weight = source.stationary[state] * source.probability[state]
        np.add.at(reached, (np.arange(V), source.successor[state]), weight)
    pair = reached @ source.probability
    conditional = pair / pair.sum(axis=1, keepdims=True)
    return -(pair * np.log(conditional, where=pair > 0, out=np.zeros_like(pair))).sum()


def test_same_tokens_everywhere():
    corpus = generate_corpus()
    assert corpus.hash == "45d802f47ed2305e6e072cf6f48b79836455b508ae9e1c21d5880cc803bd87fa"
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [TRAIN_TOKENS, 8_000, 8_000]
    assert len(corpus.vocabulary) == 1_000
    assert corpus.vocabulary.tokens[0] == "<eos>"


def test_splits_and_seeds_are_independent_and_lengths_only_cut():
    long, short = generate_corpus(), generate_corpus(train_tokens=500, valid_tokens=50)
    assert torch.equal(short.train, long.train[:500])
    assert torch.equal(short.valid, long.valid[:50])
    assert not torch.equal(long.valid, long.test)
    assert not torch.equal(generate_corpus(seed=1).train, long.train)


def test_entropy_is_that_of_the_state_by_state_definition():
    P, n = source().probability, source().successor
    share = np.full(len(P), 1 / len(P))
    for _ in range(400):
        moved = np.zeros(len(P))
        np.add.at(moved, n, share[:, None] * P)
        share = moved
    entropy = sum(-s * p * math.log(p) for s, row in zip(share, P, strict=True) for p in row if p)
    assert source().entropy_rate == pytest.approx(entropy, rel=1e-10)
    assert generate_corpus(train_tokens=2).entropy == source().entropy_rate


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_long_sample_has_the_stated_entropy(seed):
    corpus = generate_corpus(seed=seed, train_tokens=200_000)
    surprise = -source().log_probabilities(corpus.train).numpy()
    # sentences are independent: standard error of (sum of surprise) / (sum of lengths)
    ends = np.flatnonzero(corpus.train.numpy() == 0) + 1
    excess = np.add.reduceat(surprise[: ends[-1]] - corpus.entropy, np.r_[0, ends[:-1]])
    error = np.sqrt((excess**2).sum()) / ends[-1]
    assert error < 0.005
    assert abs(surprise.mean() - corpus.entropy) < 4 * error


def test_memory_pays():
    best = math.exp(source().entropy_rate)
    assert best == pytest.approx(53.2, abs=0.1)
    assert math.exp(bigram_entropy(source())) == pytest.approx(111.0, abs=0.5)
    assert math.exp(unigram_entropy(source())) == pytest.approx(331.1, abs=0.5)


def test_counted_bigrams_are_clearly_worse_than_the_source():
    corpus = generate_corpus()
    V = len(corpus.vocabulary)
    pairs = np.full((V, V), 0.0)
    np.add.at(pairs, (corpus.train[:-1].numpy(), corpus.train[1:].numpy()), 1)
    unigram = (np.bincount(corpus.train.numpy(), minlength=V) + 0.5) / (len(corpus.train) + V / 2)
    smoothed = (pairs + 20 * unigram) / (pairs.sum(axis=1, keepdims=True) + 20)
    chosen = smoothed[corpus.valid[:-1].numpy(), corpus.valid[1:].numpy()]
    reached = math.exp(-np.log(chosen).mean())
    floor = math.exp(-source().log_probabilities(corpus.valid).mean())
    assert floor == pytest.approx(corpus.best_perplexity, rel=0.05)
    assert reached > 2 * floor


def test_sentences_agree():
    """Verbs and objects after the last clause are of the class of the sentence's first noun."""
    corpus = generate_corpus()
    words = corpus.vocabulary.decode(corpus.train)
    ends = [-1] + [i for i, word in enumerate(words) if word == "<eos>"]
    distances = []
    for before, end in pairwise(ends):
        kinds = [word.split(".")[0] for word in words[before + 1 : end]]
        nouns = [i for i, kind in enumerate(kinds) if kind.startswith("noun")]
        subject = kinds[nouns[0]].removeprefix("noun")
        verbs = [i for i, kind in enumerate(kinds) if kind.startswith("verb")]
        if len(nouns) == 2:
            clause = verbs.pop(0)
            assert kinds[clause].removeprefix("verb") == kinds[nouns[1]].removeprefix("noun")
        objects = [kind for kind in kinds if kind.startswith("obj")]
        assert {kinds[i].removeprefix("verb") for i in verbs} == {subject}
        assert {kind.removeprefix("obj") for kind in objects} == {subject}
        distances.append(verbs[0] - nouns[0])
    assert len(distances) > 3_000
    assert np.quantile(distances, 0.9) >= 5
    assert max(distances) >= 12


def test_words_of_a_kind_follow_zipf():
    corpus = generate_corpus(train_tokens=200_000)
    counts = torch.bincount(corpus.train, minlength=len(corpus.vocabulary))
    adverbs = [i for i, word in enumerate(corpus.vocabulary.tokens) if word.startswith("adv.")]
    seen = counts[adverbs].double()
    expected = 1 / (torch.arange(len(adverbs), dtype=torch.float64) + 1.5)
    expected *= seen.sum() / expected.sum()
    chi_squared = ((seen - expected) ** 2 / expected).sum()
    freedom = len(adverbs) - 1
    assert abs(chi_squared - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("size", [SMALLEST_VOCABULARY, 65, 100, 777, 5_000])
def test_vocabulary_size_is_exact(size):
    vocabulary = agreement_source(size).vocabulary
    assert len(vocabulary) == size
    kinds = {word.split(".")[0] for word in vocabulary.tokens}
    assert {f"verb{k}" for k in range(1, CLASSES + 1)} <= kinds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"valid_tokens": 1}, r"at least 2, got \(50000, 1, 8000\)"),
        ({"vocabulary_size": 63}, "vocabulary_size must be at least 64, got 63"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate_corpus(**arguments)
