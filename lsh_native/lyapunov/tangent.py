"""Tangent vectors carried along a trajectory: Q ← J_t Q, orthonormalised, their growth added up."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from lsh_native.lyapunov.finite import NonFiniteTangentError, require_finite
from lsh_native.lyapunov.qr_growth import QRGrowth, qr_growth

Orthonormalizer = Callable[[Tensor], QRGrowth]
"""Tangent vectors (B, n, K) to an orthonormal basis, log growth and losses; see `qr_growth`."""


class TangentMap(Protocol):
    """The dynamics linearised along a batch of trajectories: J_t (B, n, n), never formed."""

    @property
    def steps(self) -> int:
        """How many time steps there are, T."""

    @property
    def batch(self) -> int:
        """How many sequences run side by side, B."""

    @property
    def size(self) -> int:
        """The dimension of the state, n."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the tangent vectors."""

    @property
    def device(self) -> torch.device:
        """The device of the tangent vectors."""

    def apply(self, time: int, tangent: Tensor) -> Tensor:
        """The product J_time · tangent, (B, n, K) to (B, n, K)."""


class JacobianSequence:
    """Jacobians that are given as matrices.

    Args:
        jacobians: (T, B, n, n), or (T, n, n) for one sequence; J[t, …, i, j] = ∂state'_i /
            ∂state_j.

    Raises:
        ValueError: the shape or dtype is another, or an entry is NaN or infinite.
    """

    def __init__(self, jacobians: Tensor) -> None:
        square = jacobians.dim() in (3, 4) and jacobians.shape[-1] == jacobians.shape[-2]
        if not square or jacobians.numel() == 0 or not jacobians.is_floating_point():
            raise ValueError(
                "jacobians must be a floating-point tensor of shape (T, n, n) or (T, B, n, n), "
                f"got {jacobians.dtype} of shape {tuple(jacobians.shape)}"
            )
        if jacobians.dim() == 3:
            jacobians = jacobians.unsqueeze(1)
        require_finite("jacobians", jacobians, ("time step", "sequence", "row", "column"))
        self._jacobians = jacobians
        self.steps, self.batch, self.size, _ = jacobians.shape
        self.dtype, self.device = jacobians.dtype, jacobians.device

    def apply(self, time: int, tangent: Tensor) -> Tensor:
        """The product J_time · tangent, (B, n, K) to (B, n, K)."""
        return self._jacobians[time] @ tangent


class MapJacobian:
    """The Jacobians of a differentiable map along the orbit that starts at a state.

    Derivatives are taken backwards, n of them a step: forward mode would pass over an operator that
    has no forward derivative without a word and take it for a constant.

    Args:
        step: one state (n,) to the next (n,), in differentiable torch operations that `torch.vmap`
            understands.
        state: where the orbit starts, (n,), or (B, n) for B orbits.
        steps: how many steps to follow.
        state_warmup: steps taken before the first of them.

    Raises:
        ValueError: a shape or count is impossible, or the orbit leaves the finite numbers; the
            message says when.
    """

    def __init__(
        self,
        step: Callable[[Tensor], Tensor],
        state: Tensor,
        steps: int,
        *,
        state_warmup: int = 0,
    ) -> None:
        if state.dim() not in (1, 2) or state.numel() == 0 or not state.is_floating_point():
            raise ValueError(
                "state must be a floating-point tensor of shape (n,) or (B, n), "
                f"got {state.dtype} of shape {tuple(state.shape)}"
            )
        if steps < 1 or state_warmup < 0:
            raise ValueError(
                "steps must be at least 1 and state_warmup at least 0, "
                f"got steps {steps} and state_warmup {state_warmup}"
            )
        current = state.detach().reshape(-1, state.shape[-1])
        batched_step = torch.func.vmap(step)
        states = []
        with torch.no_grad():
            for time in range(state_warmup + steps):
                require_finite(f"the orbit at step {time}", current, ("sequence", "coordinate"))
                if time >= state_warmup:
                    states.append(current)
                following = batched_step(current)
                if following.shape != current.shape:
                    raise ValueError(
                        f"step must map a state of shape {tuple(current.shape[1:])} to one of the "
                        f"same shape, got {tuple(following.shape[1:])}"
                    )
                current = following
        self._states = torch.stack(states)
        self._jacobian = torch.func.vmap(torch.func.jacrev(step))
        self.steps, self.batch, self.size = self._states.shape
        self.dtype, self.device = state.dtype, state.device

    def apply(self, time: int, tangent: Tensor) -> Tensor:
        """The product J_time · tangent, (B, n, K) to (B, n, K)."""
        jacobian: Tensor = self._jacobian(self._states[time])
        return jacobian @ tangent


