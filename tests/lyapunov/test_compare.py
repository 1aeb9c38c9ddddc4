"""A dense and a pruned network on the same tokens: the error of the difference, not of each."""

import numpy as np
import pytest
import torch

from lsh_native.lyapunov import compare_spectra, lyapunov_spectrum, mean_shift
from lsh_native.nn import SparseLSTM


@pytest.fixture
def pair():
    torch.manual_seed(0)
    dense = SparseLSTM(5, 12, dtype=torch.float64)
    pruned = SparseLSTM(5, 12, dtype=torch.float64)
    pruned.load_state_dict(dense.state_dict())
    pruned.set_masks(
        {name: torch.rand_like(mask.double()) < 0.97 for name, mask in pruned.masks().items()}
    )
    return dense, pruned


def test_what_tokens_do_to_both_cancels(pair):
    inputs = 3 * torch.randn(60, 8, 5, dtype=torch.float64)
    found = compare_spectra(*pair, inputs, k=6)
    assert found.dense.seed == found.pruned.seed == 0
    alone = lyapunov_spectrum(pair[1], inputs, k=6)
    np.testing.assert_array_equal(found.pruned.exponents, alone.exponents)
    separate = np.hypot(found.dense.standard_errors, found.pruned.standard_errors)
    assert found.difference.standard_errors.mean() < 0.8 * separate.mean()
    np.testing.assert_allclose(found.distance, np.linalg.norm(found.difference.values))
    assert 0 < found.distance_error < found.distance


def test_one_sequence_has_no_error(pair):
    found = compare_spectra(*pair, torch.randn(45, 1, 5, dtype=torch.float64), metric=mean_shift)
    assert found.distance_error is None
    assert found.difference is None


def test_a_run_of_unknown_length_is_no_pair(pair):
    with pytest.raises(ValueError, match=r"until must be absent for a pair, got 0\.1"):
        compare_spectra(*pair, torch.randn(45, 2, 5, dtype=torch.float64), until=0.1)
