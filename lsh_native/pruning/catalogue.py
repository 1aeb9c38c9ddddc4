"""The pruning methods by name: the only place where strings become functions."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from lsh_native.pruning import rewiring, thinning
from lsh_native.pruning.criterion import (
    Drop,
    Grow,
    global_magnitude,
    gradient_growth,
    magnitude,
    path_growth,
    random_growth,
    set_drop,
    threshold,
    unexplored_growth,
)
from lsh_native.pruning.groups import FanIn, NofM
from lsh_native.pruning.lattice.criterion import lattice_drop, lattice_growth
from lsh_native.pruning.lsh2022 import as_in_2022
from lsh_native.pruning.method import PruningMethod
from lsh_native.pruning.redistribution import (
    Redistribution,
    keep_counts,
    mean_gradient,
    mean_magnitude,
    nonzeros,
    return_dropped,
)
from lsh_native.pruning.structure import Blocks, Gates, Structure
from lsh_native.sparsity.mask import Distribution, erdos_renyi, erdos_renyi_kernel, uniform

INITIAL: Final[Mapping[str, Distribution]] = MappingProxyType(
    {"uniform": uniform, "erdos_renyi": erdos_renyi, "erdos_renyi_kernel": erdos_renyi_kernel}
)
DROP: Final[Mapping[str, Drop]] = MappingProxyType(
    {
        "magnitude": magnitude,
        "set": set_drop,
        "threshold": threshold,
        "global_magnitude": global_magnitude,
        "lattice": lattice_drop,
    }
)
GROW: Final[Mapping[str, Grow]] = MappingProxyType(
    {
        "random": random_growth,
        "gradient": gradient_growth,
        "unexplored": unexplored_growth,
        "paths": path_growth,
        "lattice": lattice_growth,
    }
)
REDISTRIBUTE: Final[Mapping[str, Redistribution]] = MappingProxyType(
    {
        "none": keep_counts,
        "magnitude": mean_magnitude,
        "nonzeros": nonzeros,
        "gradient": mean_gradient,
        "dropped": return_dropped,
    }
)
STRUCTURE: Final[Mapping[str, Structure]] = MappingProxyType(
    {
        "free": Structure(),
        "block_4": Blocks(rows=4),
        "block_8": Blocks(rows=8),
        "block_16": Blocks(rows=16),
        "gates": Gates(),
        "fan_in": FanIn(),
        "1:4": NofM(n=1, width=4),
        "2:4": NofM(n=2, width=4),
        "4:8": NofM(n=4, width=8),
    }
)

PUBLISHED_SPACE: Final[Mapping[str, tuple[str | float, ...]]] = MappingProxyType(
    {
        "initial": ("uniform", "erdos_renyi"),
        "drop": ("magnitude", "set", "threshold", "global_magnitude"),
        "grow": ("random",),
        "redistribute": ("none", "magnitude", "nonzeros"),
        "drop_fraction": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    }
)
"""The 144 points of the published search, as values of the controls of the method "dynamic"."""

METHODS: Final[Mapping[str, Callable[..., PruningMethod]]] = MappingProxyType(
    {
        "dense": thinning.dense,
        "static": thinning.static,
        "dynamic": rewiring.dynamic,
        "one_shot": thinning.one_shot,
        "gradual_magnitude": thinning.gradual_magnitude,
        "lottery_ticket": thinning.lottery_ticket,
        "set": rewiring.set_,
        "deep_rewiring": rewiring.deep_rewiring,
        "dynamic_sparse_reparameterization": rewiring.dynamic_sparse_reparameterization,
        "sparse_momentum": rewiring.sparse_momentum,
        "rigl": rewiring.rigl,
        "top_kast": rewiring.top_kast,
        "selfish": rewiring.selfish,
        "in_time": rewiring.in_time,
        "granet": rewiring.granet,
        "mest": rewiring.mest,
        "structured_rigl": rewiring.structured_rigl,
        "cannistraci_hebb": rewiring.cannistraci_hebb,
        "soft_cannistraci_hebb": rewiring.soft_cannistraci_hebb,
        "whole_units": thinning.whole_units,
        "lattice": thinning.lattice,
    }
)

_SLOTS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "initial": INITIAL,
        "first": GROW,
        "drop": DROP,
        "grow": GROW,
        "redistribute": REDISTRIBUTE,
        "structure": STRUCTURE,
    }
)
_INEXACT: Final = ("threshold",)  # drops that cannot bring a density down to a number


def method(name: str, *, compat: str | None = None, **controls: Any) -> PruningMethod:
    """Make a pruning method by name.

    Args:
        name: One of `METHODS`.
        compat: "lsh2022" for what the public program of 2022 does, for comparison only.
        controls: What that method can be told, by keyword; see the function it names. Slots are
            given by name.

    Returns:
        The method, for `Topology` to run.

    Raises:
        ValueError: The name, a control or its value is unknown or out of range, or a control that
            the method needs is absent; the message lists the choices.

    Example:
        >>> method("dynamic", drop="set", drop_fraction=0.7, every=1327).needs_gradient
        False
    """
    make = _pick("method", METHODS, name)
    known = inspect.signature(make).parameters
    if unknown := sorted(controls.keys() - known):
        raise ValueError(
            f"the controls of {name} must be of {', '.join(known)}, got {', '.join(unknown)}"
        )
    if missing := needed_controls(name) - controls.keys():
        raise ValueError(f"the method {name} must be told {', '.join(sorted(missing))}")
    if compat not in (None, "lsh2022"):
        raise ValueError(f"compat must be 'lsh2022' or None, got {compat!r}")
    for slot in controls.keys() & _SLOTS.keys():
        choices = _SLOTS[slot]
        if slot == "drop" and "grow" not in known:
            choices = {drop: DROP[drop] for drop in DROP if drop not in _INEXACT}
        controls[slot] = _pick(slot, choices, controls[slot])
    made = make(**controls)
    return made if compat is None else as_in_2022(made)


def needed_controls(name: str) -> set[str]:
    """The controls that a method must be told."""
    known = inspect.signature(_pick("method", METHODS, name)).parameters
    return {control for control, value in known.items() if value.default is value.empty}


def _pick(control: str, choices: Mapping[str, Any], name: object) -> Any:
    if not isinstance(name, str) or name not in choices:
        raise ValueError(f"{control} must be one of {', '.join(choices)}, got {name!r}")
    return choices[name]
