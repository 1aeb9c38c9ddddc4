"""Covariant Lyapunov vectors: the directions that the dynamics themselves carry along.

Forwards in time A_t = J_t Q_{t-1} = Q_t R_t. Backwards, C_{t-1} ∝ R_t⁻¹ C_t with columns of unit
length turns any upper triangle into the one for which V_t = Q_t C_t satisfies J_t V_{t-1} ∝ V_t.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsh_native.lyapunov.accumulate import Initial
from lsh_native.lyapunov.qr_growth import qr_growth
from lsh_native.lyapunov.standard_error import FloatArray
from lsh_native.lyapunov.tangent import (
    TangentFlow,
    TangentMap,
    identity_tangent,
    random_tangent,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class CovariantVectors:
    """Covariant vectors along a stretch of time.

    Args:
        vectors: unit vectors as columns, (T + 1, B, n, K): before the stretch and after each step.
        growth: ln of what each step stretched each vector by, (T, B, K).
        begin: the time step of the maps that the stretch begins with.
    """

    vectors: Tensor
    growth: FloatArray
    begin: int

    @property
    def exponents(self) -> FloatArray:
        """Mean growth of each vector, (B, K), in nats per step."""
        mean: FloatArray = self.growth.mean(axis=0)
        return mean

    def angles(self, i: int, j: int) -> NDArray[np.float64]:
        """Angles between the lines of vectors i and j, (T + 1, B), in radians up to π / 2."""
        cosine = (self.vectors[..., i] * self.vectors[..., j]).sum(dim=-1).abs().double()
        result: NDArray[np.float64] = cosine.clamp(max=1.0).acos().numpy(force=True)
        return result


@torch.no_grad()
def covariant_vectors(
    maps: TangentMap,
    *,
    k: int | None = None,
    forward_warmup: int = 100,
    backward_warmup: int = 100,
    initial: Initial = "random",
    seed: int = 0,
) -> CovariantVectors:
    """The covariant Lyapunov vectors of one layer along the middle of its steps.

    Memory is (T (n + 2 K) K) numbers for each sequence: meant for k up to a few hundred.

    Args:
        maps: the linearised dynamics.
        k: leading vectors; all by default.
        forward_warmup: first steps, in which tangent vectors turn to the directions of the past.
        backward_warmup: last steps, in which triangles turn to the directions of the future.
        initial: how the tangent vectors start.
        seed: of a random start, and of the triangle at the end.

    Raises:
        ValueError: a count is impossible, no steps are left, or a vector is lost among those before
            it, so that nothing grows into it.

    Source: F. Ginelli et al., Physical Review Letters 99 (2007) 130601.
    """
    count = maps.size if k is None else k
    if not 1 <= count <= maps.size:
        raise ValueError(f"k must be in [1, {maps.size}], the size of the state, got {k}")
    stop = maps.steps - backward_warmup
    if min(forward_warmup, backward_warmup) < 0 or forward_warmup >= stop:
        raise ValueError(
            f"steps must be left between the warm-ups, got {maps.steps} steps, "
            f"forward_warmup {forward_warmup} and backward_warmup {backward_warmup}"
        )
    generator = torch.Generator().manual_seed(seed)
    if initial == "identity":
        start = identity_tangent(maps, count)
    else:
        start = random_tangent(maps, count, generator)
    flow = TangentFlow(maps, start)
    for time in range(forward_warmup):
        flow.advance(range(time, time + 1), counted=False)

    bases, triangles = [flow.tangent], []
    for time in range(forward_warmup, maps.steps):
        moved = maps.apply(time, flow.tangent)
        result = qr_growth(moved)
        if result.lost.any():
            sequence, vector = result.lost.nonzero()[0].tolist()
            raise ValueError(
                f"k must be so small that no vector is lost, got vector {vector} of sequence "
                f"{sequence} lost at time step {time}"
            )
        flow.tangent = result.basis
        triangles.append((result.basis.mT @ moved).triu())
        if time < stop:
            bases.append(result.basis)

    shape = (maps.batch, count, count)
    turned = torch.randn(shape, generator=generator, dtype=torch.float64).triu()
    mixture = _unit(turned + count * torch.eye(count, dtype=torch.float64))[0]
    mixture = mixture.to(dtype=maps.dtype, device=maps.device)
    vectors, growth = [], []
    for time in reversed(range(forward_warmup, maps.steps)):
        if time < stop:
            vectors.append(bases[time + 1 - forward_warmup] @ mixture)
        before = torch.linalg.solve_triangular(
            triangles[time - forward_warmup], mixture, upper=True
        )
        mixture, lengths = _unit(before)
        if time < stop:
            growth.append(-lengths.double().log())
    vectors.append(bases[0] @ mixture)
    return CovariantVectors(
        vectors=torch.stack(vectors[::-1]),
        growth=torch.stack(growth[::-1]).numpy(force=True),
        begin=forward_warmup,
    )


def _unit(columns: Tensor) -> tuple[Tensor, Tensor]:
    lengths = torch.linalg.vector_norm(columns, dim=-2)
    return columns / lengths.unsqueeze(-2), lengths
