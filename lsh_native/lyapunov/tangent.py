"""Tangent vectors carried along a trajectory: Q ← J_t Q, orthonormalised, their growth added up."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lsh_native.lyapunov.finite import NonFiniteTangentError
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
        """The product J_time · tangent, (B, n, K) to (B, n, K), of whatever strides."""


@runtime_checkable
class IntervalMap(TangentMap, Protocol):
    """A tangent map that takes several steps at once faster than one after the other."""

    def along(self, times: range, tangent: Tensor) -> Tensor:
        """The product J_last ⋯ J_first · tangent over consecutive steps."""


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
        orthonormalizations: how many there were.
        breakdowns: in how many of them, over all sequences, a Cholesky factor was tried in vain.
        condition: of the vectors that were orthonormalised last, the worst of all sequences; see
            `QRGrowth`.

    Source: G. Benettin et al., Meccanica 15 (1980) 9-30; I. Shimada and T. Nagashima, Progress of
        Theoretical Physics 61 (1979) 1605-1616.

    Example:
        >>> from lsh_native.lyapunov import JacobianSequence
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
        self.fallbacks = self.orthonormalizations = self.breakdowns = 0
        self.condition = 1.0
        self._orthonormalizer = orthonormalizer
        self._since = 0
        self._time = -1

    @property
    def exponents(self) -> Tensor:
        """Growth per counted step, (B, K); -inf for a vector that was lost over most of them.

        One lost step says little: a direction that contracts for a moment below what the dtype can
        tell from nothing comes back. One that is gone for good is lost in nearly every step.

        Raises:
            ValueError: no step was counted yet.
        """
        if self.counted_steps == 0:
            raise ValueError("exponents need at least 1 counted step, got none")
        erased = 2 * self.lost_steps > self.counted_steps
        return torch.where(erased, -torch.inf, self.log_growth / self.counted_steps)

    def step(self, time: int) -> None:
        """Moves the vectors one time step on: Q ← J_time Q."""
        self.tangent = self.maps.apply(time, self.tangent)
        self._since += 1
        self._time = time

    def _move(self, times: range) -> None:
        if not times:
            return
        if isinstance(self.maps, IntervalMap):
            self.tangent = self.maps.along(times, self.tangent)
            self._since += len(times)
            self._time = times[-1]
        else:
            for time in times:
                self.step(time)

    def orthonormalize(self, *, counted: bool = True) -> QRGrowth:
        """Makes the vectors orthonormal and, if `counted`, adds their growth since last time."""
        return self._accept(self._measure(), counted)

    def advance(self, times: range, *, counted: bool = True) -> Tensor:
        """Takes the steps `times`, orthonormalises at their end and returns the growth, (B, K).

        If a vector gets lost among the others or overflows on the way, the flow falls back: it
        takes the same steps again and orthonormalises after each.
        """
        start, since = self.tangent, self._since
        self._move(times)
        if len(times) <= 1:
            return self._accept(self._measure(), counted).log_growth
        try:
            result = self._measure()
            if not result.lost.any():
                return self._accept(result, counted).log_growth
        except NonFiniteTangentError:
            pass  # The single steps of the fall-back say whether it was the interval or the map.
        self.fallbacks += 1
        self.tangent, self._since = start, since
        single = [self.advance(range(time, time + 1), counted=counted) for time in times]
        return torch.stack(single).sum(dim=0)

    def _measure(self) -> QRGrowth:
        try:
            result = self._orthonormalizer(self.tangent)
        except NonFiniteTangentError as error:
            raise NonFiniteTangentError(f"after time step {self._time}: {error}") from None
        self.breakdowns += int(result.broken_down.sum())
        return result

    def _accept(self, result: QRGrowth, counted: bool) -> QRGrowth:
        self.tangent = result.basis
        self.condition = float(result.condition.max())
        self.orthonormalizations += 1
        if counted:
            self.log_growth = self.log_growth + result.log_growth
            self.lost_steps = self.lost_steps + self._since * result.lost
            self.counted_steps += self._since
        self._since = 0
        return result


def identity_tangent(maps: TangentMap, count: int) -> Tensor:
    """The first `count` coordinate axes for every sequence, (B, n, count)."""
    axes = torch.eye(maps.size, count, dtype=maps.dtype, device=maps.device)
    return axes.repeat(maps.batch, 1, 1)


def random_tangent(maps: TangentMap, count: int, generator: torch.Generator) -> Tensor:
    """A uniformly drawn orthonormal frame for each sequence, (B, n, count).

    It is drawn on the CPU in float64, so one seed gives the same frame on every device and at every
    precision.
    """
    gaussian = torch.randn(
        maps.batch, maps.size, count, generator=generator, dtype=torch.float64, device="cpu"
    )
    return qr_growth(gaussian).basis.to(dtype=maps.dtype, device=maps.device)
