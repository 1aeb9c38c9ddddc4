"""Distances between spectra: by hand, their errors, and all pairs that may not be compared."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance

from lsh_native.lyapunov import (
    Convention,
    IncomparableSpectraError,
    Spectrum,
    distance,
    distance_error,
    interpolated,
    l2,
    mean_shift,
    paired_difference,
    standardised_distance,
    wasserstein,
)


def spectrum_of(sequences, layers=None, **options):
    sequences = np.atleast_2d(np.asarray(sequences, dtype=np.float64))
    layers = layers or (sequences.shape[1],)
    return Spectrum(
        sequences=sequences,
        layer_sizes=layers,
        state_sizes=options.pop("states", layers),
        convention=options.pop("convention", Convention()),
        steps=10,
        **options,
    )


A = spectrum_of([1.0, -1.0, 0.0, -2.0], layers=(2, 2))
B = spectrum_of([1.0, -4.0, 4.0, -2.0], layers=(2, 2))


def test_by_hand():
    assert distance(A, B) == distance(A, B, metric=l2) == 5.0
    assert distance(A, B, layers=[0]) == 3.0
    assert distance(A, B, layers=[1]) == 4.0
    assert distance(A, B, top=1) == 4.0
    assert distance(A, B, top=1, layers=[0]) == 0.0
    assert distance(A, B, metric=mean_shift) == (1.5 + 2.0) / 2
    assert distance(A, B, metric=wasserstein) == (1.5 + 2.0) / 2


def test_any_function_is_a_metric():
    assert distance(A, B, metric=lambda a, b: float(len(a) + len(b[0]))) == 4.0


EXPONENTS = arrays(np.float64, 5, elements=st.floats(-50, 50))


@given(EXPONENTS, EXPONENTS)
def test_wasserstein_is_that_of_scipy(a, b):
    expected = wasserstein_distance(a, b)
    found = distance(spectrum_of(a), spectrum_of(b), metric=wasserstein)
    assert found == pytest.approx(expected, abs=1e-9)


@given(EXPONENTS, EXPONENTS, EXPONENTS)
@pytest.mark.parametrize("metric", [l2, wasserstein, mean_shift])
def test_metrics_are_metrics(metric, a, b, c):
    a, b, c = (spectrum_of(values) for values in (a, b, c))
    assert distance(a, a, metric=metric) == 0.0
    assert distance(a, b, metric=metric) == distance(b, a, metric=metric) >= 0.0
    around = distance(a, c, metric=metric) + distance(c, b, metric=metric)
    assert distance(a, b, metric=metric) <= around + 1e-9


def test_top_aligns_different_numbers_of_exponents():
    few, many = spectrum_of([2.0, 1.0], states=(9,)), spectrum_of([2.0, 4.0, 0.0], states=(12,))
    assert distance(few, many, top=2) == 3.0
    with pytest.raises(
        IncomparableSpectraError, match="as many exponents in layer 0, got 2 and 3; pass top"
    ):
        distance(few, many)
    with pytest.raises(IncomparableSpectraError, match="got 2 and 3"):
        distance(few, many, top=3)
    with pytest.raises(ValueError, match="top must be at most 2"):
        distance(few, few, top=3)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"base": "2"}, "base 'nat' against '2'"),
        ({"state": "hidden"}, "state 'full' against 'hidden'"),
        ({"order": "transposed"}, "order 'forward' against 'transposed'"),
        ({"sorted": False}, "sorted True against False"),
        ({"reference": "lsh2022"}, "reference None against 'lsh2022'"),
    ],
)
def test_other_conventions_are_refused(field, words):
    other = replace(A, convention=replace(A.convention, **field))
    with pytest.raises(IncomparableSpectraError, match=f"one convention, got {words}"):
        distance(A, other)


def test_other_layers_are_refused():
    with pytest.raises(IncomparableSpectraError, match=r"as many layers, got \[2, 1\]"):
        distance(A, spectrum_of([1.0, -1.0, 0.0, -2.0]))


GONE = -math.inf


@pytest.mark.parametrize("metric", [l2, wasserstein, mean_shift])
def test_minus_infinity_in_both_is_no_difference(metric):
    a, b = spectrum_of([1.0, -5.0, GONE]), spectrum_of([1.0, -5.0, GONE])
    assert distance(a, b, metric=metric) == 0.0
    c, d = spectrum_of([1.0, 2.0, -9.0]), spectrum_of([1.0, -5.0, -9.0])
    finite_part = distance(c, d, metric=metric)
    assert distance(spectrum_of([1.0, 2.0, GONE]), b, metric=metric) == pytest.approx(finite_part)
    assert distance(spectrum_of([GONE]), spectrum_of([GONE]), metric=metric) == 0.0


@pytest.mark.parametrize("metric", [l2, wasserstein, mean_shift])
def test_minus_infinity_in_one_is_refused_or_bounded(metric):
    a, b = spectrum_of([1.0, -5.0]), spectrum_of([1.0, GONE])
    with pytest.raises(
        IncomparableSpectraError, match="got 0 of them and 1 in layer 0; pass floor"
    ):
        distance(a, b, metric=metric)
    bounded = distance(a, spectrum_of([1.0, -20.0]), metric=metric)
    assert distance(a, b, metric=metric, floor=-20.0) == bounded
    assert distance(a, b, metric=metric, floor=-5.0) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"floor": math.nan}, "floor must be a finite number, got nan"),
        ({"floor": GONE}, "floor must be a finite number, got -inf"),
        ({"top": 0}, "top must be at least 1"),
        ({"layers": []}, r"layers must be some of 0 to 1, got \[\]"),
        ({"layers": [2]}, r"layers must be some of 0 to 1, got \[2\]"),
        ({"layers": [-1]}, "layers must be some of 0 to 1"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        distance(A, B, **options)


def test_top_of_unsorted_spectra_is_refused():
    unsorted = replace(A, convention=Convention(sorted=False))
    with pytest.raises(ValueError, match="the spectra sorted, got top 1 of unsorted spectra"):
        distance(unsorted, unsorted, top=1)


def paired(seed, sequences=50, size=6, shift=0.0):
    """Two spectra whose sequences share a large part and differ by small independent ones."""
    generator = np.random.default_rng(seed)
    common = generator.normal(0, 1.0, (sequences, size))
    a, b = (common + generator.normal(0, 0.1, (sequences, size)) for _ in range(2))
    return (
        spectrum_of(a + shift * np.arange(size), inputs_digest="same"),
        spectrum_of(b, inputs_digest="same"),
    )


def test_paired_difference_cancels_what_is_common():
    a, b = paired(0, shift=0.1)
    difference = paired_difference(a, b)
    np.testing.assert_allclose(difference.values, a.exponents - b.exponents)
    expected = 0.1 * math.sqrt(2) / math.sqrt(50)
    np.testing.assert_allclose(difference.standard_errors, expected, rtol=0.4)
    assert (np.abs(difference.values - 0.1 * np.arange(6)) < 4 * expected).all()


def test_error_of_a_linear_distance_is_that_of_the_mean():
    """For a signed mean the jackknife is the ordinary standard error, exactly."""
    a, b = paired(1)

    def signed(left, right):
        return float(left[0].mean() - right[0].mean())

    means = (a.sequences - b.sequences).mean(axis=1)
    assert distance_error(a, b, metric=signed) == pytest.approx(means.std(ddof=1) / math.sqrt(50))


def test_error_of_the_distance_is_its_spread_over_repetitions():
    found = [paired(seed, shift=0.5) for seed in range(200)]
    spread = np.std([distance(a, b) for a, b in found])
    errors = [distance_error(a, b) for a, b in found]
    assert np.mean(errors) == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs_digest": "other"}, "inputs_digest 'same' against 'other'"),
        ({"steps": 11}, "steps 10 against 11"),
        ({"seed": 3}, "seed None against 3"),
        ({"sequences": np.zeros((3, 6))}, "sequences 50 against 3"),
    ],
)
@pytest.mark.parametrize("function", [distance_error, paired_difference])
def test_unpaired_spectra_have_no_paired_error(function, changes, words):
    a, b = paired(0)
    with pytest.raises(IncomparableSpectraError, match=f"same tokens and start, got {words}"):
        function(a, replace(b, **changes))


@pytest.mark.parametrize("changes", [{"inputs_digest": None}, {"sequences": np.zeros((1, 6))}])
def test_pairs_must_be_known_and_several(changes):
    a, b = (replace(spectrum, **changes) for spectrum in paired(0))
    with pytest.raises(IncomparableSpectraError, match="know their inputs and have at least 2"):
        distance_error(a, b)


def test_interpolation_aligns_networks_of_different_size():
    """Two samples of one curve over the relative index are no distance apart."""
    small, large = (spectrum_of(-((np.arange(n) + 0.5) / n)) for n in (10, 40))
    with pytest.raises(IncomparableSpectraError, match="as many exponents in layer 0, got 10"):
        distance(small, large)
    assert distance(small, large, align=interpolated) == pytest.approx(0.0, abs=1e-12)
    shifted = spectrum_of(0.5 - (np.arange(40) + 0.5) / 40)
    assert distance(small, shifted, align=interpolated, metric=mean_shift) == pytest.approx(0.5)
    with pytest.raises(IncomparableSpectraError, match="as many layers"):
        distance(A, small, align=interpolated)


def test_interpolation_keeps_what_it_can():
    spectrum = spectrum_of([3.0, 2.0, 1.0, 0.0], standard_errors=[0.1, 0.2, 0.3, 0.4])
    assert spectrum.interpolated([4]).exponents.tolist() == [3.0, 2.0, 1.0, 0.0]
    half = spectrum.interpolated([2])
    assert half.exponents.tolist() == [2.5, 0.5]
    assert half.standard_errors.tolist() == pytest.approx([0.15, 0.35])
    gone = spectrum_of([1.0, 0.0, GONE, GONE]).interpolated([2])
    assert gone.exponents.tolist() == [0.5, GONE]
    with pytest.raises(ValueError, match=r"must be sorted and complete, got .* not sorted"):
        spectrum_of([1.0], convention=Convention(sorted=False)).interpolated([1])
    with pytest.raises(ValueError, match="counts must be one >= 1 for each layer"):
        spectrum.interpolated([2, 2])


def test_standardised_distance_of_noise_is_one():
    found = [standardised_distance(*paired(seed, size=40)) for seed in range(10)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.15)
    assert standardised_distance(*paired(0, shift=1.0)) > 10


def test_standardised_distance_of_unpaired_spectra():
    a = spectrum_of([1.0, 0.0], standard_errors=[0.3, 0.0])
    b = spectrum_of([0.5, 0.0], standard_errors=[0.4, 0.0])
    assert standardised_distance(a, b) == pytest.approx(1.0)
    assert standardised_distance(a, a) == 0.0
    with pytest.raises(IncomparableSpectraError, match="have standard errors, got neither"):
        standardised_distance(a, spectrum_of([0.5, 0.0]))
    with pytest.raises(IncomparableSpectraError, match="got one without"):
        standardised_distance(a, spectrum_of([1.0, 0.5], standard_errors=[0.3, 0.0]))
