"""The CUDA kernels, run on the host."""

from collections.abc import Iterator
from typing import Any

import pytest
from host_kernels import HostKernels, can_build, host_kernels
from torch import Tensor

from lsh_native.nn import sparse_module
from lsh_native.sparsity import pattern


@pytest.fixture(autouse=True)
def patterns_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host stands for a device, whose patterns have the part by columns."""
    by_default = pattern.empty_pattern

    def empty(*arguments: Any, by_columns: bool | None = None) -> Tensor:
        return by_default(*arguments, by_columns=by_columns is not False)

    for module in (pattern, sparse_module):
        monkeypatch.setattr(module, "empty_pattern", empty)


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