class TangentFlow:
    """K tangent vectors per sequence, moved by the linearised dynamics and kept orthonormal.

    `step` and `orthonormalize` are the whole algorithm.

    Args:
        maps: the linearised dynamics.
        tangent: where the vectors start, (B, n, K), orthonormal columns.
        orthonormalizer: what replaces the vectors by an orthonormal basis and measures growth.

    Attributes:
        tangent: the vectors now, (B, n, K).
        log_growth: sum of the counted growth ln R_jj, (B, K), float64.
        counted_steps: how many steps that growth covers.
        lost_steps: over how many of them a vector was lost among those before it, (B, K).
        fallbacks: how often `advance` had to break up its interval.

    Source: G. Benettin et al., Meccanica 15 (1980) 9-30; I. Shimada and T. Nagashima, Progress of
        Theoretical Physics 61 (1979) 1605-1616.

    Example:
        >>> maps = JacobianSequence(torch.diag(torch.tensor([2.0, 0.5])).expand(10, 2, 2))
        >>> flow = TangentFlow(maps, identity_tangent(maps, 2))
        >>> for time in range(10):
        ...     flow.step(time)
        ...     _ = flow.orthonormalize()
        >>> flow.exponents.exp()
        tensor([[2.0000, 0.5000]], dtype=torch.float64)
    """

    def __init__(
        self, maps: TangentMap, tangent: Tensor, orthonormalizer: Orthonormalizer = qr_growth
    ) -> None:
        batch, size = maps.batch, maps.size
        if tangent.dim() != 3 or tangent.shape[:2] != (batch, size) or tangent.shape[2] > size:
            raise ValueError(
                f"tangent must have shape ({batch}, {size}, K) with K <= {size}, "
                f"got {tuple(tangent.shape)}"
            )
        self.maps = maps
        self.tangent = tangent
        shape, device = (batch, tangent.shape[2]), tangent.device
        self.log_growth = torch.zeros(shape, dtype=torch.float64, device=device)
        self.lost_steps = torch.zeros(shape, dtype=torch.int64, device=device)
        self.counted_steps = 0
        self.fallbacks = 0
        self._orthonormalizer = orthonormalizer
        self._since = 0
        self._time = -1

    @property
    def exponents(self) -> Tensor:
        """Growth per counted step, (B, K); -inf for a vector that was lost over most of them.

        One lost step says little: a direction that contracts for a moment below what the dtype can
        tell from nothing comes back. One that is gone for good is lost in nearly every step.
        """
        erased = 2 * self.lost_steps > self.counted_steps
        return torch.where(erased, -torch.inf, self.log_growth / self.counted_steps)

    def step(self, time: int) -> None:
        """Moves the vectors one time step on: Q ← J_time Q."""
        self.tangent = self.maps.apply(time, self.tangent)
        self._since += 1
        self._time = time

    def orthonormalize(self, *, counted: bool = True) -> QRGrowth:
        """Makes the vectors orthonormal and, if `counted`, adds their growth since last time."""
        return self._accept(self._measure(), counted)

    def advance(self, times: range, *, counted: bool = True) -> Tensor:
        """Takes the steps `times`, orthonormalises at their end and returns the growth, (B, K).

        If a vector gets lost among the others or overflows on the way, the flow falls back: it
        takes the same steps again and orthonormalises after each.
        """
        start = self.tangent
        for time in times:
            self.step(time)
        if len(times) <= 1:
            return self._accept(self._measure(), counted).log_growth
        try:
            result = self._measure()
            if not result.lost.any():
                return self._accept(result, counted).log_growth
        except NonFiniteTangentError:
            pass  # The single steps of the fall-back say whether it was the interval or the map.
        self.fallbacks += 1
        self.tangent, self._since = start, 0
        single = [self.advance(range(time, time + 1), counted=counted) for time in times]
        return torch.stack(single).sum(dim=0)

    def _measure(self) -> QRGrowth:
        try:
            return self._orthonormalizer(self.tangent)
        except NonFiniteTangentError as error:
            raise NonFiniteTangentError(f"after time step {self._time}: {error}") from None

    def _accept(self, result: QRGrowth, counted: bool) -> QRGrowth:
        self.tangent = result.basis
        if counted:
            self.log_growth = self.log_growth + result.log_growth
            self.lost_steps = self.lost_steps + self._since * result.lost
            self.counted_steps += self._since
        self._since = 0
        return result


def identity_tangent(maps: TangentMap, count: int) -> Tensor:
    """The first `count` coordinate axes for every sequence, (B, n, count)."""
    axes = torch.eye(maps.size, count, dtype=maps.dtype, device=maps.device)
    return axes.expand(maps.batch, -1, -1)


def random_tangent(maps: TangentMap, count: int, generator: torch.Generator) -> Tensor:
    """A uniformly drawn orthonormal frame for each sequence, (B, n, count).

    It is drawn on the CPU in float64, so one seed gives the same frame on every device and at every
    precision.
    """
    gaussian = torch.randn(
        maps.batch, maps.size, count, generator=generator, dtype=torch.float64, device="cpu"
    )
    return qr_growth(gaussian).basis.to(dtype=maps.dtype, device=maps.device)
