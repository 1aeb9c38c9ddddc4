"""The record of a spectrum: derived quantities, bases, orders, round trips, and refusals."""

import io
import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lsh_native.lyapunov import Convention, Spectrum, spectrum_of_jacobians


def spectrum_of(exponents, *, states=None, layers=None, **options):
    exponents = np.atleast_2d(np.asarray(exponents, dtype=np.float64))
    layers = layers or (exponents.shape[1],)
    return Spectrum(
        sequences=exponents,
        layer_sizes=layers,
        state_sizes=states or layers,
        convention=options.pop("convention", Convention()),
        steps=options.pop("steps", 10),
        **options,
    )


def rich():
    """A spectrum in which every field holds something."""
    generator = torch.Generator().manual_seed(0)
    jacobians = torch.randn(30, 3, 4, 4, generator=generator, dtype=torch.float64)
    jacobians[:, 1, 2] = 0.0
    spectrum = spectrum_of_jacobians(jacobians, k=3, tangent_warmup=5, every=2, history=True)
    return replace(spectrum, inputs_digest="0a1b", state_warmup=7)


def test_exponents_are_the_mean_of_the_sequences():
    spectrum = spectrum_of([[1.0, 0.0], [3.0, -1.0]])
    assert spectrum.exponents.tolist() == [2.0, -0.5]
    assert spectrum.largest == 2.0


def test_layers_are_blocks():
    spectrum = spectrum_of([3.0, 2.0, 1.0], layers=(1, 2))
    assert [block.tolist() for block in spectrum.layers] == [[3.0], [2.0, 1.0]]


def test_record_cannot_be_changed():
    spectrum = spectrum_of([1.0])
    with pytest.raises(FrozenInstanceError):
        spectrum.steps = 3
    for array in (spectrum.sequences, spectrum.exponents):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0


def test_record_keeps_its_own_numbers():
    given_numbers = np.ones((1, 2))
    spectrum = spectrum_of(given_numbers)
    given_numbers[:] = 5.0
    assert spectrum.exponents.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("exponents", "dimension"),
    [
        ([0.9056, 0.0, -14.5723], 2 + 0.9056 / 14.5723),
        ([0.41922, -1.62319], 1 + 0.41922 / 1.62319),
        ([-0.1, -0.2], 0.0),
        ([0.5, -0.5], 2.0),
        ([0.0, -0.5], 1.0),
        ([1.0, 1.0], 2.0),
        ([1.0, -math.inf], 1.0),
        ([-math.inf], 0.0),
        ([-1.0, 0.5], 1.5),
    ],
)
def test_kaplan_yorke_dimension(exponents, dimension):
    assert spectrum_of(exponents).kaplan_yorke_dimension == pytest.approx(dimension)


def test_kaplan_yorke_dimension_over_layers():
    spectrum = spectrum_of([0.3, -0.2, 0.1, -1.0], layers=(2, 2))
    assert spectrum.kaplan_yorke_dimension == pytest.approx(3 + 0.2 / 1.0)


def test_kaplan_yorke_dimension_from_leading_exponents():
    enough = spectrum_of([1.0, -3.0], states=(10,))
    assert enough.kaplan_yorke_dimension == pytest.approx(1 + 1 / 3)
    short = spectrum_of([1.0, -0.5], states=(10,))
    with pytest.raises(ValueError, match=r"more exponents are needed: .* got the 2 leading ones"):
        _ = short.kaplan_yorke_dimension
    # The first layer's list breaks off at -0.1; nothing below that surely leads.
    stack = spectrum_of([1.0, -0.1, 0.5, -9.0], layers=(2, 2), states=(8, 2))
    with pytest.raises(ValueError, match="more exponents"):
        _ = stack.kaplan_yorke_dimension


def test_metric_entropy():
    assert spectrum_of([0.5, 0.25, -1.0]).metric_entropy == 0.75
    assert spectrum_of([-1.0]).metric_entropy == 0.0
    assert spectrum_of([0.5, -1.0], states=(9,)).metric_entropy == 0.5
    with pytest.raises(ValueError, match="more exponents are needed: all at hand are positive"):
        _ = spectrum_of([0.5, 0.1], states=(9,)).metric_entropy


def test_bases():
    nats = rich()
    bits = nats.in_base("2")
    assert bits.convention.base == "2"
    np.testing.assert_allclose(bits.exponents * math.log(2), nats.exponents)
    np.testing.assert_allclose(bits.standard_errors * math.log(2), nats.standard_errors)
    np.testing.assert_allclose(bits.history * math.log(2), nats.history)
    back = bits.in_base("nat")
    np.testing.assert_allclose(back.sequences, nats.sequences)
    assert back.convention == nats.convention


