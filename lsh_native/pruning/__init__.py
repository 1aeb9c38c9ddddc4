"""How the topology changes: criteria, redistributions, schedules, and methods made of them."""

from lsh_native.pruning.between import (
    Between,
    GroupLasso,
    Langevin,
    Reserve,
    Rewind,
    SmoothedGradient,
)
from lsh_native.pruning.catalogue import METHODS, PUBLISHED_SPACE, method
from lsh_native.pruning.course import Cosine, Cubic, Linear, Pieces
from lsh_native.pruning.criterion import (
    DropLowest,
    GrowHighest,
    given,
    global_magnitude,
    gradient_growth,
    magnitude,
    magnitude_growth,
    outranked,
    path_growth,
    random_growth,
    set_drop,
    sign_flip,
    threshold,
    unexplored_growth,
)
from lsh_native.pruning.groups import Balanced, FanIn, NofM
from lsh_native.pruning.method import PruningMethod
from lsh_native.pruning.redistribution import (
    keep_counts,
    mean_gradient,
    mean_magnitude,
    nonzeros,
    return_dropped,
)
from lsh_native.pruning.schedule import (
    CosineDrop,
    CubicDensity,
    Never,
    Once,
    Rounds,
    Schedule,
    Updates,
)
from lsh_native.pruning.score import reads_gradient
from lsh_native.pruning.structure import Blocks, Gates, Structure
from lsh_native.pruning.units import Units, dead_units

__all__ = [
    "METHODS",
    "PUBLISHED_SPACE",
    "Balanced",
    "Between",
    "Blocks",
    "Cosine",
    "CosineDrop",
    "Cubic",
    "CubicDensity",
    "DropLowest",
    "FanIn",
    "Gates",
    "GroupLasso",
    "GrowHighest",
    "Langevin",
    "Linear",
    "Never",
    "NofM",
    "Once",
    "Pieces",
    "PruningMethod",
    "Reserve",
    "Rewind",
    "Rounds",
    "Schedule",
    "SmoothedGradient",
    "Structure",
    "Units",
    "Updates",
    "dead_units",
    "given",
    "global_magnitude",
    "gradient_growth",
    "keep_counts",
    "magnitude",
    "magnitude_growth",
    "mean_gradient",
    "mean_magnitude",
    "method",
    "nonzeros",
    "outranked",
    "path_growth",
    "random_growth",
    "reads_gradient",
    "return_dropped",
    "set_drop",
    "sign_flip",
    "threshold",
    "unexplored_growth",
]
