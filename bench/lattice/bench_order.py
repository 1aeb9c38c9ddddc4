"""Orders on bits beside networkx, whose graphs are built beforehand; larger ones alone."""

from collections.abc import Callable, Iterator

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from bench.harness import Case, Goal
from lsh_native.pruning import lattice

Bools = NDArray[np.bool_]


def cases(short: bool) -> Iterator[Case]:
    random = np.random.default_rng(0)
    thousand = None if short else Goal(must=1000)
    n = 100 if short else 300
    closure, peer = lattice.transitive_closure, nx.transitive_closure
    for per_unit in (1.2, 0.05 * n):
        relation = random.random((n, n)) < per_unit / n
        yield _beside(f"closure, {per_unit:g} a unit", closure, peer, relation, thousand)
    weights = random.random((n, n)).astype(np.float32)
    yield Case(
        name=f"max-min closure, n {n}",
        ours=lambda: lattice.max_min_closure(weights),
        peers={"NumPy, one step a unit": lambda: _max_min_closure(weights)},
        shape={"n": n},
    )
    n = 2 * n
    cyclic = random.random((n, n)) < 1.2 / n
    yield _beside("condensation", lattice.condensation, _condensation, cyclic, thousand)
    acyclic = np.triu(random.random((n, n)) < 0.5, 1)
    reduction, peer = lattice.transitive_reduction, nx.transitive_reduction
    yield _beside("reduction", reduction, peer, acyclic, thousand)
    n = 100 if short else 1500
    order = closure(np.triu(random.random((n, n)) < 12 / n, 1))
    irreducible = lattice.meet_irreducible
    yield _beside("meet-irreducible", irreducible, _meet_irreducible, order, thousand)
    for n in () if short else (1500, 6000):
        yield from _alone(n, random)


def _beside(
    name: str,
    ours: Callable[[Bools], object],
    peer: Callable[[nx.DiGraph], object],
    relation: Bools,
    goal: Goal | None = None,
) -> Case:
    graph = nx.from_numpy_array(relation, create_using=nx.DiGraph)
    return Case(
        name=f"{name}, n {len(relation)}",
        ours=lambda: ours(relation),
        peers={"networkx": lambda: peer(graph)},
        shape={"n": len(relation), "pairs": int(relation.sum())},
        goals={} if goal is None else {"networkx": goal},
    )


def _alone(n: int, random: np.random.Generator) -> Iterator[Case]:
    acyclic = np.triu(random.random((n, n)) < 0.01, 1)
    order = lattice.transitive_closure(acyclic)
    weights = random.random((n, n), dtype=np.float32)
    for name, call in {
        "closure": lambda: lattice.transitive_closure(acyclic),
        "condensation": lambda: lattice.condensation(acyclic),
        "reduction": lambda: lattice.transitive_reduction(acyclic),
        "meet-irreducible": lambda: lattice.meet_irreducible(order),
        "irreducible attributes": lambda: lattice.irreducible_attributes(acyclic),
        "max-min closure": lambda: lattice.max_min_closure(weights),
    }.items():
        yield Case(name=f"{name}, n {n}", ours=call, peers={}, shape={"n": n})


def _condensation(relation: nx.DiGraph) -> nx.DiGraph:
    """What ours returns: components and the order among them."""
    return nx.transitive_closure(nx.condensation(relation))


def _meet_irreducible(order: nx.DiGraph) -> list[bool]:
    """The definition with networkx's own sets of neighbours."""
    down = {m: {m, *order.pred[m]} for m in order}
    return [down[m] != set(order).intersection(*(down[x] for x in order.succ[m])) for m in order]


def _max_min_closure(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    closure = weights.copy()
    for k in range(len(closure)):
        np.maximum(closure, np.minimum(closure[:, k, None], closure[k]), out=closure)
    return closure
