"""The CUDA kernels, run on the host."""

from collections.abc import Iterator

import pytest
from host_kernels import HostKernels, can_build, host_kernels


@pytest.fixture(scope="session")
def kernels() -> HostKernels:
    """The library of CUDA kernels on the host; skips where it cannot be compiled."""
    if reason := can_build():
        pytest.skip(reason)
    return host_kernels()


@pytest.fixture(params=[0, 1, 2], ids=["ascending", "descending", "shuffled"])
def order(request: pytest.FixtureRequest, kernels: HostKernels) -> Iterator[int]:
    """An order of threads and blocks, which must not matter."""
    kernels.order(request.param)
    yield request.param
    kernels.order(0)
