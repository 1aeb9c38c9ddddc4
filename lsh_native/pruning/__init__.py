"""How the topology changes: criteria, redistributions, schedules, and methods made of them."""

from lsh_native.pruning.catalogue import METHODS, PUBLISHED_SPACE, method
from lsh_native.pruning.criterion import (
    global_magnitude,
    gradient_growth,
    magnitude,
    random_growth,
    reads_gradient,
    set_drop,
    threshold,
)
from lsh_native.pruning.method import PruningMethod
from lsh_native.pruning.redistribution import keep_counts, mean_magnitude, nonzeros
from lsh_native.pruning.schedule import CosineDrop, CubicDensity, Never, Schedule

__all__ = [
    "METHODS",
    "PUBLISHED_SPACE",
    "CosineDrop",
    "CubicDensity",
    "Never",
    "PruningMethod",
    "Schedule",
    "global_magnitude",
    "gradient_growth",
    "keep_counts",
    "magnitude",
    "mean_magnitude",
    "method",
    "nonzeros",
    "random_growth",
    "reads_gradient",
    "set_drop",
    "threshold",
]
