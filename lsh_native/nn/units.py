"""Which units of a recurrent stack have an effect on its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lsh_native.nn.layer_names import LayerNames

__all__ = ["needed"]


def needed(
    layers: Sequence[Sequence[LayerNames]],
    masks: Mapping[str, Tensor],
    read: Tensor,
    projects: bool,
) -> list[list[tuple[Tensor, Tensor]]]:
    """Which outputs and units are read, or have an effect on one that is, in whatever layer.

    Args:
        layers: names of the weights, for the directions of each layer, from the bottom up.
        masks: bool, of each weight by name.
        read: bool, as wide as the output; true where it is read.
        projects: whether the outputs of a layer are projected from its units, or are its units.

    Returns:
        For each direction of each layer, bool (O,) and (H,), the same where nothing projects.
    """
    found: list[list[tuple[Tensor, Tensor]]] = []
    for directions in reversed(layers):
        here, inputs = [], []
        for names, outputs in zip(directions, read.chunk(len(directions)), strict=True):
            recurrent, projection = names.weight_hh, None
            if projects:
                recurrent, projection = names.weight_hh[:1], masks[names.weight_hh[1]]
            O = len(outputs)  # noqa: E741
            H = O if projection is None else projection.shape[1]
            feeds = torch.stack([masks[name].view(-1, H, O).any(0) for name in recurrent]).any(0)
            while True:
                units = outputs if projection is None else projection[outputs].any(0)
                more = outputs | feeds[units].any(0)
                if torch.equal(more, outputs):
                    break
                outputs = more
            here.append((outputs, units))
            incoming = masks[names.weight_ih]
            inputs.append(incoming.view(-1, H, incoming.shape[1])[:, units].any(0).any(0))
        found.insert(0, here)
        read = torch.stack(inputs).any(0)
    return found
