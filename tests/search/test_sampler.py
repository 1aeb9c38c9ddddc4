"""Proposals: never twice, always the same from the same history, better than chance."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsh_native.search.history import History, Observation
from lsh_native.search.interval import Interval
from lsh_native.search.sampler import (
    BayesianSampler,
    GridSampler,
    RandomSampler,
    SpaceExhausted,
)
from lsh_native.search.space import Space

PUBLISHED = Space()
SMALL = Space(drop=("set",), drop_fraction=(0.4, 0.6))  # 12 candidates
SINGLE = Space(initial=["uniform"], drop=["set"], redistribute=["none"], drop_fraction=[0.5])
CONTINUOUS = Space(drop_fraction=Interval(low=0.1, high=0.9))
SEVERAL = Space(method=("static", "dynamic", "gradual_magnitude"))


def optuna_tpe():
    pytest.importorskip("optuna")
    from lsh_native.search.optuna_sampler import OptunaSampler

    return OptunaSampler("tpe")


CONSTRAINED = [BayesianSampler, optuna_tpe]
SAMPLERS = [RandomSampler(), GridSampler(), BayesianSampler(starts=2)]


def cost(candidate):
    """One valley: global magnitude, Erdős–Rényi, nonzeros, drop fraction 0.7."""
    return (
        (candidate.drop != "global_magnitude")
        + 0.5 * (candidate.initial != "erdos_renyi")
        + 0.5 * (candidate.redistribute != "nonzeros")
        + 4 * ((candidate.drop_fraction or 0) - 0.7) ** 2
    )


def search(sampler, space, count, *, seed=1, score=cost):
    history = []
    for number in range(1, count + 1):
        candidate = sampler.propose(space, History.of(history), seed=seed, number=number)
        assert candidate in space
        history.append(Observation(candidate=candidate, score=score(candidate)))
    return [observation.candidate for observation in history]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("space", [SMALL, SINGLE, Space(method=("static", "gradual_magnitude"))])
def test_a_finite_space_is_searched_whole_and_never_twice(sampler, space):
    found = search(sampler, space, len(space))
    assert set(found) == set(space)
    history = [Observation(candidate=candidate, score=0.0) for candidate in found]
    with pytest.raises(SpaceExhausted, match=f"all {len(space)} candidates"):
        sampler.propose(space, History.of(history), seed=1, number=99)


@pytest.mark.parametrize(
    ("sampler", "space"),
    [(sampler, space) for sampler in SAMPLERS for space in (PUBLISHED, SEVERAL)]
    + [(RandomSampler(), CONTINUOUS), (BayesianSampler(starts=2), CONTINUOUS)],
)
def test_same_history_and_seed_same_proposal(sampler, space):
    history = [
        Observation(candidate=space.draw(np.random.default_rng(i)), score=float(i))
        for i in range(4)
    ]
    first = sampler.propose(space, History.of(history), seed=3, number=9)
    assert sampler.propose(space, History.of(list(history)), seed=3, number=9) == first
    assert first not in [observation.candidate for observation in history]


@pytest.mark.parametrize("sampler", [RandomSampler(), BayesianSampler()], ids=repr)
def test_seed_and_number_matter(sampler):
    drawn = {
        sampler.propose(PUBLISHED, History.of([]), seed=seed, number=number)
        for seed in range(5)
        for number in range(5)
    }
    assert len(drawn) > 15


def mean_best(sampler, space):
    return np.mean([min(map(cost, search(sampler, space, 18, seed=seed))) for seed in range(4)])


def test_bayesian_search_beats_chance():
    assert mean_best(BayesianSampler(), PUBLISHED) < 0.1 < mean_best(RandomSampler(), PUBLISHED)


def test_bayesian_search_of_an_interval_beats_chance():
    space = Space(drop_fraction=Interval(low=0.4, high=0.9))
    assert mean_best(BayesianSampler(batch=500), space) < 0.1 < mean_best(RandomSampler(), space)


@pytest.mark.parametrize("rescale", [np.exp, np.log1p, lambda score: 1e9 * score - 5])
def test_the_scale_of_a_score_changes_nothing(rescale):
    plain = search(BayesianSampler(), PUBLISHED, 9)
    assert search(BayesianSampler(), PUBLISHED, 9, score=lambda c: float(rescale(cost(c)))) == plain


def test_a_lost_candidate_never_comes_again_and_teaches_nothing():
    candidates = search(RandomSampler(), PUBLISHED, 8)
    scored = [Observation(candidate=c, score=cost(c)) for c in candidates]
    proposed = BayesianSampler().propose(PUBLISHED, History.of(scored), seed=1, number=9)
    other = search(RandomSampler(), PUBLISHED, 40, seed=2)
    lost = next(Observation(candidate=c) for c in other if c not in {*candidates, proposed})
    again = BayesianSampler().propose(PUBLISHED, History.of([*scored, lost]), seed=1, number=9)
    assert again == proposed
    assert BayesianSampler().propose(
        PUBLISHED, History.of([*scored, Observation(candidate=proposed)]), seed=1, number=9
    ) not in {*candidates, proposed}


def test_a_pending_candidate_keeps_the_next_one_away():
    scored = [Observation(candidate=c, score=cost(c)) for c in search(RandomSampler(), SMALL, 6)]
    sampler = BayesianSampler(starts=2)
    proposed = sampler.propose(SMALL, History.of(scored), seed=1, number=7)
    pending = Observation(candidate=proposed, pending=True)
    lied = sampler.propose(SMALL, History.of([*scored, pending]), seed=1, number=7)
    failed = sampler.propose(
        SMALL, History.of([*scored, Observation(candidate=proposed)]), seed=1, number=7
    )
    worst = Observation(candidate=proposed, score=max(o.score for o in scored))
    assert lied != proposed
    assert failed != proposed
    assert lied == sampler.propose(SMALL, History.of([*scored, worst]), seed=1, number=7)


def test_targets_are_scores_while_all_keep_to_the_constraints():
    candidates = list(PUBLISHED)[:3]
    history = [Observation(candidate=c, score=float(i)) for i, c in enumerate(candidates)]
    history.append(Observation(candidate=list(PUBLISHED)[3], pending=True))
    assert History.of(history).targets == dict(zip(candidates, (0.0, 1.0, 2.0), strict=True))


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_who_misses_a_constraint_is_behind_all_others_and_the_further_the_more(kept):
    candidates = list(PUBLISHED)[:8]
    scores = [5.0, 5.5, 7.0, -9.0, 1.0, 2.0, 3.0, -1.0][3 - kept :]
    excesses = [0.0] * kept + [1e-9, 0.5, 1e9, math.inf, 0.5]
    targets = History.of(
        Observation(candidate=c, score=s, excess=e)
        for c, s, e in zip(candidates, scores, excesses, strict=False)
    ).targets
    values = list(targets.values())
    assert values[:kept] == scores[:kept]
    least, some, far, unknown, same = values[kept:]
    assert max(scores[:kept], default=-math.inf) < least < some < far <= unknown
    assert some == same
    spread = max(scores[:kept], default=0) - min(scores[:kept], default=0)
    assert unknown - max(scores[:kept], default=0) <= 2 * spread + 2


@pytest.mark.parametrize("excess", [-0.1, float("nan")])
def test_an_excess_is_a_share(excess):
    with pytest.raises(ValueError, match=f"excess must be at least 0, got {excess}"):
        Observation(candidate=next(iter(PUBLISHED)), score=1.0, excess=excess)


@pytest.mark.parametrize("make", CONSTRAINED)
def test_proposals_are_drawn_to_where_the_constraint_is_kept(make):
    sampler = make()
    space = replace(SINGLE, density=Interval(low=0.05, high=0.95))
    history = []
    for number in range(1, 31):
        candidate = sampler.propose(space, History.of(history), seed=1, number=number)
        # The denser the better, but nothing above 0.2 will do, which chance keeps to in a sixth.
        excess = max(0.0, candidate.density / 0.2 - 1)
        history.append(Observation(candidate=candidate, score=-candidate.density, excess=excess))
    late = [observation.candidate.density for observation in history[15:]]
    assert np.mean([density <= 0.2 for density in late]) > 0.3
    assert np.median(late) < 0.35


def test_nothing_is_printed_or_warned(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(BayesianSampler(starts=1), SEVERAL, 4, score=lambda candidate: 1.0)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=10)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=5, max_size=8))
def test_any_finite_scores_do(scores):
    history = [
        Observation(candidate=candidate, score=score)
        for candidate, score in zip(PUBLISHED, scores, strict=False)
    ]
    assert BayesianSampler().propose(PUBLISHED, History.of(history), seed=0, number=1) in PUBLISHED


def test_a_grid_needs_a_finite_space():
    with pytest.raises(ValueError, match="must list all choices"):
        GridSampler().propose(CONTINUOUS, History.of([]), seed=0, number=1)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_are_finite(score):
    with pytest.raises(ValueError, match=f"score must be finite.*got {score}"):
        Observation(candidate=next(iter(PUBLISHED)), score=score)


def test_a_pending_candidate_has_no_score():
    with pytest.raises(ValueError, match=r"None while pending, got 1\.0"):
        Observation(candidate=next(iter(PUBLISHED)), score=1.0, pending=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"starts": 0}, "starts must be finite and at least 1, got 0"),
        ({"kappa": -1.0}, "kappa must be finite and at least 0, got -1.0"),
        ({"noise": float("nan")}, "noise must be finite and at least 0, got nan"),
        ({"batch": 0}, "batch must be finite and at least 1, got 0"),
    ],
)
def test_bad_numbers(values, message):
    with pytest.raises(ValueError, match=message):
        BayesianSampler(**values)
