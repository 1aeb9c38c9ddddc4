"""The pruning methods by name: the only place where strings become functions."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from lsh_native.pruning.criterion import (
    Drop,
    Grow,
    global_magnitude,
    gradient_growth,
    magnitude,
    random_growth,
    set_drop,
    threshold,
)
from lsh_native.pruning.method import PruningMethod
from lsh_native.pruning.redistribution import (
    Redistribution,
    keep_counts,
    mean_magnitude,
    nonzeros,
)
from lsh_native.pruning.schedule import CosineDrop, CubicDensity, Never
from lsh_native.sparsity.mask import Distribution, erdos_renyi, erdos_renyi_kernel, uniform

_Slot = TypeVar("_Slot")

INITIAL: Final[Mapping[str, Distribution]] = MappingProxyType(
    {"uniform": uniform, "erdos_renyi": erdos_renyi, "erdos_renyi_kernel": erdos_renyi_kernel}
)
DROP: Final[Mapping[str, Drop]] = MappingProxyType(
    {
        "magnitude": magnitude,
        "set": set_drop,
        "threshold": threshold,
        "global_magnitude": global_magnitude,
    }
)
GROW: Final[Mapping[str, Grow]] = MappingProxyType(
    {"random": random_growth, "gradient": gradient_growth}
)
REDISTRIBUTE: Final[Mapping[str, Redistribution]] = MappingProxyType(
    {"none": keep_counts, "magnitude": mean_magnitude, "nonzeros": nonzeros}
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


def static(*, initial: str = "uniform") -> PruningMethod:
    """Keep the first masks."""
    return PruningMethod(initial=_pick("initial", INITIAL, initial), schedule=Never())


def dynamic(
    *,
    initial: str = "uniform",
    drop: str = "magnitude",
    grow: str = "random",
    redistribute: str = "none",
    drop_fraction: float = 0.5,
    final_drop_fraction: float = 0.005,
    every: int,
    begin: int | float = 0,
    until: int | float = 1.0,
) -> PruningMethod:
    """Drop and grow at constant density: the method that the published search ranges over.

    Source: Zheng and Shlizerman, "Hyperpruning", 2025 (arXiv 2506.07975), with exact counts.
    """
    return PruningMethod(
        initial=_pick("initial", INITIAL, initial),
        schedule=CosineDrop(
            initial=drop_fraction,
            final=final_drop_fraction,
            every=every,
            begin=begin,
            until=until,
        ),
        drop=_pick("drop", DROP, drop),
        grow=_pick("grow", GROW, grow),
        redistribute=_pick("redistribute", REDISTRIBUTE, redistribute),
    )


def rigl(
    *,
    initial: str = "erdos_renyi_kernel",
    drop_fraction: float = 0.3,
    every: int = 100,
    until: int | float = 0.75,
) -> PruningMethod:
    """Drop the smallest weights, grow the largest gradients.

    Source: U. Evci et al., "Rigging the lottery", 2020.
    """
    return PruningMethod(
        initial=_pick("initial", INITIAL, initial),
        schedule=CosineDrop(initial=drop_fraction, final=0.0, every=every, until=until),
        drop=magnitude,
        grow=gradient_growth,
    )


def gradual_magnitude(
    *,
    initial: str = "uniform",
    drop: str = "magnitude",
    initial_density: float = 1.0,
    every: int = 100,
    begin: int | float = 0,
    until: int | float = 0.75,
) -> PruningMethod:
    """Start dense and drop the smallest weights along a cubic.

    Source: M. Zhu and S. Gupta, "To prune, or not to prune", 2017.
    """
    exact = {name: DROP[name] for name in ("magnitude", "set", "global_magnitude")}
    return PruningMethod(
        initial=_pick("initial", INITIAL, initial),
        schedule=CubicDensity(initial=initial_density, every=every, begin=begin, until=until),
        drop=_pick("drop", exact, drop),
    )


METHODS: Final[Mapping[str, Callable[..., PruningMethod]]] = MappingProxyType(
    {"static": static, "dynamic": dynamic, "rigl": rigl, "gradual_magnitude": gradual_magnitude}
)


def method(name: str, **controls: Any) -> PruningMethod:
    """Make a pruning method by name.

    Args:
        name: One of `METHODS`.
        controls: What that method can be told, by keyword; see the function it names.

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
    needed = {control for control, value in known.items() if value.default is value.empty}
    if missing := needed - controls.keys():
        raise ValueError(f"the method {name} must be told {', '.join(sorted(missing))}")
    return make(**controls)


def _pick(control: str, choices: Mapping[str, _Slot], name: object) -> _Slot:
    if not isinstance(name, str) or name not in choices:
        raise ValueError(f"{control} must be one of {', '.join(choices)}, got {name!r}")
    return choices[name]
