"""Orders as bool arrays: `order[a, b]` is true when a ≤ b.

m is meet-irreducible in the Dedekind-MacNeille completion   ⟺   ↓m ≠ ⋂ {↓x : x > m}

The empty intersection is everything, so a maximal element is irreducible unless it is the greatest.
The lattice itself, which can have 2ⁿ elements, is never built.

Source: B. Ganter and R. Wille, "Formal Concept Analysis", 1999, sections 1.1 and 1.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lsh_native import _native
from lsh_native._native import CyclicError

__all__ = [
    "Condensation",
    "CyclicError",
    "condensation",
    "join_irreducible",
    "max_min_closure",
    "meet_irreducible",
    "strict_up_sets",
    "transitive_closure",
    "transitive_reduction",
]

Bools = NDArray[np.bool_]


def transitive_closure(relation: Bools, *, reflexive: bool = False) -> Bools:
    """Relate every element to all that it reaches.

    Args:
        relation: bool (n, n); may have cycles.
        reflexive: whether every element also counts as reaching itself, as a ≤ a asks for.

    Returns:
        bool (n, n).

    Raises:
        TypeError: the relation is not bool.
        ValueError: it is not square.

    Example:
        >>> steps = np.eye(3, k=1, dtype=bool)
        >>> transitive_closure(steps, reflexive=True).astype(int).tolist()
        [[1, 1, 1], [0, 1, 1], [0, 0, 1]]
    """
    return _native.transitive_closure(relation, reflexive)


def transitive_reduction(relation: Bools) -> Bools:
    """Keep those pairs of an acyclic relation that no longer path implies: the covers.

    Args:
        relation: bool (n, n); its diagonal does not count.

    Returns:
        bool (n, n), the least relation with the same closure.

    Raises:
        TypeError: the relation is not bool.
        ValueError: it is not square.
        CyclicError: different elements reach each other, so that no reduction is the least.
    """
    return _native.transitive_reduction(relation)


class Condensation(NamedTuple):
    """What `condensation` returns.

    Attributes:
        component: int64 (n,), the number of each element's component; components are numbered by
            their first elements.
        order: bool (C, C), reflexive and transitive, the order among the components.
    """

    component: NDArray[np.int64]
    order: Bools


def condensation(relation: Bools) -> Condensation:
    """Merge what reaches each other, which makes an order of any relation.

    Args:
        relation: bool (n, n).

    Returns:
        Each element's component and the order among components.

    Raises:
        TypeError: the relation is not bool.
        ValueError: it is not square.
    """
    return Condensation(*_native.condensation(relation))


def meet_irreducible(order: Bools) -> Bools:
    """Which elements are no meet of others in the Dedekind-MacNeille completion.

    Args:
        order: bool (n, n), transitive and without cycles; its diagonal does not count.

    Returns:
        bool (n,).

    Raises:
        TypeError: the order is not bool.
        ValueError: it is not square or not transitive.
        CyclicError: different elements lie below each other.

    Example:
        >>> meet_irreducible(np.triu(np.ones((3, 3), dtype=bool)))  # all but the top of a chain
        array([ True,  True, False])
    """
    return _native.meet_irreducible(order)


def join_irreducible(order: Bools) -> Bools:
    """Which elements are no join of others: `meet_irreducible` of the order turned around."""
    return _native.meet_irreducible(np.asarray(order).T)


def strict_up_sets(order: Bools) -> Bools:
    """Which elements lie strictly above each: row m of the result is {x : x > m}.

    Arguments and errors are those of `meet_irreducible`.
    """
    _native.meet_irreducible(order)  # refuses what is no order
    return np.asarray(order) & ~np.eye(len(order), dtype=bool)


def max_min_closure(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Weakest step of the strongest path between any two elements, the bottleneck of the pair.

    Its cuts are the transitive closures of the cuts of the weights, so that one closure holds those
    of all thresholds: `max_min_closure(w) >= a` equals `transitive_closure(w >= a)` for a > 0.

    Args:
        weights: float32 or float64 (n, n), finite and not negative; zero is no step.

    Returns:
        (n, n) of the same dtype, zero where there is no path; the diagonal holds the strongest
        cycle through each element.

    Raises:
        TypeError: the weights are not float32 or float64.
        ValueError: they are not square, negative or not finite.
    """
    closure: NDArray[np.floating] = _native.max_min_closure(weights)
    return closure
