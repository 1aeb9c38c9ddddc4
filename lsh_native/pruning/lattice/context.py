"""Formal contexts: bool arrays (objects, attributes), and what of them their lattice needs.

attribute m is irreducible   ⟺   its column differs from the intersection of all larger columns

The empty intersection is everything, so a full column is reducible. Dropping reducible rows and
columns, and all but one of equal ones, leaves the concept lattice as it is.

Source: B. Ganter and R. Wille, "Formal Concept Analysis", 1999, section 1.2.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lsh_native import _native

__all__ = [
    "clarified_context",
    "intents",
    "irreducible_attributes",
    "irreducible_objects",
    "reduced_context",
]

Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]

LARGEST_ENUMERATED: Final = 16


def irreducible_attributes(context: Bools) -> Bools:
    """Which columns the lattice of a context needs; of equal ones the first stands for its class.

    Args:
        context: bool (objects, attributes).

    Returns:
        bool (attributes,).

    Raises:
        TypeError: the context is not bool.
        ValueError: it does not have two dimensions.

    Example:
        >>> irreducible_attributes(np.array([[1, 1, 0, 1], [1, 0, 1, 1]], dtype=bool))
        array([False,  True,  True, False])
    """
    return _native.irreducible_columns(context, False)


def irreducible_objects(context: Bools) -> Bools:
    """Which rows the lattice of a context needs: `irreducible_attributes` of its transpose."""
    return _native.irreducible_columns(np.asarray(context).T, False)


def clarified_context(context: Bools) -> tuple[Indices, Indices]:
    """First row and first column of each class of equal ones.

    Args:
        context: bool (objects, attributes).

    Returns:
        For each object and each attribute the index of the first equal one, int64 (objects,) and
        (attributes,).
    """
    return _native.equal_columns(np.asarray(context).T), _native.equal_columns(context)


def reduced_context(context: Bools) -> tuple[Indices, Indices]:
    """Rows and columns that are enough for the lattice, ascending.

    `context[np.ix_(*reduced_context(context))]` has the concept lattice of the context.
    """
    return (
        np.flatnonzero(irreducible_objects(context)),
        np.flatnonzero(irreducible_attributes(context)),
    )


def intents(context: Bools) -> Bools:
    """Every intent of a context's lattice, by definition: all intersections of rows. For tests.

    Args:
        context: bool (objects, attributes), at most 16 of one of both.

    Returns:
        bool (concepts, attributes), without repetition.

    Raises:
        ValueError: the lattice could have more than 2¹⁶ elements.
    """
    context = np.asarray(context)
    if min(context.shape) > LARGEST_ENUMERATED:
        raise ValueError(
            f"a lattice is enumerated for at most {LARGEST_ENUMERATED} objects or attributes, "
            f"got shape {context.shape}; irreducible_attributes() needs no enumeration"
        )
    found = np.ones((1, context.shape[1]), dtype=bool)
    for row in context:
        found = np.unique(np.concatenate([found, found & row]), axis=0)
    return found
