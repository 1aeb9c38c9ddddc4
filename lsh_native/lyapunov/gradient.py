"""Exponents that can be differentiated: how the spectrum answers to a change of the weights."""

from collections.abc import Callable

import torch
from torch import Tensor

from lsh_native.lyapunov.qr_growth import qr_growth_definition


def differentiable_exponents(
    step: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    state: Tensor,
    tangent: Tensor,
    *,
    tangent_warmup: int = 0,
) -> Tensor:
    """Finite-time Lyapunov exponents as a differentiable function of whatever `step` is made from.

    Everything runs in torch and is kept for the backward pass, T times the state and K tangent
    vectors; `lyapunov_spectrum` is the way to mere numbers.

    Args:
        step: state (B, n) and input (B, …) to the next state (B, n), in differentiable torch
            operations that treat every sequence alike and apart. An operator without a forward
            derivative must refuse; those of this library do, `lsh_native.cells.run_definition` is
            what to build from.
        inputs: (T, B, …), one item a step.
        state: where the sequences start, (B, n).
        tangent: where the tangent vectors start, (B, n, K), orthonormal columns.
        tangent_warmup: first steps that are not counted.

    Returns:
        Exponents (B, K) in nats per step, in the order of the vectors, float64.

    Raises:
        ValueError: no steps are left.

    Source: R. Engelken, "Gradient flossing: improving gradient descent through dynamic control of
        Jacobians" (arXiv 2312.17306).

    Example:
        >>> weight = torch.tensor([[0.5]], dtype=torch.float64, requires_grad=True)
        >>> start = torch.zeros(1, 1, dtype=torch.float64)
        >>> def step(state, given):
        ...     return state @ weight.mT + given
        >>> exponents = differentiable_exponents(
        ...     step, torch.zeros(4, 1, 1, dtype=torch.float64), start, torch.ones_like(start)[None]
        ... )
        >>> exponents.sum().backward()
        >>> weight.grad  # d ln w / d w
        tensor([[2.]], dtype=torch.float64)
    """
    if not 0 <= tangent_warmup < len(inputs):
        raise ValueError(
            f"tangent_warmup must be in [0, {len(inputs) - 1}] for {len(inputs)} steps, "
            f"got {tangent_warmup}"
        )
    growth = torch.zeros(
        tangent.shape[0], tangent.shape[2], dtype=torch.float64, device=tangent.device
    )
    for time, given in enumerate(inputs):

        def move(at: Tensor, given: Tensor = given) -> Tensor:
            return step(at, given)

        def push(direction: Tensor, at: Tensor = state) -> Tensor:
            result: Tensor = torch.func.jvp(move, (at,), (direction,))[1]
            return result

        moved = torch.func.vmap(push, in_dims=-1, out_dims=-1)(tangent)
        state = move(state)
        result = qr_growth_definition(moved)
        tangent = result.basis
        if time >= tangent_warmup:
            growth = growth + result.log_growth
    return growth / (len(inputs) - tangent_warmup)
