"""Which units a weight matrix connects, read from names and shapes as torch gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Wire", "wiring"]

_RECURRENT: Final = re.compile(
    r"(?P<owner>.*)weight_(?P<kind>ih|hh|fb|hr)_l(?P<layer>\d+)(?P<way>_reverse)?"
    r"(?:_d\d+)?(?:\[\d+\])?"
)
# The layer that is heard, from the one that hears.
_SOURCE: Final = {"ih": -1, "hh": 0, "fb": 1, "hr": 0}
_CELLS: Final = " cells"


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
    K - 1. Where there is a projection `weight_hr_lK`, the others end in the cells that it reads,
    and it ends in the layer's units. A number in brackets tells a gate that stands alone. Any other
    matrix connects groups of its own.

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
        _group(match) + (_CELLS if match["kind"] == "hr" else ""): sizes[name][1]
        for name, match in found.items()
        if match["kind"] in ("hh", "hr")
    }
    wires = {}
    for name, (rows, columns) in sizes.items():
        target = _group(found[name]) if name in found else ""
        projects = name in found and found[name]["kind"] == "hr"
        if not projects and target + _CELLS in units:
            target += _CELLS
        if target not in units:
            wires[name] = Wire(source=f"{name} in", target=f"{name} out")
            continue
        if rows % units[target]:
            raise ValueError(f"{name} must have a multiple of {units[target]} rows, got {rows}")
        source = _group(found[name], _SOURCE[found[name]["kind"]]) + (_CELLS if projects else "")
        if units.get(source, columns) != columns:  # both ways of the layer below
            source = f"{name} in"
        wires[name] = Wire(source=source, target=target, gates=rows // units[target])
    return wires


def _group(match: re.Match[str], above: int = 0) -> str:
    """The units of a layer, or of the layer so many above it."""
    way = (match["way"] or "") if above == 0 else ""
    return f"{match['owner']}layer {int(match['layer']) + above}{way}"
