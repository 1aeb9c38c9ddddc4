"""Adam and AdamW that take the gradients of connections alone."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from lsh_native.nn import LiveWeights
from lsh_native.sparsity.live import AdamStep, adam_live_
from lsh_native.training.live_optimizer import LiveOptimizer

__all__ = ["LiveAdam"]


class LiveAdam(LiveOptimizer, torch.optim.Adam):
    """`torch.optim.Adam`, which skips what is masked.

    The state is torch's: `step`, and `exp_avg` and `exp_avg_sq` of the parameter's shape. Results
    are torch's up to rounding; weights without live values are left to it.

    Args:
        params: Parameters to train.
        lr: Step size, zero or positive.
        weight_decay: Coefficient of the L2 penalty, zero or positive.
        decoupled: Whether weights decay by themselves instead of through the gradient, as in AdamW.
        live: Where gradients of masked weights were taken by `LiveWeights`.

    Raises:
        ValueError: `lr` or `weight_decay` is negative.

    Source: D. Kingma & J. Ba, "Adam: A Method for Stochastic Optimization", 2015; I. Loshchilov &
        F. Hutter, "Decoupled Weight Decay Regularization", 2019.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        live: LiveWeights | None = None,
    ) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, decoupled_weight_decay=decoupled)
        self._live = live or LiveWeights()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every weight that has a gradient, or whose live values have one."""
        loss = super().step(closure)  # of the weights with gradients of their own
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            for weight in group["params"]:
                part = self._live.get(weight)
                if part is None or part.leaf.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    for name in ("exp_avg", "exp_avg_sq"):
                        state[name] = torch.zeros_like(weight, requires_grad=False)
                state["step"] += 1
                steps, (beta1, beta2) = state["step"].item(), group["betas"]
                gradient = part.leaf.grad
                if group["decoupled_weight_decay"]:
                    part.leaf.mul_(1 - rate * decay)
                elif decay != 0:
                    gradient = gradient.add(part.leaf, alpha=decay)
                adam_live_(
                    state["exp_avg"],
                    state["exp_avg_sq"],
                    part.leaf,
                    gradient,
                    part.pattern,
                    AdamStep(
                        beta1=beta1,
                        beta2=beta2,
                        rate=rate / (1 - beta1**steps),
                        root=math.sqrt(1 - beta2**steps),
                        epsilon=group["eps"],
                    ),
                )
                part.write_()
        return loss
