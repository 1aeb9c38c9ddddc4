"""LiveOptimizer: what optimizers share that move the values of connections and no zeros."""

from torch import Tensor
from torch.optim import Optimizer

from lsh_native.nn import LiveWeights

__all__ = ["LiveOptimizer"]


class LiveOptimizer(Optimizer):
    """Takes a model's parameters; where `LiveWeights` took gradients, it moves those values.

    The values are written into their weights at once, so that after a step the weights are what
    they would be by dense gradients. State has the shape of the weight, connected or not, as a
    topology that moves connections expects it.
    """

    _live: LiveWeights

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the parameters, and of their live values."""
        super().zero_grad(set_to_none)
        for group in self.param_groups:
            for weight in group["params"]:
                if (part := self._live.get(weight)) is not None:
                    part.leaf.grad = None

    def kept_zeros(self, weight: Tensor) -> bool:
        """Whether the last step left a weight, and its state, as they were outside its mask."""
        part = self._live.get(weight)
        return part is not None and part.leaf.grad is not None and part.current
