"""What runs kernels on the host finds their faults, seen on kernels that have them."""

import pytest
from host_kernels import HostKernels


def test_a_sum_with_barriers_does_not_depend_on_the_order(kernels: HostKernels, order: int) -> None:
    assert kernels.probe(0) == ([2080, 2080], "")


def test_a_missing_barrier_shows_in_some_order(kernels: HostKernels) -> None:
    found = set()
    for seed in range(4):
        kernels.order(seed)
        found.add(tuple(kernels.probe(1)[0]))
    kernels.order(0)
    assert len(found) > 1


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (2, "a lane must be in the mask"),
        (3, "must not write beside its shared memory"),
        (4, "a shuffle must read a lane that takes part"),
        (7, "threads wait for each other"),
    ],
)
def test_faults_end_a_launch(kernels: HostKernels, order: int, which: int, message: str) -> None:
    assert message in kernels.probe(which)[1]
    assert kernels.probe(0) == ([2080, 2080], "")  # and nothing is left of them


def test_shared_memory_is_not_zero_at_first(kernels: HostKernels) -> None:
    assert kernels.probe(5)[0][0] == 1


def test_operations_of_a_warp(kernels: HostKernels, order: int) -> None:
    assert kernels.probe(6) == ([128, 0], "")
