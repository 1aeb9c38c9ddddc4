"""Which units of a relation are irreducible, in one of three lattices.

    "macneille"      of the order by reachability; the relation must have no cycle
    "condensation"   the same after merging units that reach each other, which share one fate
    "context"        the concept lattice of one time step: sources as objects, targets as attributes

None of them is a dial. A random recurrent matrix with a few connections a unit is one strongly
connected component, which is the greatest element and reducible: the condensation keeps nothing. Of
a context with a few per cent of all connections no column contains another: it keeps everything.
The order ideals of a relation, a fourth lattice, have one irreducible element a unit, always.
`persistence` is what gives a ranking.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lsh_native import _native
from lsh_native.pruning.lattice.order import condensation, meet_irreducible, transitive_closure

__all__ = ["LATTICES", "AllOrNothingWarning", "Irreducible", "irreducible_units"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class AllOrNothingWarning(UserWarning):
    """A lattice that tells no unit from another."""


def _macneille(relation: Bools) -> Bools:
    return meet_irreducible(transitive_closure(relation))


def _condensation(relation: Bools) -> Bools:
    component, order = condensation(relation)
    irreducible: Bools = meet_irreducible(order)[component]
    return irreducible


def _context(relation: Bools) -> Bools:
    return _native.irreducible_columns(relation, True)


LATTICES: Final[Mapping[str, Callable[[Bools], Bools]]] = MappingProxyType(
    {"macneille": _macneille, "context": _context, "condensation": _condensation}
)


def irreducible_units(relation: Bools, *, lattice: str = "context") -> Bools:
    """Which units a lattice needs. Units without any connection are not kept.

    Args:
        relation: bool (sources, targets), true where a source feeds a target; square but for
            "context".
        lattice: "macneille", "context" or "condensation".

    Returns:
        bool (targets,). Equal columns share one fate.

    Raises:
        TypeError: the relation is not bool.
        ValueError: it is not square, or there is no such lattice.
        CyclicError: different units reach each other, for "macneille".

    Warns:
        AllOrNothingWarning: every unit is kept, or none.
    """
    if lattice not in LATTICES:
        raise ValueError(f"lattice must be one of {', '.join(LATTICES)}, got {lattice!r}")
    relation = np.asarray(relation)
    kept = LATTICES[lattice](relation)
    connected = relation.any(axis=0)
    if lattice != "context":
        connected = connected | relation.any(axis=1)
    kept = kept & connected
    if len(kept) and (kept.all() or not kept.any()):
        warnings.warn(
            f"lattice={lattice!r} keeps {'all' if kept.all() else 'none'} of {len(kept)} units of "
            f"a relation with {relation.mean():.2%} of all pairs; persistence() ranks them",
            AllOrNothingWarning,
            stacklevel=2,
        )
    return kept


@dataclass(frozen=True, kw_only=True)
class Irreducible:
    """Scores a unit 1 where it is irreducible in one cut of the weights, 0 elsewhere.

    The binary counterpart of `persistence`.

    Args:
        density: share of all entries that the cut keeps, the strongest; in (0, 1].
        lattice: as for `irreducible_units`.
    """

    density: float
    lattice: str = "context"

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError(f"density must be in (0, 1], got {self.density}")
        if self.lattice not in LATTICES:
            raise ValueError(f"lattice must be one of {', '.join(LATTICES)}, got {self.lattice!r}")

    def __call__(self, strengths: Floats) -> Floats:
        """Score the targets of strengths (sources, targets), which are not negative."""
        count = max(1, round(self.density * strengths.size)) if strengths.size else 0
        weakest = np.partition(strengths, -count, axis=None)[-count] if count else 0.0
        cut = (strengths >= weakest) & (strengths > 0)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", AllOrNothingWarning
            )  # a centrality ranks the units then
            return irreducible_units(cut, lattice=self.lattice).astype(np.float64)
