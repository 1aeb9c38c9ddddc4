"""Formal contexts: known answers, the definition by enumeration, the package concepts, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lsh_native.pruning.lattice import (
    clarified_context,
    intents,
    irreducible_attributes,
    irreducible_objects,
    reduced_context,
)

contexts = st.tuples(st.integers(0, 7), st.integers(0, 7)).flatmap(lambda s: arrays(bool, s))


def irreducible_by_enumeration(context):
    """The attribute concept has exactly one upper neighbour in the lattice of all intents."""
    found = intents(context)
    smaller = (found[:, None] <= found).all(axis=2) & ~np.eye(len(found), dtype=bool)
    result = []
    for m in range(context.shape[1]):
        own = context[context[:, m]].all(axis=0)  # the intent of the attribute concept
        below = smaller[:, (found == own).all(axis=1)][:, 0]
        neighbours = below & ~(smaller & below).any(axis=1)
        first = not any(np.array_equal(context[:, k], context[:, m]) for k in range(m))
        result.append(first and neighbours.sum() == 1)
    return np.array(result, dtype=bool)


@pytest.mark.parametrize("n", [1, 2, 5, 130])
def test_identity_and_its_opposite(n):
    identity = np.eye(n, dtype=bool)
    expected = n > 1  # the only column of one object is full
    assert irreducible_attributes(identity).all() == expected
    assert irreducible_attributes(~identity).all()


def test_opposite_of_the_identity_has_all_intents():
    assert len(intents(~np.eye(6, dtype=bool))) == 2**6


def test_full_and_equal_columns():
    context = np.array([[1, 0, 1, 1, 0], [1, 1, 0, 0, 1], [1, 0, 0, 0, 0]], dtype=bool)
    assert irreducible_attributes(context).tolist() == [False, True, True, False, False]
    assert clarified_context(context)[1].tolist() == [0, 1, 2, 2, 1]


def test_empty_contexts():
    assert irreducible_attributes(np.zeros((0, 0), dtype=bool)).shape == (0,)
    assert irreducible_attributes(np.zeros((3, 0), dtype=bool)).shape == (0,)
    assert irreducible_attributes(np.zeros((0, 3), dtype=bool)).tolist() == [False] * 3  # all full


def test_an_empty_column_is_irreducible_unless_the_others_share_nothing():
    context = np.array([[0, 1, 1], [0, 0, 1]], dtype=bool)
    assert irreducible_attributes(context)[0]
    assert not irreducible_attributes(np.array([[0, 1, 0], [0, 0, 1]], dtype=bool))[0]


@given(contexts)
def test_irreducible_by_enumeration(context):
    assert np.array_equal(irreducible_attributes(context), irreducible_by_enumeration(context))
    assert np.array_equal(irreducible_objects(context), irreducible_by_enumeration(context.T))


@given(contexts)
def test_reducing_keeps_the_lattice(context):
    """Intents of the reduced context are those of the context, seen on the attributes left."""
    objects, attributes = reduced_context(context)
    reduced = intents(context[np.ix_(objects, attributes)])
    assert len(reduced) == len(intents(context))
    assert np.array_equal(reduced, np.unique(intents(context)[:, attributes], axis=0))


@given(contexts)
def test_clarifying_by_definition(context):
    objects, attributes = clarified_context(context)
    for firsts, lines in ((objects, context), (attributes, context.T)):
        equal = (lines[:, None] == lines).all(axis=2)
        assert firsts.tolist() == [int(np.argmax(row)) for row in equal]


def test_package_concepts():
    concepts = pytest.importorskip("concepts")
    random = np.random.default_rng(0)
    for density in (0.2, 0.5, 0.8):
        for _ in range(15):
            objects, attributes = random.integers(1, 9, size=2)
            context = random.random((objects, attributes)) < density
            names = [f"m{k}" for k in range(attributes)]
            found = concepts.Context([f"g{k}" for k in range(objects)], names, context.tolist())
            assert len(found.lattice) == len(intents(context))
            first = clarified_context(context)[1] == np.arange(attributes)
            expected = [
                first[k] and len(found.lattice[(name,)].upper_neighbors) == 1
                for k, name in enumerate(names)
            ]
            assert irreducible_attributes(context).tolist() == expected


def test_refuses_to_enumerate_what_is_large():
    with pytest.raises(ValueError, match=r"at most 16 objects or attributes, got shape \(17, 20\)"):
        intents(np.zeros((17, 20), dtype=bool))
    assert len(intents(np.zeros((500, 16), dtype=bool))) == 2


@pytest.mark.parametrize("function", [irreducible_attributes, irreducible_objects])
def test_refuses(function):
    with pytest.raises(TypeError, match="context must be bool, got float64"):
        function(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"context must have two dimensions, got shape \(3,\)"):
        function(np.zeros(3, dtype=bool))
