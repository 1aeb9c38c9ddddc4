"""The default corpus: sentences with agreement over a distance, and a known best perplexity.

Every noun belongs to one of six classes, and so do verbs and objects. The verbs and objects of a
sentence are of the class of its subject, however many adverbs, or a whole clause with a subject of
its own, stand between them:

    the.1 adj.25 noun6.5 adv.1 that.4 noun2.1 verb2.9 adv.6 adv.33 verb6.8 adv.4 obj6.10 <eos>

A model that forgets the subject cannot tell which sixth of the verbs may follow, so memory pays:
with 1,000 words the best perplexity is 53.2, against 111 for the best use of one word of context
and 331 for none.
"""

from __future__ import annotations

import math

import numpy as np

from lsh_native.data.corpus import SPLITS, Corpus
from lsh_native.data.levels import WORDS
from lsh_native.data.source import WordSource
from lsh_native.data.vocabulary import Vocabulary

TRAIN_TOKENS = 50_000
VOCABULARY_SIZE = 1_000
CLASSES = 6
SMALLEST_VOCABULARY = 64

# (probability, kind of word, next state) for each way on from a state
Grammar = dict[str, list[tuple[float, str, str]]]


def generate_corpus(
    *,
    seed: int = 0,
    train_tokens: int = TRAIN_TOKENS,
    valid_tokens: int = 8_000,
    test_tokens: int = 8_000,
    vocabulary_size: int = VOCABULARY_SIZE,
) -> Corpus:
    """Draw a corpus from `agreement_source`.

    The same arguments give the same tokens on every machine. The three texts are independent, and
    a shorter one is the beginning of a longer one with the same seed.

    Args:
        seed: non-negative.
        train_tokens: length of the training text.
        valid_tokens: length of the validation text.
        test_tokens: length of the test text.
        vocabulary_size: number of words V, ``<eos>`` included.

    Returns:
        The corpus with its exact entropy rate.

    Raises:
        ValueError: if the seed is negative, a text is shorter than two tokens or the vocabulary
            smaller than 64.

    Example:
        >>> corpus = generate_corpus(train_tokens=1_000)
        >>> round(corpus.best_perplexity, 1)
        53.2
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    lengths = (train_tokens, valid_tokens, test_tokens)
    if min(lengths) < 2:
        raise ValueError(
            f"train_tokens, valid_tokens and test_tokens must be at least 2, got {lengths}"
        )
    source = agreement_source(vocabulary_size)
    seeds = np.random.SeedSequence(seed).spawn(len(SPLITS))
    train, valid, test = (
        source.sample(length, np.random.Generator(np.random.PCG64(split_seed)))
        for length, split_seed in zip(lengths, seeds, strict=True)
    )
    return Corpus(
        name=f"generated, seed {seed}",
        level=WORDS,
        vocabulary=source.vocabulary,
        train=train,
        valid=valid,
        test=test,
        entropy=source.entropy_rate,
    )


def agreement_source(vocabulary_size: int = VOCABULARY_SIZE) -> WordSource:
    """Return the source of the default corpus.

    Within a kind the word of rank r has a probability proportional to 1 / (r + 1/2).
    Source: B. Mandelbrot's form of Zipf's law, 1953.

    Args:
        vocabulary_size: number of words V, ``<eos>`` included, at least 64.
    """
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"vocabulary_size must be at least {SMALLEST_VOCABULARY}, got {vocabulary_size}"
        )
    grammar = _grammar()
    ids = {}
    words: list[str] = []
    for kind, count in _kinds(vocabulary_size).items():
        ids[kind] = slice(len(words), len(words) + count)
        words += [kind] if count == 1 else [f"{kind}.{rank}" for rank in range(1, count + 1)]

    states = {state: number for number, state in enumerate(grammar)}
    probability = np.zeros((len(states), len(words)))
    successor = np.zeros((len(states), len(words)), dtype=np.int64)
    for state, ways in grammar.items():
        for share, kind, following in ways:
            place = states[state], ids[kind]
            # sums and quotients only, which IEEE 754 rounds alike on every machine
            weight = 1 / (np.arange(1, len(words[ids[kind]]) + 1) + 0.5)
            probability[place] = share * (weight / math.fsum(weight))
            successor[place] = states[following]
    return WordSource(
        vocabulary=Vocabulary(tokens=tuple(words)), probability=probability, successor=successor
    )


def _kinds(vocabulary_size: int) -> dict[str, int]:
    """Return how many words there are of each kind."""
    kinds = {"<eos>": 1, "the": 10, "that": 4, "and": 5, "of": 12}
    rest = vocabulary_size - sum(kinds.values())
    kinds["adj"] = rest // 10
    agreeing = [f"{kind}{k}" for kind in ("noun", "verb", "obj") for k in range(1, CLASSES + 1)]
    kinds |= dict.fromkeys(agreeing, (rest - 2 * kinds["adj"]) // len(agreeing))
    kinds["adv"] = vocabulary_size - sum(kinds.values())
    return kinds


def _grammar() -> Grammar:
    """Return the states, the start of a sentence first; k is the class of the sentence's subject.

    No state has two ways that share a word, so a word determines the next state.
    """
    classes = range(1, CLASSES + 1)
    grammar: Grammar = {
        "start": [(0.55, "the", "subject"), (0.30, "adj", "subject"), (0.15, "adv", "start")],
        "subject": [(0.35, "adj", "subject")]
        + [(0.65 / CLASSES, f"noun{k}", f"subject {k}") for k in classes],
    }
    for k in classes:
        grammar[f"subject {k}"] = [
            (0.40, "adv", f"subject {k}"),
            (0.20, "that", f"clause {k}"),
            (0.40, f"verb{k}", f"verb {k}"),
        ]
        grammar[f"clause {k}"] = [(0.30, "adj", f"clause {k}")] + [
            (0.70 / CLASSES, f"noun{j}", f"clause {k} {j}") for j in classes
        ]
        for j in classes:
            grammar[f"clause {k} {j}"] = [
                (0.35, "adv", f"clause {k} {j}"),
                (0.65, f"verb{j}", f"main {k}"),
            ]
        grammar[f"main {k}"] = [(0.45, "adv", f"main {k}"), (0.55, f"verb{k}", f"verb {k}")]
        grammar[f"verb {k}"] = [
            (0.30, "the", f"object {k}"),
            (0.20, "adj", f"object {k}"),
            (0.50, "adv", f"object {k}"),
        ]
        grammar[f"object {k}"] = [
            (0.35, "adj", f"object {k}"),
            (0.65, f"obj{k}", f"end {k}"),
        ]
        grammar[f"end {k}"] = [
            (0.25, "and", f"main {k}"),
            (0.30, "of", f"object {k}"),
            (0.45, "<eos>", "start"),
        ]
    return grammar
