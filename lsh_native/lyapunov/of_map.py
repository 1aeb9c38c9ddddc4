"""The Lyapunov spectrum of given Jacobians, and of a differentiable map along an orbit."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from lsh_native.lyapunov.accumulate import Initial, Progress, accumulate_spectrum
from lsh_native.lyapunov.convention import Base, Convention
from lsh_native.lyapunov.interval import Interval
from lsh_native.lyapunov.jacobian import JacobianSequence, MapJacobian
from lsh_native.lyapunov.spectrum import Spectrum


def spectrum_of_jacobians(
    jacobians: Tensor,
    *,
    k: int | None = None,
    tangent_warmup: int = 0,
    every: Interval = "auto",
    initial: Initial | None = None,
    seed: int = 0,
    base: Base = "nat",
    sort: bool = True,
    history: bool = False,
    until: float | None = None,
    progress: Progress | None = None,
) -> Spectrum:
    """The Lyapunov spectrum of a product of given Jacobians, J_T ⋯ J_1.

    Args:
        jacobians: (T, n, n), or (T, B, n, n) for B sequences; J[…, i, j] = ∂state'_i / ∂state_j.
        k: leading exponents; all by default.
        tangent_warmup: first Jacobians that turn the tangent vectors and are not counted.
        every: Jacobians from one orthonormalisation to the next, or `"auto"` for as many as lose
            nothing.
        initial: `"identity"` or `"random"` start of the tangent vectors, as `accumulate_spectrum`.
        seed: of a random start.
        base: of the logarithm.
        sort: descending, or in the order of the tangent vectors.
        history: whether to keep the running estimate.
        until: a standard error; the run ends as soon as all are down to it, see
            `accumulate_spectrum`.
        progress: called with the steps done and the steps there are.

    Returns:
        The spectrum, of a single layer.

    Raises:
        ValueError: a shape or count is impossible, or a Jacobian is not finite (says where).

    Example:
        >>> import torch
        >>> cat = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64).expand(1000, 2, 2)
        >>> spectrum_of_jacobians(cat, tangent_warmup=20).exponents.round(4)
        array([ 0.9624, -0.9624])
    """
    return accumulate_spectrum(
        [JacobianSequence(jacobians)],
        k=k,
        tangent_warmup=tangent_warmup,
        every=every,
        initial=initial,
        seed=seed,
        convention=Convention(base=base, sorted=sort),
        history=history,
        until=until,
        progress=progress,
    )


def spectrum_of_map(
    step: Callable[[Tensor], Tensor],
    state: Tensor,
    steps: int,
    k: int | None = None,
    *,
    state_warmup: int = 0,
    tangent_warmup: int = 0,
    every: Interval = "auto",
    initial: Initial | None = None,
    seed: int = 0,
    base: Base = "nat",
    sort: bool = True,
    history: bool = False,
    until: float | None = None,
    progress: Progress | None = None,
) -> Spectrum:
    """The Lyapunov spectrum of a differentiable map along the orbit of a state.

    Args:
        step: one state (n,) to the next (n,), in differentiable operations that `torch.vmap` takes.
        state: where the orbit starts, (n,), or (B, n) for B orbits; the computation has its dtype.
        steps: how many steps are averaged; warm-ups come before them.
        k: leading exponents; all by default.
        state_warmup: steps before the tangent vectors start.
        tangent_warmup: steps after these that turn the tangent vectors and are not counted.
        every: steps from one orthonormalisation to the next, or `"auto"` for as many as lose
            nothing.
        initial: `"identity"` or `"random"` start of the tangent vectors, as `accumulate_spectrum`.
        seed: of a random start.
        base: of the logarithm.
        sort: descending, or in the order of the tangent vectors.
        history: whether to keep the running estimate.
        until: a standard error; the run ends as soon as all are down to it, see
            `accumulate_spectrum`.
        progress: called with the steps done and the steps there are.

    Returns:
        The spectrum, of a single layer.

    Raises:
        ValueError: a shape or count is impossible, or the orbit leaves the finite numbers (says
            when).

    Example:
        >>> import torch
        >>> def henon(state):
        ...     x, y = state
        ...     return torch.stack([1 - 1.4 * x**2 + y, 0.3 * x])
        >>> start = torch.zeros(2, dtype=torch.float64)
        >>> spectrum = spectrum_of_map(henon, start, steps=300, state_warmup=100)
        >>> round(float(spectrum.exponents.sum()), 6)  # ln 0.3, the determinant of every step
        -1.203973
    """
    if steps < 1 or state_warmup < 0 or tangent_warmup < 0:
        raise ValueError(
            "steps must be at least 1 and the warm-ups at least 0, got "
            f"steps {steps}, state_warmup {state_warmup} and tangent_warmup {tangent_warmup}"
        )
    spectrum = accumulate_spectrum(
        [MapJacobian(step, state, tangent_warmup + steps, state_warmup=state_warmup)],
        k=k,
        tangent_warmup=tangent_warmup,
        every=every,
        initial=initial,
        seed=seed,
        convention=Convention(base=base, sorted=sort),
        history=history,
        until=until,
        progress=progress,
    )
    return replace(spectrum, state_warmup=state_warmup)