def test_descending_moves_all_numbers_alike():
    spectrum = spectrum_of(
        [[1.0, 3.0, -1.0, 0.0], [1.0, 1.0, -1.0, 2.0]],
        layers=(2, 2),
        convention=Convention(sorted=False),
        standard_errors=[0.1, 0.2, 0.3, 0.4],
        history=[[1.0, 2.0, 3.0, 4.0]],
        history_steps=(10,),
    ).descending()
    assert spectrum.convention.sorted
    assert spectrum.exponents.tolist() == [2.0, 1.0, 1.0, -1.0]
    assert spectrum.sequences.tolist() == [[3.0, 1.0, 0.0, -1.0], [1.0, 1.0, 2.0, -1.0]]
    assert spectrum.standard_errors.tolist() == [0.2, 0.1, 0.4, 0.3]
    assert spectrum.history.tolist() == [[2.0, 1.0, 4.0, 3.0]]


def same(a, b):
    return a.to_dict() == b.to_dict()


@pytest.mark.parametrize("spectrum", [rich(), spectrum_of([1.0, -math.inf])])
def test_json_round_trip(spectrum):
    text = json.dumps(spectrum.to_dict(), allow_nan=False)
    assert same(Spectrum.from_dict(json.loads(text)), spectrum)


@pytest.mark.parametrize("spectrum", [rich(), spectrum_of([1.0, -math.inf])])
def test_numpy_round_trip(spectrum):
    file = io.BytesIO()
    np.savez(file, **spectrum.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as found:
        assert same(Spectrum.from_arrays(found), spectrum)
        np.testing.assert_array_equal(found["exponents"], spectrum.exponents)


@given(arrays(np.float64, (2, 3), elements=st.floats(-1e300, 1e300) | st.just(-math.inf)))
def test_any_numbers_survive_json(sequences):
    spectrum = spectrum_of(sequences)
    record = json.loads(json.dumps(spectrum.to_dict(), allow_nan=False))
    np.testing.assert_array_equal(Spectrum.from_dict(record).sequences, spectrum.sequences)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequences": [[math.nan]]}, "sequences must hold finite numbers or -inf"),
        ({"sequences": [[math.inf]]}, "sequences must hold finite numbers or -inf"),
        ({"sequences": [[1.0, 2.0]]}, r"sequences must have shape \(B, 1\) with B >= 1, got"),
        ({"sequences": [1.0]}, r"sequences must have shape \(B, 1\)"),
        ({"layer_sizes": ()}, "a layer must have from 1 exponent"),
        ({"layer_sizes": (2,)}, "a layer must have from 1 exponent up to as many as its state"),
        ({"standard_errors": [-1.0]}, "standard_errors must be 1 numbers >= 0"),
        ({"standard_errors": [math.nan]}, "standard_errors must be 1 numbers >= 0"),
        ({"history": [[1.0]]}, r"history must have shape \(0, 1\), got \(1, 1\)"),
        ({"history": [[math.nan]], "history_steps": (1,)}, "history must hold finite numbers"),
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"every": 1.5}, "every must be 'auto' or an integer >= 1, got 1.5"),
        ({"state_warmup": -1}, "state_warmup must be an integer >= 0, got -1"),
    ],
)
def test_impossible_records(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(spectrum_of([1.0]), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "a record of format 2"),
        ({"exponents": [5.0]}, "exponents must be the mean of sequences"),
        ({"exponents": None}, "exponents must be the mean of sequences"),
        ({"layer_sizes": None}, "must hold numbers and lists"),
        ({"layer_sizes": ["a"]}, "must hold numbers and lists"),
        ({"sequences": [["a"]]}, "could not convert string"),
        ({"convention": None}, "must hold numbers and lists"),
        ({"convention": {"state": "cell"}}, "state must be one of"),
        ({"colour": 1}, "must hold its fields and no others"),
    ],
)
def test_foreign_dictionaries(changes, message):
    with pytest.raises(ValueError, match=message):
        Spectrum.from_dict(spectrum_of([1.0]).to_dict() | changes)


def test_incomplete_dictionaries():
    record = spectrum_of([1.0]).to_dict()
    del record["steps"]
    with pytest.raises(ValueError, match="must hold its fields and no others"):
        Spectrum.from_dict(record)
    with pytest.raises(ValueError, match="a record of format 2"):
        Spectrum.from_dict([1.0])
    with pytest.raises(ValueError, match="must hold 'record', got"):
        Spectrum.from_arrays({"sequences": np.ones((1, 1))})


@pytest.mark.parametrize(
    "field", [{"state": "cell"}, {"order": "back"}, {"base": "10"}, {"sorted": None}]
)
def test_unknown_conventions(field):
    (name,) = field
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got {field[name]!r}"):
        Convention(**field)


def test_the_first_format_is_still_read():
    record = rich().to_dict()
    for name in ("intervals", "breakdowns", "until"):
        del record[name]
    spectrum = Spectrum.from_dict({**record, "format": 1})
    np.testing.assert_array_equal(spectrum.exponents, rich().exponents)
    assert (spectrum.intervals, spectrum.breakdowns, spectrum.until) == ((), 0, None)
