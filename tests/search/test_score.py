"""Scores of small pools, known beforehand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.stats import spearmanr

from lsh_native.lyapunov import Convention, Spectrum
from lsh_native.search.score import (
    RECORDED,
    SCORES,
    Loss,
    Lyapunov,
    loss,
    lyapunov,
    named_score,
    rank_mean,
    recorded_scores,
)
from lsh_native.search.space import Space
from lsh_native.search.spectral import ARRAYS
from lsh_native.search.trial import EpochRecord, Measurement, Pool, SpectrumRecord


def measured(losses, distances):
    return [
        Measurement(
            number=number,
            candidate=candidate,
            distance=distance,
            epochs=tuple(
                EpochRecord(
                    epoch=epoch,
                    train_loss=9.0,
                    valid_loss=value + 2 - epoch,
                    density=0.3,
                    tokens=1,
                    seconds=0.0,
                )
                for epoch in (1, 2)
            ),
        )
        for number, (candidate, value, distance) in enumerate(
            zip(Space(), losses, distances, strict=False)
        )
    ]


def test_known_scores():
    pool = measured([5.0, 4.0, 6.0], [2.0, 3.0, 1.0])
    assert_array_equal(loss(pool), [5, 4, 6])
    assert_array_equal(lyapunov(pool), [2, 3, 1])
    assert_array_equal(SCORES["rank_mean"](pool), [2, 2, 2])
    assert_array_equal(rank_mean(loss)(pool), [2, 1, 3])


def twice_the_loss(pool):
    return 2 * loss(pool)


def test_scores_by_their_names():
    pool = measured([5.0, 4.0, 6.0], [2.0, 3.0, 1.0])
    own = f"{__name__}:twice_the_loss"
    for name in SCORES:
        assert named_score(name) is SCORES[name]
    assert_array_equal(named_score("loss+lyapunov")(pool), SCORES["rank_mean"](pool))
    assert_array_equal(named_score(own)(pool), [10, 8, 12])
    assert_array_equal(named_score(f"loss+{own}")(pool), [2, 1, 3])
    assert list(recorded_scores("loss")) == list(RECORDED)
    both = f"smooth_loss+{own}"
    assert list(recorded_scores(both)) == [*RECORDED, "smooth_loss", own, both]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("best", "score must be one of rank_mean, .* got 'best'"),
        ("loss+", "score must be one of rank_mean, .* got ''"),
        ("nowhere:score", "nowhere:score raised ModuleNotFoundError: No module named 'nowhere'"),
        (f"{__name__}:absent", "absent raised AttributeError: .*; run this where its module lies"),
        (":score", ":score raised ValueError: Empty module name"),
        (f"{__name__}:np.pi", "raised AttributeError"),
        (f"{__name__}:__name__", "score must name a function, got 'test_score' as test_score:__"),
    ],
)
def test_a_score_that_is_not_there(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        named_score(name)


def test_ties_share_their_rank():
    assert_array_equal(rank_mean(loss)(measured([5.0, 4.0, 5.0, 7.0], [0] * 4)), [2.5, 1, 2.5, 4])


def test_nan_takes_no_rank():
    pool = measured([5.0, np.nan, 4.0, 3.0], [1.0, 0.0, 2.0, np.inf])
    assert_array_equal(SCORES["rank_mean"](pool), [1.5, np.nan, 1.5, np.nan])
    assert_array_equal(SCORES["rank_mean"](measured([np.nan], [1.0])), [np.nan])


def test_no_candidates_no_scores():
    for score in SCORES.values():
        assert score(Pool(measurements=(), epoch=1, total=3)).shape == (0,)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 100)), min_size=1, max_size=30))
def test_rank_mean_against_its_definition(pairs):
    def rank(value, values):
        return sum(v < value for v in values) + (1 + sum(v == value for v in values)) / 2

    losses, distances = zip(*((round(x, 6), y) for x, y in pairs), strict=True)
    pool = measured(losses, distances)
    expected = [
        (rank(x, loss(pool)) + rank(y, distances)) / 2
        for x, y in zip(loss(pool), distances, strict=True)
    ]
    assert SCORES["rank_mean"](pool) == pytest.approx(expected)


def test_rank_mean_needs_a_score():
    with pytest.raises(ValueError, match="at least one score"):
        rank_mean()


def curve(losses, candidate=None, number=1, train=9.0):
    return Measurement(
        number=number,
        candidate=candidate or next(iter(Space())),
        epochs=tuple(
            EpochRecord(
                epoch=epoch,
                train_loss=train,
                valid_loss=value,
                density=0.3,
                tokens=1,
                seconds=0.0,
            )
            for epoch, value in enumerate(losses, start=1)
        ),
    )


def pool_of(*measurements, **changes):
    epoch = len(measurements[0].epochs)
    return Pool(measurements=measurements, **{"epoch": epoch, "total": 9, **changes})


def test_losses_are_smoothed_over_the_last_evaluations():
    assert Loss(last=3)([curve([9, 5, 4, 3])]) == [4]
    assert Loss(last=3)([curve([9])]) == [9]
    with pytest.raises(ValueError, match="last must be at least 1, got 0"):
        Loss(last=0)


def test_training_losses_are_summed():
    assert SCORES["training_losses"](pool_of(curve([1, 2], train=3.0))) == [6]


def test_extrapolation_reads_the_end_off_an_exponential():
    losses = [2 + 3 * np.exp(-epoch / 4) for epoch in range(1, 6)]
    (end,) = SCORES["extrapolation"](pool_of(curve(losses), total=40))
    assert end == pytest.approx(2, abs=0.15)
    assert SCORES["extrapolation"](pool_of(curve([5, 4]))) == [4]
    # A curve that rises is not expected to fall.
    assert SCORES["extrapolation"](pool_of(curve([4, 5, 6]))) == pytest.approx([5])


def test_the_surrogate_knows_the_configuration():
    candidates = list(Space())
    rng = np.random.default_rng(0)
    slow = {"magnitude": 0.0, "set": 1.0, "threshold": 2.0, "global_magnitude": 3.0}

    def trial(number, noise):
        candidate = candidates[number]
        losses = [6 - epoch / 4 + slow[candidate.drop] + noise() for epoch in (1, 2, 3)]
        return curve(losses, candidate, number)

    order = rng.permutation(len(candidates)).tolist()
    others = tuple(trial(n, lambda: 0.5 * rng.standard_normal()) for n in order[:40])
    seen = [trial(n, lambda: 0.5 * rng.standard_normal()) for n in order[40:60]]
    values = SCORES["surrogate"](pool_of(*seen, others=others))
    truth = [slow[m.candidate.drop] for m in seen]
    assert spearmanr(values, truth).statistic > 0.9
    assert spearmanr(values, truth).statistic > spearmanr(loss(seen), truth).statistic


def spectrum_record(layers, epoch=2):
    spectrum = Spectrum(
        sequences=np.concatenate(layers)[None],
        layer_sizes=tuple(map(len, layers)),
        state_sizes=tuple(map(len, layers)),
        convention=Convention(),
        steps=10,
    )
    values = {k: v for k, v in spectrum.to_dict().items() if k not in ARRAYS}
    return SpectrumRecord(epoch=epoch, exponents=np.concatenate(layers), conventions=values)


def test_distances_of_the_lyapunov_engine():
    dense = spectrum_record([np.zeros(10), np.zeros(10)])
    last = spectrum_record([np.full(10, 5.0), np.full(10, 6.0)], epoch=9)
    first, second = np.linspace(-1, -2, 10), np.full(10, -3.0)
    measurement = replace(curve([5, 4]), spectrum=spectrum_record([first, second]))
    pool = pool_of(measurement, dense={2: dense, 9: last})
    every = np.concatenate([first, second])
    for name, expected in {
        "lyapunov_wasserstein": (1.5 + 3) / 2,
        "lyapunov_mean": (1.5 + 3) / 2,
        "lyapunov_leading": np.sqrt(1 + 9),
        "lyapunov_last_layer": np.sqrt(90),
        "lyapunov_final": np.linalg.norm(every - np.repeat([5.0, 6.0], 10)),
    }.items():
        assert SCORES[name](pool) == pytest.approx([expected]), name
    assert np.isnan(SCORES["lyapunov_final"](pool_of(measurement, dense={2: dense}))).all()
    assert np.isnan(Lyapunov()(pool_of(curve([5, 4]), dense={2: dense}))).all()
    with pytest.raises(ValueError, match=r"leading must be in \(0, 1\], got 0"):
        Lyapunov(leading=0)
