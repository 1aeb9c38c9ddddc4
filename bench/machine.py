"""What the machine is and what it gives at most: the ceiling beside every ratio."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")
PACKAGES = ("lsh-native", "torch", "numpy", "scipy")
_VECTOR_FLAGS = ("sse4", "avx", "fma", "f16c", "bmi2", "amx")


@dataclass(frozen=True, kw_only=True)
class Peak:
    """What one core reaches at best, measured."""

    operations: dict[str, float]
    """Floating-point operations a second, by dtype; a multiply-add counts as two."""
    operations_by: str
    """What was measured."""
    read_bandwidth: float
    """Bytes a second read from main memory."""
    read_bandwidth_by: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts that a measured number depends on."""

    cpu: str
    cores: int
    flags: list[str]
    simd_level: str
    torch_threads: int
    load_average: float
    """Processes that wanted a core, mean over the last minute before the run."""
    python: str
    system: str
    packages: dict[str, str]
    peak: Peak

    @classmethod
    def measure(cls) -> "Machine":
        """Read the facts and measure the peak; takes about two seconds."""
        facts = _cpu_facts()
        return cls(
            cpu=facts.get("model name", platform.processor() or "unknown"),
            cores=len(os.sched_getaffinity(0)),
            flags=[
                flag for flag in facts.get("flags", "").split() if flag.startswith(_VECTOR_FLAGS)
            ],
            simd_level=simd_level(),
            torch_threads=torch.get_num_threads(),
            load_average=os.getloadavg()[0],
            python=platform.python_version(),
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            packages={name: _version(name) for name in PACKAGES},
            peak=measure_peak(),
        )


def simd_level() -> str:
    """The SIMD level that the native kernels run at, or "none" where they are not built."""
    try:
        from lsh_native.native import libraries
    except ImportError:
        return "none"
    return libraries.simd_level


def measure_peak(*, size: int = 1024, megabytes: int = 256, repeats: int = 5) -> Peak:
    """Best of `repeats` by one core: a square matrix product, and a sum over more than caches hold.

    A library's product stays below what the arithmetic units could do, by how much depends on the
    machine, so a fraction of this peak may pass 1.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        operations = {
            str(dtype).removeprefix("torch."): 2 * size**3 / _best_product(size, dtype, repeats)
            for dtype in (torch.float32, torch.float64)
        }
        memory = torch.ones(megabytes << 18)
        bandwidth = memory.numel() * 4 / _best_seconds(memory.sum, repeats)
    finally:
        torch.set_num_threads(before)
    return Peak(
        operations=operations,
        operations_by=f"torch.mm of two {size}x{size} matrices",
        read_bandwidth=bandwidth,
        read_bandwidth_by=f"torch.sum over {megabytes} MiB of float32",
    )


def _best_product(size: int, dtype: torch.dtype, repeats: int) -> float:
    a, b = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    out = torch.empty_like(a)
    return _best_seconds(lambda: torch.mm(a, b, out=out), repeats)


def _best_seconds(function: Callable[[], object], repeats: int) -> float:
    function()
    best = float("inf")
    for _ in range(repeats):
        start = time.thread_time()
        function()
        best = min(best, time.thread_time() - start)
    return best


def _cpu_facts() -> dict[str, str]:
    """The first processor's entries, empty where the system does not tell."""
    if not CPU_INFO.is_file():
        return {}
    first = CPU_INFO.read_text(encoding="utf-8").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
