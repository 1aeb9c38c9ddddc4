"""The lattice scores as criteria of pruning methods, for any schedule."""

from __future__ import annotations

from typing import Final

from lsh_native.pruning.criterion import DropLowest, GrowHighest
from lsh_native.pruning.lattice.score import LatticePrior, LatticeScore

__all__ = ["lattice_drop", "lattice_growth"]

lattice_drop: Final = DropLowest(score=LatticeScore(), name="lattice_drop")
"""Drop the connections of each matrix between the least irreducible units."""

lattice_growth: Final = GrowHighest(score=LatticePrior(), name="lattice_growth")
"""Grow dead connections of each matrix at random, in proportion to the scores of their ends."""
