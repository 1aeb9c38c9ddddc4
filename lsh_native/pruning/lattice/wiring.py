"""Which units a weight matrix connects, read from names and shapes as torch gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Wire", "wiring"]

_RECURRENT: Final = re.compile(
    r"(?P<owner>.*)weight_(?P<kind>ih|hh|fb)_l(?P<layer>\d+)(?:_d\d+)?(?:\[\d+\])?"
)


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A matrix between two groups of units, with rows for each gate of a target.

    Args:
        source: name of the group that the columns belong to.
        target: name of the group that the rows belong to.
        gates: G, so that there are G rows a target, one gate after the other.
    """

    source: str
    target: str
    gates: int = 1


def wiring(sizes: Mapping[str, Sequence[int]]) -> dict[str, Wire]:
    """Find the groups of units that matrices share.

    `weight_ih_lK`, `weight_hh_lK` and `weight_fb_lK` are input, recurrent and top-down weights of
    layer K of a stack, `weight_hh_lK_dD` those of its micro-steps; K's input is the output of layer
    K - 1. A number in brackets tells a gate that stands alone. Any other matrix connects groups of
    its own.

    Args:
        sizes: shape of each matrix by name.

    Returns:
        The wire of each matrix.

    Raises:
        ValueError: a tensor is no matrix, or a layer's rows are no multiple of its units.

    Example:
        >>> wiring({"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4)})["weight_ih_l0"]
        Wire(source='layer -1', target='layer 0', gates=4)
    """
    for name, size in sizes.items():
        if len(size) != 2:
            raise ValueError(f"lattice scores are those of matrices, {name} has shape {(*size,)}")
    found = {name: match for name in sizes if (match := _RECURRENT.fullmatch(name))}
    units = {
        (match["owner"], match["layer"]): sizes[name][1]
        for name, match in found.items()
        if match["kind"] == "hh"
    }
    wires = {}
    for name, (rows, columns) in sizes.items():
        match = found.get(name)
        count = units.get((match["owner"], match["layer"])) if match else None
        if match is None or not count:
            wires[name] = Wire(source=f"{name} in", target=f"{name} out")
            continue
        if rows % count:
            raise ValueError(f"{name} must have a multiple of {count} rows, got {rows}")
        layer = int(match["layer"])
        source = {"ih": layer - 1, "hh": layer, "fb": layer + 1}[match["kind"]]
        group = units.get((match["owner"], str(source)), columns)
        known = group == columns
        wires[name] = Wire(
            source=f"{match['owner']}layer {source}" if known else f"{name} in",
            target=f"{match['owner']}layer {layer}",
            gates=rows // count,
        )
    return wires
