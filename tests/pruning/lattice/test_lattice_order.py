"""Orders: known answers, plain definitions, networkx and explicit lattices, refusals."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lsh_native.pruning.lattice import (
    CyclicError,
    condensation,
    join_irreducible,
    max_min_closure,
    meet_irreducible,
    strict_up_sets,
    transitive_closure,
    transitive_reduction,
)

sizes = st.integers(0, 12)
relations = sizes.flatmap(lambda n: arrays(bool, (n, n)))


def order(n, *pairs):
    relation = np.zeros((n, n), dtype=bool)
    for low, high in pairs:
        relation[low, high] = True
    return transitive_closure(relation, reflexive=True)


def acyclic(relation, seed=0):
    """Some acyclic part of a relation, with its elements in any order."""
    shuffle = np.random.default_rng(seed).permutation(len(relation))
    return np.triu(relation, 1)[np.ix_(shuffle, shuffle)]


def meet_irreducible_definition(order):
    down = order.T | np.eye(len(order), dtype=bool)
    above = order & ~np.eye(len(order), dtype=bool)
    return np.array(
        [not np.array_equal(down[above[m]].all(axis=0), down[m]) for m in range(len(order))],
        dtype=bool,
    )


# ----------------------------------------------------------------------------------- known answers


def chain(n):
    return order(n, *((k, k + 1) for k in range(n - 1)))


def product_order(a, b):
    return np.kron(a, b)


def boolean_lattice(k):
    subsets = list(product([0, 1], repeat=k))
    return np.array(
        [[all(x <= y for x, y in zip(a, b, strict=True)) for b in subsets] for a in subsets]
    )


CROWN = order(8, *((a, 4 + b) for a in range(4) for b in range(4) if a != b))

KNOWN = {
    "no element": (chain(0), []),
    "one element": (chain(1), []),
    "chain": (chain(7), range(6)),
    "antichain": (order(5), range(5)),
    "antichain and top": (order(5, *((k, 4) for k in range(4))), range(4)),
    "boolean lattice": (boolean_lattice(3), [3, 5, 6]),
    "two below two": (order(4, (0, 2), (0, 3), (1, 2), (1, 3)), range(4)),
    "crown": (CROWN, range(4, 8)),
    "N5": (order(5, (0, 1), (1, 2), (2, 4), (0, 3), (3, 4)), [1, 2, 3]),
    "M3": (order(5, *((0, k) for k in (1, 2, 3)), *((k, 4) for k in (1, 2, 3))), [1, 2, 3]),
    "grid": (product_order(chain(3), chain(4)), [3, 7, 8, 9, 10]),
}


@pytest.mark.parametrize(("given_order", "irreducible"), KNOWN.values(), ids=KNOWN)
def test_known_orders(given_order, irreducible):
    assert np.flatnonzero(meet_irreducible(given_order)).tolist() == list(irreducible)
    assert np.array_equal(meet_irreducible(given_order), meet_irreducible_definition(given_order))


def test_one_cover_is_not_needed():
    """Both lower elements have two covers, whose down-sets meet in more than the element."""
    two_below_two = KNOWN["two below two"][0]
    assert transitive_reduction(two_below_two)[:2].sum(axis=1).tolist() == [2, 2]
    assert meet_irreducible(two_below_two)[:2].all()


def test_longer_than_a_word():
    n = 200
    assert meet_irreducible(chain(n)).sum() == n - 1
    assert np.array_equal(transitive_reduction(chain(n)), np.eye(n, k=1, dtype=bool))
    ring = np.roll(np.eye(n, dtype=bool), 1, axis=1)
    assert transitive_closure(ring).all()
    assert condensation(ring).component.tolist() == [0] * n


def test_bottleneck_by_hand():
    weights = np.zeros((4, 4))
    weights[0, 1], weights[1, 2], weights[0, 2], weights[2, 1] = 5, 3, 1, 4
    assert max_min_closure(weights).tolist() == [
        [0, 5, 3, 0],
        [0, 3, 3, 0],
        [0, 4, 3, 0],
        [0, 0, 0, 0],
    ]


# ------------------------------------------------------------------------------------- definitions


@given(relations)
def test_closure_by_warshall(relation):
    closure = relation.copy()
    for k in range(len(closure)):
        closure |= closure[:, [k]] & closure[k]
    assert np.array_equal(transitive_closure(relation), closure)
    assert np.array_equal(
        transitive_closure(relation, reflexive=True), closure | np.eye(len(closure), dtype=bool)
    )


@given(relations)
def test_irreducible_by_definition(relation):
    partial = transitive_closure(acyclic(relation))
    assert np.array_equal(meet_irreducible(partial), meet_irreducible_definition(partial))
    assert np.array_equal(join_irreducible(partial), meet_irreducible_definition(partial.T))
    assert np.array_equal(strict_up_sets(partial | np.eye(len(partial), dtype=bool)), partial)


@given(relations)
def test_condensation_by_definition(relation):
    component, components = condensation(relation)
    closure = transitive_closure(relation, reflexive=True)
    assert np.array_equal(component[:, None] == component, closure & closure.T)
    firsts = [np.flatnonzero(component == c)[0] for c in range(len(components))]
    assert firsts == sorted(firsts)
    assert np.array_equal(components, closure[np.ix_(firsts, firsts)])


@given(sizes.flatmap(lambda n: arrays(np.float32, (n, n), elements=st.integers(0, 9))))
def test_cuts_of_the_bottleneck_closure(weights):
    closure = max_min_closure(weights)
    assert closure.dtype == np.float32
    assert set(np.unique(closure)) <= {0, *np.unique(weights)}
    for level in range(1, 10):
        assert np.array_equal(closure >= level, transitive_closure(weights >= level))


@given(relations, st.randoms())
def test_the_names_of_elements_do_not_matter(relation, random):
    shuffle = np.array(random.sample(range(len(relation)), len(relation)), dtype=int)
    partial = transitive_closure(acyclic(relation))
    shuffled = partial[np.ix_(shuffle, shuffle)]
    assert np.array_equal(meet_irreducible(shuffled), meet_irreducible(partial)[shuffle])


def test_bottleneck_of_many():
    """Large enough that the strongest steps come in several pieces."""
    weights = np.random.default_rng(0).random((90, 90)) * (np.arange(90)[:, None] < np.arange(90))
    closure = weights.copy()
    for k in range(90):
        closure = np.maximum(closure, np.minimum(closure[:, [k]], closure[k]))
    assert np.array_equal(max_min_closure(weights), closure)


# ----------------------------------------------------------------------------------------- oracles


@pytest.mark.parametrize("per_unit", [0.5, 1.0, 2.0, 6.0])
@pytest.mark.parametrize("n", [9, 70])
def test_networkx(n, per_unit):
    nx = pytest.importorskip("networkx")

    def graph(relation):
        return nx.from_numpy_array(relation, create_using=nx.DiGraph)

    def array(graph):
        return nx.to_numpy_array(graph, nodelist=range(n)) > 0

    random = np.random.default_rng(n)
    for _ in range(10):
        relation = random.random((n, n)) < per_unit / n
        assert np.array_equal(
            transitive_closure(relation), array(nx.transitive_closure(graph(relation)))
        )
        component, _ = condensation(relation)
        assert sorted(map(sorted, nx.strongly_connected_components(graph(relation)))) == [
            np.flatnonzero(component == c).tolist() for c in range(component.max() + 1)
        ]
        part = acyclic(relation, seed=1)
        assert np.array_equal(
            transitive_reduction(part), array(nx.transitive_reduction(graph(part)))
        )


def test_explicit_completion():
    """In the lattice of the context (P, P, ≤) an irreducible element has one upper neighbour."""
    concepts = pytest.importorskip("concepts")
    random = np.random.default_rng(0)
    more_covers = 0
    for trial in range(40):
        n = int(random.integers(2, 10))
        partial = transitive_closure(acyclic(random.random((n, n)) < 0.3, trial), reflexive=True)
        names = [f"element {k}" for k in range(n)]
        lattice = concepts.Context(names, [f"≤ {k}" for k in range(n)], partial.tolist()).lattice
        down = [tuple(names[x] for x in np.flatnonzero(partial[:, m])) for m in range(n)]
        expected = [len(lattice[extent].upper_neighbors) == 1 for extent in down]
        assert meet_irreducible(partial).tolist() == expected
        more_covers += int((transitive_reduction(partial).sum(axis=1)[expected] > 1).sum())
    assert more_covers > 0  # what a count of covers would miss


# ---------------------------------------------------------------------------------------- refusals

EVERY = (
    transitive_closure,
    transitive_reduction,
    condensation,
    meet_irreducible,
    join_irreducible,
    strict_up_sets,
)


@pytest.mark.parametrize("function", [*EVERY, max_min_closure])
@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 2, 2)])
def test_refuses_what_is_not_square(function, shape):
    dtype = float if function is max_min_closure else bool
    with pytest.raises(ValueError, match=r"must (be square|have two dimensions), got shape"):
        function(np.zeros(shape, dtype=dtype))


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize("dtype", [float, int, np.uint8, object])
def test_refuses_what_is_not_bool(function, dtype):
    with pytest.raises(TypeError, match=r"must be bool, got .*; compare it with a threshold first"):
        function(np.zeros((2, 2), dtype=dtype))


@pytest.mark.parametrize(
    "function", [transitive_reduction, meet_irreducible, join_irreducible, strict_up_sets]
)
def test_refuses_cycles_and_names_the_way_out(function):
    relation = order(4, (0, 1), (1, 3), (3, 1))
    message = r"elements 1 and 3 reach each other; condensation\(\) makes one element of them"
    with pytest.raises(CyclicError, match=message):
        function(relation)
    assert issubclass(CyclicError, ValueError)


def test_refuses_an_order_that_is_not_transitive():
    with pytest.raises(ValueError, match=r"must be transitive.*transitive_closure\(\) makes it so"):
        meet_irreducible(np.eye(3, k=1, dtype=bool))


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_refuses_weights(value):
    with pytest.raises(ValueError, match="weights must be finite and not negative, got"):
        max_min_closure(np.array([[0.0, value], [0.0, 0.0]]))


@pytest.mark.parametrize("dtype", [bool, int, np.float16])
def test_refuses_dtypes_of_weights(dtype):
    with pytest.raises(TypeError, match="weights must be float32 or float64, got"):
        max_min_closure(np.zeros((2, 2), dtype=dtype))


def test_any_byte_but_zero_is_true():
    bytes_of_two = np.full((9, 9), 2, dtype=np.uint8).view(bool)
    assert transitive_closure(bytes_of_two).all()


def test_other_layouts_than_rows():
    relation = np.random.default_rng(0).random((20, 20)) < 0.1
    wide = np.repeat(np.repeat(relation, 2, axis=0), 3, axis=1)
    expected = transitive_closure(relation)
    assert np.array_equal(transitive_closure(wide[::2, ::3]), expected)
    assert np.array_equal(transitive_closure(np.asfortranarray(relation)), expected)
    assert np.array_equal(transitive_closure(relation[::-1, ::-1])[::-1, ::-1], expected)
