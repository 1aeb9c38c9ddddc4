"""What a pruning method sees of a model: its weights, its masks and, at times, its gradients."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from lsh_native.sparsity.mask import count_true

Masks: TypeAlias = Mapping[str, Tensor]
Weights: TypeAlias = Mapping[str, Tensor]
State: TypeAlias = Mapping[str, Tensor | float]
"""What a method carries from update to update: tensors and plain numbers by name."""


@dataclass(frozen=True, kw_only=True)
class Connections:
    """The weight matrices of a model at one moment, by name; read, never written.

    Args:
        weights: Values of each matrix, zero where its mask is false.
        masks: Bool tensor of each matrix's shape, true where a connection is live.
        gradients: Loss gradient of each matrix at all entries, live and dead; empty when not asked
            for.
        density: Share of all connections that the topology is to keep in the end, in [0, 1].
        explored: Bool tensor of each matrix's shape, true where a connection is or ever was live;
            empty when not kept.
        progress: How far the topology's changes have come, in [0, 1].

    Raises:
        ValueError: Names or shapes differ.
        TypeError: A mask is not bool.
    """

    weights: Mapping[str, Tensor]
    masks: Masks
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    density: float = 1.0
    explored: Masks = field(default_factory=dict)
    progress: float = 0.0

    def __post_init__(self) -> None:
        check_masks(self.masks, self.sizes)

    @property
    def sizes(self) -> dict[str, torch.Size]:
        """Shape of each matrix."""
        return {name: weight.shape for name, weight in self.weights.items()}

    def counts(self) -> dict[str, int]:
        """Live connections of each matrix."""
        return count_live(self.masks)


def count_live(masks: Masks) -> dict[str, int]:
    """Live connections of each mask."""
    return {name: count_true(mask) for name, mask in masks.items()}


def check_masks(masks: Masks, sizes: Mapping[str, torch.Size]) -> None:
    """Refuse masks that are not bool tensors of exactly these names and shapes."""
    if masks.keys() != sizes.keys():
        raise ValueError(f"masks must be those of {sorted(sizes)}, got {sorted(masks)}")
    for name, mask in masks.items():
        if mask.dtype is not torch.bool:
            raise TypeError(f"the mask of {name} must be bool, got {mask.dtype}")
        if mask.shape != sizes[name]:
            raise ValueError(
                f"the mask of {name} must have shape {tuple(sizes[name])}, got {tuple(mask.shape)}"
            )
