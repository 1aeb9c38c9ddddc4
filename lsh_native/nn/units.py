"""Which units of a recurrent stack have an effect on its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lsh_native.nn.recurrent import LayerNames

__all__ = ["needed_units"]


def needed_units(
    layers: Sequence[Sequence[LayerNames]], masks: Mapping[str, Tensor], read: Tensor
) -> list[list[Tensor]]:
    """Which units are read by the output, or by a needed unit of their layer or the one above.

    Args:
        layers: names of the weights, for the directions of each layer, from the bottom up.
        masks: bool, of each weight by name.
        read: bool, as wide as the output; true where it is read.

    Returns:
        For each direction of each layer, bool (H,).
    """
    needed: list[list[Tensor]] = []
    for directions in reversed(layers):
        here, inputs = [], []
        for names, wanted in zip(directions, read.chunk(len(directions)), strict=True):
            H = len(wanted)
            feeds = torch.stack([masks[n].view(-1, H, H).any(0) for n in names.weight_hh]).any(0)
            while not torch.equal(more := wanted | feeds[wanted].any(0), wanted):
                wanted = more
            here.append(wanted)
            incoming = masks[names.weight_ih]
            inputs.append(incoming.view(-1, H, incoming.shape[1])[:, wanted].any(0).any(0))
        needed.insert(0, here)
        read = torch.stack(inputs).any(0)
    return needed
