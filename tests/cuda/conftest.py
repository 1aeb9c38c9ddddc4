"""The CUDA kernels, run on the host."""

from collections.abc import Iterator
from functools import partial

import pytest
from host_kernels import HostKernels, can_build, host_kernels

from lsh_native.nn import sparse_module
from lsh_native.sparsity import pattern


@pytest.fixture(autouse=True)
def patterns_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host stands for a device, whose patterns have the part by columns."""
    both = partial(pattern.empty_pattern, by_columns=True)
    packed = partial(pattern.pack_pattern, by_columns=True)
    monkeypatch.setattr(sparse_module, "empty_pattern", both)
    for module in ("random_layer", "test_kernels"):
        for name, function in (("empty_pattern", both), ("pack_pattern", packed)):
            monkeypatch.setattr(f"{module}.{name}", function, raising=False)


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
