"""Fixtures that every test may use: devices present, tolerances by dtype, the shared corpora."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import torch
from hypothesis import settings

ROOT: Final = Path(__file__).resolve().parents[1]
SHARED_DATA: Final = ROOT.parent / "shared" / "data"

DEVICES: Final = ("cpu", *(("cuda",) if torch.cuda.is_available() else ()))

# Tests that run side by side have a core each: a thread more would wait at every barrier for one
# that another test keeps from running. The processes that they start read the variable.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

# Kernels are chosen as shipped, whatever this user has measured or set.
os.environ.pop("LSH_DENSE_FROM", None)
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="lsh-cache-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

# How far a kernel may be from the plain definition in the same dtype: relative, absolute.
TOLERANCES: Final[dict[torch.dtype, tuple[float, float]]] = {
    torch.float64: (1e-10, 1e-12),
    torch.float32: (2e-5, 2e-6),
    torch.bfloat16: (2e-2, 2e-3),
}

# How long one example takes says nothing on a shared machine.
settings.register_profile("unhurried", parent=settings(), deadline=None)
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--cuda-on-host` runs tests of the CPU on the CUDA kernels, compiled for the host."""
    parser.addoption("--cuda-on-host", action="store_true", help="run the CUDA kernels on the host")


@pytest.fixture(scope="session", autouse=True)
def cuda_on_host(request: pytest.FixtureRequest) -> Iterator[None]:
    """The kernels that the session's tests run on: those of the CPU unless asked otherwise."""
    if not request.config.getoption("--cuda-on-host"):
        yield
        return
    sys.path.insert(0, str(ROOT / "tests" / "cuda"))
    from host_kernels import host_kernels

    with host_kernels().in_place_of_cpu():
        yield


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device that this machine has."""
    return torch.device(request.param)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """One thread unless the test sets more; as it was afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def tolerance() -> Callable[[torch.dtype], dict[str, float]]:
    """The tolerances of a dtype: `torch.testing.assert_close(x, y, **tolerance(x.dtype))`."""

    def of(dtype: torch.dtype) -> dict[str, float]:
        relative, absolute = TOLERANCES[dtype]
        return {"rtol": relative, "atol": absolute}

    return of


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public corpora beside the project; skips the test where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the corpora in ../shared/data are absent")
    return SHARED_DATA
