"""The joint map of a stack beside the Jacobians of the plain definition and the layers' spectra."""

import numpy as np
import pytest
import torch
from lstm_oracle import joint_jacobians

from lsh_native.lyapunov import JacobianSequence, StackTangent, lyapunov_spectrum
from lsh_native.nn import SparseLSTM

SIZES = (6, 6, 6)


def stack(density):
    torch.manual_seed(0)
    module = SparseLSTM(4, 6, num_layers=3, density=density, dtype=torch.float64)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(2.0)
    return module, torch.randn(40, 2, 4, dtype=torch.float64)


@pytest.mark.parametrize("density", [0.5, 1.0])
def test_joint_map_is_the_jacobian_with_the_last_layer_first(density):
    module, inputs = stack(density)
    maps = StackTangent(module.tangent_maps(inputs))
    assert (maps.steps, maps.batch, maps.size) == (40, 2, 36)
    expected = joint_jacobians(module.lstm_layers(), inputs).detach()
    order = [*range(24, 36), *range(12, 24), *range(12)]
    expected = expected[:, :, order][:, :, :, order]
    axes = torch.eye(36, dtype=torch.float64).repeat(2, 1, 1)
    for time in (0, 1, 39):
        torch.testing.assert_close(maps.apply(time, axes), expected[time], rtol=1e-9, atol=1e-12)


def test_layers_alone_are_the_joint_spectrum():
    module, inputs = stack(0.7)
    options = {"state_warmup": 5, "tangent_warmup": 10}
    joint = lyapunov_spectrum(module, inputs, per_layer=False, **options)
    layers = lyapunov_spectrum(module, inputs, **options)
    assert joint.layer_sizes == (36,)
    together = np.sort(layers.exponents)[::-1]
    np.testing.assert_allclose(joint.exponents, together, rtol=0, atol=1e-9)


def test_maps_that_cannot_be_driven_are_refused():
    with pytest.raises(TypeError, match=r"must have a method driven.*got \['JacobianSequence'\]"):
        StackTangent([JacobianSequence(torch.eye(2).expand(3, 2, 2))])
