"""Who starts with more connections than it keeps, of every method there is."""

import pytest

from lsh_native.pruning.catalogue import METHODS
from lsh_native.search.candidate import Candidate
from lsh_native.search.start import start_warning, starts_dense

DENSE = {
    *("dense", "one_shot", "gradual_magnitude", "lottery_ticket", "granet"),
    *("whole_units", "lattice"),
}
SLOTS = {
    "initial": "uniform",
    "drop": "set",
    "grow": "random",
    "redistribute": "none",
    "drop_fraction": 0.5,
}


def candidate(method, **controls):
    return Candidate.from_dict({"method": method, **SLOTS, **controls})


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method):
    slots = SLOTS if method == "dynamic" else {"initial": "uniform"}
    if method not in ("dynamic", "static", "rigl"):
        slots = {}
    made = Candidate.from_dict({"method": method, **slots})
    assert starts_dense(made, 0.3) is (method in DENSE)


def test_an_initial_density_counts_where_it_is_above_the_one_to_keep():
    dynamic = {"initial_density": 0.5}
    assert starts_dense(candidate("dynamic", **dynamic), 0.3)
    assert not starts_dense(candidate("dynamic", **dynamic), 0.6)
    assert not starts_dense(candidate("dynamic", density=0.7, **dynamic), 0.3)
    half = Candidate.from_dict({"method": "gradual_magnitude", "initial_density": 0.3})
    assert not starts_dense(half, 0.3)
    assert not starts_dense(half, 0.5)


@pytest.mark.parametrize(
    ("score", "warns"),
    [
        ("rank_mean", True),
        ("lyapunov_last_layer", True),
        ("loss+lyapunov", True),
        ("mine:score", True),
        ("loss", False),
        ("loss+training_losses", False),
        ("surrogate", False),
    ],
)
def test_only_spectra_cannot_be_compared(score, warns):
    both = [candidate("dynamic"), Candidate(method="one_shot")]
    assert (start_warning(both, 0.3, score) is not None) is warns
    assert start_warning(both[:1], 0.3, score) is None
    assert start_warning(both[1:], 0.3, score) is None
