"""How many gates stand above each other in the matrices of a recurrent layer."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

_NAME: Final = re.compile(
    r"(?P<owner>.*)weight_(?P<kind>ih|hh|hr)(?P<layer>(?:_l\d+)?(?:_reverse)?)(?:_d\d+)?"
)


def gate_counts(sizes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Count the gates of input and recurrent matrices: their rows over the units of their layer.

    A layer is known by `torch.nn`'s names, and has as many units as its recurrent matrix
    `weight_hh…` has columns, or its projection `weight_hr…` where there is one; that one must then
    be among the sizes.

    Args:
        sizes: Shape of each matrix by name.

    Returns:
        The number of gates by name; without the matrices whose shapes do not tell.

    Example:
        >>> gate_counts({"gru.weight_ih_l0": (12, 3), "gru.weight_hh_l0": (12, 4), "w": (8, 4)})
        {'gru.weight_ih_l0': 3, 'gru.weight_hh_l0': 3}
    """
    found = {name: match for name in sizes if (match := _NAME.fullmatch(name))}
    units: dict[tuple[str, str], int] = {}
    for kind in ("hh", "hr"):  # the columns of a projected layer's recurrent matrix are no units
        units |= {_layer(m): sizes[name][1] for name, m in found.items() if m["kind"] == kind}
    return {
        name: sizes[name][0] // of_layer
        for name, match in found.items()
        if match["kind"] != "hr"
        and (of_layer := units.get(_layer(match)))
        and sizes[name][0] % of_layer == 0
    }


def _layer(match: re.Match[str]) -> tuple[str, str]:
    return match["owner"], match["layer"]
