"""A whole stack as one tangent map: what a layer does to those above it included."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lsh_native.lyapunov.tangent import TangentMap


@runtime_checkable
class DrivenMap(TangentMap, Protocol):
    """A layer's tangent map that also takes tangents of the layer's inputs."""

    def driven(
        self, time: int, tangent: Tensor, input_tangent: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Moves tangents of state and input one step.

        Args:
            time: the step.
            tangent: (B, n, K), of the state.
            input_tangent: (B, I, K), of what the layer is fed; None for zero.

        Returns:
            Tangents of the layer's output (B, H, K) and of its state (B, n, K).
        """


class StackTangent:
    """The maps of all layers of a stack as one, for its joint spectrum.

    The state is that of the layers one after another, the last layer first: then the Jacobian is
    block upper triangular, and vectors that start as the axes give the spectra of the layers
    exactly, block by block.

    Args:
        layers: from the bottom up.

    Raises:
        TypeError: a layer takes no tangents of its inputs.
    """

    def __init__(self, layers: Sequence[TangentMap]) -> None:
        driven = [layer for layer in layers if isinstance(layer, DrivenMap)]
        if len(driven) != len(layers) or not layers:
            raise TypeError(
                "layers of a joint spectrum must have a method driven(time, tangent, "
                f"input_tangent), got {[type(layer).__name__ for layer in layers]}"
            )
        self._layers = driven
        self.steps, self.batch = layers[0].steps, layers[0].batch
        self.size = sum(layer.size for layer in layers)
        self.dtype, self.device = layers[0].dtype, layers[0].device

    def apply(self, time: int, tangent: Tensor) -> Tensor:
        """The product J_time · tangent, (B, n, K) to (B, n, K)."""
        sizes = [layer.size for layer in reversed(self._layers)]
        parts = tangent.split(sizes, dim=1)
        driving: Tensor | None = None
        moved = []
        for layer, part in zip(self._layers, reversed(parts), strict=True):
            driving, state = layer.driven(time, part, driving)
            moved.append(state)
        return torch.cat(moved[::-1], dim=1)
