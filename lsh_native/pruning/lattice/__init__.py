"""Pruning by order theory: which units of a network the lattice of its dependencies needs."""

from lsh_native.pruning.lattice.context import (
    clarified_context,
    intents,
    irreducible_attributes,
    irreducible_objects,
    reduced_context,
)
from lsh_native.pruning.lattice.criterion import lattice_drop, lattice_growth
from lsh_native.pruning.lattice.order import (
    Condensation,
    CyclicError,
    condensation,
    join_irreducible,
    max_min_closure,
    meet_irreducible,
    strict_up_sets,
    transitive_closure,
    transitive_reduction,
)
from lsh_native.pruning.lattice.persistence import (
    Measure,
    density,
    log_density,
    magnitude,
    persistence,
)
from lsh_native.pruning.lattice.score import LatticePrior, LatticeScore, in_strength, unit_ranks
from lsh_native.pruning.lattice.units import AllOrNothingWarning, Irreducible, irreducible_units
from lsh_native.pruning.lattice.wiring import Wire, wiring

__all__ = [
    "AllOrNothingWarning",
    "Condensation",
    "CyclicError",
    "Irreducible",
    "LatticePrior",
    "LatticeScore",
    "Measure",
    "Wire",
    "clarified_context",
    "condensation",
    "density",
    "in_strength",
    "intents",
    "irreducible_attributes",
    "irreducible_objects",
    "irreducible_units",
    "join_irreducible",
    "lattice_drop",
    "lattice_growth",
    "log_density",
    "magnitude",
    "max_min_closure",
    "meet_irreducible",
    "persistence",
    "reduced_context",
    "strict_up_sets",
    "transitive_closure",
    "transitive_reduction",
    "unit_ranks",
    "wiring",
]
