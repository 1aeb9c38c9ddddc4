"""Tangent maps whose Jacobians are matrices: given ones, and those of a differentiable map."""

from collections.abc import Callable

import torch
from torch import Tensor

from lsh_native.lyapunov.finite import require_finite


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
