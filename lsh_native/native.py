"""Loads the operator libraries and says what was loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

try:
    from lsh_native import _native
except ImportError as error:  # pragma: no cover - an installation without its compiled part
    raise ImportError(
        "lsh_native's compiled part is missing; build it with `pip install .` "
        f"(a C++20 compiler is needed): {error}"
    ) from error

__all__ = ["Libraries", "libraries"]


@dataclass(frozen=True, kw_only=True)
class Libraries:
    """What was found and loaded.

    Attributes:
        folder: where the libraries lie.
        cpu: the CPU operator library.
        cuda: the CUDA operator library, or None where it was not built or torch has no CUDA.
        cuda_missing: why `cuda` is None, as a sentence; empty otherwise.
        simd_level: the SIMD level that CPU kernels run at: baseline, v3 or v4.
        detected_simd_level: the highest level this processor has.
        cuda_architectures: what the CUDA library was compiled for, as CMake lists it; may be empty.
    """

    folder: Path
    cpu: Path
    cuda: Path | None
    cuda_missing: str
    simd_level: str
    detected_simd_level: str
    cuda_architectures: str


def _load() -> Libraries:
    folder = Path(str(_native.__file__)).parent
    cpu = folder / "_ops_cpu.so"
    cuda = folder / "_ops_cuda.so"
    level = _native.simd_level()  # raises on a wrong LSH_SIMD before a kernel does
    torch.ops.load_library(cpu)
    missing = ""
    if torch.version.cuda is None:
        missing = "this torch was built without CUDA; install a CUDA build of torch"
    elif not cuda.exists():
        missing = "lsh_native was built without CUDA; put nvcc on PATH and install it again"
    else:
        torch.ops.load_library(cuda)
    return Libraries(
        folder=folder,
        cpu=cpu,
        cuda=None if missing else cuda,
        cuda_missing=missing,
        simd_level=level,
        detected_simd_level=_native.detected_simd_level(),
        cuda_architectures=_native.cuda_architectures,
    )


libraries = _load()
