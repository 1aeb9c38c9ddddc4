"""SGD that ends in the mean of its iterates, weight by weight, as connections come and go.

    w    ← w − lr · (gradient + weight_decay · w)
    age  ← age + 1                                    both once averaging has started
    mean ← mean + (w − mean) / age

While all ages are equal this is NT-ASGD, averaged SGD with a non-monotonic trigger. Where a
topology clears the age and mean of dropped and grown connections it is SNT-ASGD, its sparse form.

Source: S. Merity et al., "Regularizing and Optimizing LSTM Language Models", 2017, Algorithm 1;
S. Liu et al., "Selfish Sparse RNN Training", 2021.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import overload

import torch
from torch import Tensor, nn

from lsh_native.nn import LiveWeights
from lsh_native.sparsity.live import average_live_
from lsh_native.training.live_adam import LiveAdam
from lsh_native.training.live_optimizer import LiveOptimizer


class AveragedSGD(LiveOptimizer):
    """Plain SGD with weight decay until `start_averaging()`, averaged SGD from then on.

    The state of a parameter is empty before averaging, then two tensors of the parameter's shape:
    `age`, the steps since averaging of each weight (re)started, and `mean`, the mean of the
    weight's values after each of those steps. Setting both to zero restarts the average of a
    weight.

    Args:
        params: Parameters to train.
        lr: Step size, zero or positive; `param_groups` holds it for a schedule to change.
        weight_decay: Coefficient of the L2 penalty, zero or positive.
        live: Where gradients of masked weights were taken by `LiveWeights`: their values are
            moved, and written into the weights at once. State stays as it is without.

    Raises:
        ValueError: `lr` or `weight_decay` is negative or not finite.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = AveragedSGD([weight], lr=0.5)
        >>> weight.grad = torch.tensor([1.0])
        >>> optimizer.step()
        >>> weight.item()
        0.5
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float = 0.0,
        live: LiveWeights | None = None,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be zero or positive, and finite, got {value}")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self._live = live or LiveWeights()

    @property
    def averaging(self) -> bool:
        """Whether averaging has started."""
        return any(self.state.values())

    def start_averaging(self) -> None:
        """Let the next step be the first that enters the means; a second call changes nothing."""
        if self.averaging:
            return
        for group in self.param_groups:
            for weight in group["params"]:
                self.state[weight] = {
                    "age": torch.zeros_like(weight, requires_grad=False),
                    "mean": torch.zeros_like(weight, requires_grad=False),
                }

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every weight that has a gradient, and update its mean once averaging has started."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, shrinkage = group["lr"], 1 - group["lr"] * group["weight_decay"]
            for weight in group["params"]:
                part = self._live.get(weight)
                if part is not None and part.leaf.grad is not None:
                    part.leaf.mul_(shrinkage).add_(part.leaf.grad, alpha=-rate)
                    part.write_()
                    if state := self.state.get(weight):
                        average_live_(state["age"], state["mean"], part.leaf, part.pattern)
                    continue
                if weight.grad is None:
                    continue
                weight.mul_(shrinkage).add_(weight.grad, alpha=-rate)
                if state := self.state.get(weight):
                    age = state["age"].add_(1)
                    state["mean"].lerp_(weight, age.reciprocal())
        return loss


@contextmanager
def averaged_parameters(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Show the parameters at their means inside the block, and exactly as they were after it.

    A weight whose average has not seen a step yet keeps its own value, so before averaging has
    started, and with an optimizer that does not average, nothing changes.
    """
    own: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for weight, state in optimizer.state.items():
                if "mean" in state:
                    own.append((weight, weight.clone()))
                    weight.copy_(torch.where(state["age"] > 0, state["mean"], weight))
        yield
    finally:
        with torch.no_grad():
            for weight, value in own:
                weight.copy_(value)


def clip_gradients_(
    weights: Mapping[str, Tensor], limit: float, masks: Mapping[str, Tensor] | None = None
) -> float:
    """Scale the gradients down together so that their global norm is at most `limit`.

    Args:
        weights: Tensors by name whose `grad` is changed in place; those without one do not count.
            Live values, which are not of their mask's shape, all count.
        limit: Largest Euclidean norm of all gradients as one vector.
        masks: Of some weights; what they leave out is scaled, but does not count.

    Returns:
        The norm before scaling; not finite, and the gradients useless, if a gradient is not finite.
    """
    gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
    counted = [
        gradient * masks[name] if masks and _fits(gradient, masks.get(name)) else gradient
        for name, gradient in gradients.items()
    ]
    norm = nn.utils.get_total_norm(counted).item()
    if norm > limit:
        for gradient in gradients.values():
            gradient.mul_(limit / norm)
    return norm


def _fits(gradient: Tensor, mask: Tensor | None) -> bool:
    return mask is not None and gradient.shape == mask.shape


def averaging_is_due(losses: Sequence[float], nonmono: int | None) -> bool:
    """Whether the newest validation loss says that plain SGD no longer gets better.

    Args:
        losses: Validation losses of all evaluations so far, the newest last.
        nonmono: Evaluations before the newest one that do not count; None is never due.

    Returns:
        True when the newest loss is above the best of all earlier ones but the last `nonmono`.
    """
    if nonmono is None or len(losses) < nonmono + 2:
        return False
    return losses[-1] > min(losses[: -1 - nonmono])


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    weight_decay: float,
    live: LiveWeights | None = None,
) -> torch.optim.Optimizer:
    """Make the optimizer that a recipe names: `sgd`, `adam` or `adamw`, each given `live`."""
    makers: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "sgd": AveragedSGD,
        "adam": LiveAdam,
        "adamw": partial(LiveAdam, decoupled=True),
    }
    return makers[name](parameters, lr=lr, weight_decay=weight_decay, live=live)
