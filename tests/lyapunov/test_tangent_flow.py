"""Tangent vectors along a trajectory: the two maps, the flow's two moves, starts and fall-backs."""

import math

import pytest
import torch

from lsh_native.lyapunov import (
    JacobianSequence,
    MapJacobian,
    NonFiniteTangentError,
    TangentFlow,
    identity_tangent,
    random_tangent,
)


def gaussian(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def flow_of(jacobians, count=None):
    maps = JacobianSequence(jacobians)
    return TangentFlow(maps, identity_tangent(maps, count or maps.size))


def test_jacobian_sequence_multiplies():
    jacobians, tangent = gaussian(5, 3, 4, 4), gaussian(3, 4, 2)
    maps = JacobianSequence(jacobians)
    assert (maps.steps, maps.batch, maps.size) == (5, 3, 4)
    assert torch.equal(maps.apply(2, tangent), jacobians[2] @ tangent)


def test_map_jacobian_follows_the_orbit():
    weight = gaussian(3, 3, seed=1)
    start = gaussian(2, 3, seed=2)
    maps = MapJacobian(lambda state: (weight @ state).tanh(), start, steps=4, state_warmup=1)
    tangent = gaussian(2, 3, 2, seed=3)
    state = start
    for _ in range(1 + 2):
        state = (state @ weight.T).tanh()
    slope = 1 - (state @ weight.T).tanh() ** 2
    expected = slope.unsqueeze(2) * (weight @ tangent)
    torch.testing.assert_close(maps.apply(2, tangent), expected)


def test_map_jacobian_sees_through_operators_without_forward_derivative():
    class Square(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x**2

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return 2 * x * gradient

    maps = MapJacobian(Square.apply, torch.tensor([0.5, 0.25]), steps=1)
    torch.testing.assert_close(
        maps.apply(0, torch.eye(2).unsqueeze(0)), torch.diag(torch.tensor([1.0, 0.5])).unsqueeze(0)
    )


def test_flow_keeps_the_product_of_the_factors():
    jacobians = gaussian(6, 2, 4, 4)
    flow = flow_of(jacobians)
    for time in range(6):
        flow.step(time)
        flow.orthonormalize()
    volume = torch.linalg.slogdet(jacobians)[1].sum(dim=0)
    torch.testing.assert_close(flow.log_growth.sum(dim=1), volume)


def test_uncounted_growth_is_returned_and_not_added():
    flow = flow_of(gaussian(1, 3, 3))
    flow.step(0)
    assert flow.orthonormalize(counted=False).log_growth.isfinite().all()
    assert (flow.log_growth == 0).all()
    assert flow.counted_steps == 0
    with pytest.raises(ValueError, match="at least 1 counted step, got none"):
        _ = flow.exponents


def test_an_interval_gives_the_growth_of_its_steps():
    jacobians = gaussian(6, 2, 4, 4)
    often, seldom = flow_of(jacobians), flow_of(jacobians)
    growth = sum(often.advance(range(time, time + 1)) for time in range(6))
    torch.testing.assert_close(seldom.advance(range(6)), growth)
    torch.testing.assert_close(seldom.log_growth, growth)
    torch.testing.assert_close(seldom.exponents, growth / 6)
    torch.testing.assert_close(seldom.tangent, often.tangent)
    assert seldom.fallbacks == often.fallbacks == 0


def test_a_vector_lost_within_an_interval_makes_it_fall_back():
    spread = torch.diag(torch.tensor([1e3, 1e-3], dtype=torch.float64))
    turn = torch.linalg.qr(gaussian(2, 2))[0]
    flow = flow_of((turn @ spread @ turn.T).expand(30, 2, 2))
    flow.advance(range(10), counted=False)
    growth = flow.advance(range(10, 30))
    assert flow.fallbacks == 2
    expected = [[20 * math.log(1e3), 20 * math.log(1e-3)]]
    torch.testing.assert_close(growth, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(flow.log_growth, growth)


def test_overflow_within_an_interval_makes_it_fall_back():
    flow = flow_of(torch.full((10, 1, 1), 1e30))
    torch.testing.assert_close(
        flow.advance(range(10)), torch.full((1, 1), 10 * math.log(1e30), dtype=torch.float64)
    )
    assert flow.fallbacks == 1


def test_underflow_within_an_interval_makes_it_fall_back():
    flow = flow_of(torch.full((10, 1, 1), 1e-30))
    torch.testing.assert_close(
        flow.advance(range(10)), torch.full((1, 1), 10 * math.log(1e-30), dtype=torch.float64)
    )
    assert flow.fallbacks == 1


def test_what_is_lost_for_good_is_minus_infinity():
    flow = flow_of(torch.diag(torch.tensor([2.0, 0.0])).expand(4, 2, 2))
    flow.advance(range(4))
    assert flow.lost_steps.tolist() == [[0, 4]]
    assert flow.exponents.tolist() == [[pytest.approx(math.log(2)), -math.inf]]


def test_what_is_lost_for_a_moment_comes_back():
    jacobians = torch.diag(torch.tensor([2.0, 0.5])).repeat(100, 1, 1)
    jacobians[7, 1, 1] = 0.0
    flow = flow_of(jacobians)
    flow.advance(range(100))
    assert flow.lost_steps.tolist() == [[0, 1]]
    # The step counts as a growth of ε times the longest column, 2.
    lost = math.log(2 * torch.finfo(torch.float32).eps)
    expected = (99 * math.log(0.5) + lost) / 100
    assert flow.exponents.tolist() == [[pytest.approx(math.log(2)), pytest.approx(expected)]]


def test_divergence_says_when():
    class Diverging(JacobianSequence):
        def apply(self, time, tangent):
            return super().apply(time, tangent) * (math.nan if time == 3 else 1.0)

    maps = Diverging(gaussian(5, 2, 2))
    flow = TangentFlow(maps, identity_tangent(maps, 2))
    for time in range(3):
        flow.step(time)
        flow.orthonormalize()
    flow.step(3)
    with pytest.raises(NonFiniteTangentError, match="after time step 3: tangent vectors must be"):
        flow.orthonormalize()


def test_growth_is_differentiable():
    """The sum of the growth is ln |det J|, whose gradient is the transposed inverse."""
    jacobians = gaussian(3, 4, 4).requires_grad_()
    flow = flow_of(jacobians)
    flow.advance(range(0, 1))
    flow.advance(range(1, 3))
    flow.log_growth.sum().backward()
    torch.testing.assert_close(jacobians.grad, torch.linalg.inv(jacobians.detach()).mT)


def test_random_start_is_an_orthonormal_frame_per_sequence():
    def frame(dtype):
        maps = JacobianSequence(torch.ones(1, 3, 6, 6, dtype=dtype))
        return random_tangent(maps, 4, torch.Generator().manual_seed(5))

    double, single = frame(torch.float64), frame(torch.float32)
    torch.testing.assert_close(
        double.mT @ double, torch.eye(4, dtype=torch.float64).expand(3, -1, -1)
    )
    assert not torch.allclose(double[0], double[1])
    torch.testing.assert_close(double.float(), single)


@pytest.mark.parametrize(
    "jacobians",
    [torch.ones(2, 2), torch.ones(1, 2, 3), torch.ones(1, 2, 2).int(), torch.ones(0, 2, 2)],
)
def test_jacobians_of_other_shapes_are_refused(jacobians):
    with pytest.raises(ValueError, match=r"\(T, n, n\) or \(T, B, n, n\), got"):
        JacobianSequence(jacobians)


def test_jacobians_that_are_not_finite_are_refused():
    jacobians = torch.ones(4, 2, 3, 3)
    jacobians[2, 1, 0, 2] = math.nan
    with pytest.raises(ValueError, match="got nan at time step 2, sequence 1, row 0, column 2"):
        JacobianSequence(jacobians)


def test_start_of_another_shape_is_refused():
    maps = JacobianSequence(torch.ones(1, 2, 3, 3))
    with pytest.raises(ValueError, match=r"\(2, 3, K\) with K <= 3, got \(1, 3, 3\)"):
        TangentFlow(maps, torch.eye(3).unsqueeze(0))
