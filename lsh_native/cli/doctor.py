"""`lsh-native doctor`: what is installed, what runs, and what to do about what is missing."""

from __future__ import annotations

import platform
from importlib.metadata import version

import numpy
import torch

from lsh_native.native import libraries
from lsh_native.nn.crossover import crossover, keep_crossover
from lsh_native.nn.measure_crossover import measure_crossover

__all__ = ["doctor"]


def doctor(measure: bool = False) -> None:
    """Prints versions, SIMD level, threads, libraries, devices, and how to get what is missing.

    Args:
        measure: first measure on this machine, in about twenty seconds, from which density on the
            dense kernels are the faster ones, and keep that for all programs of this user.
    """
    if measure:
        print(f"measured, and kept in {keep_crossover(*measure_crossover())}")
    level = libraries.simd_level
    rows = {
        "lsh_native": version("lsh-native"),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "processor": f"{platform.machine()}, SIMD level {level} "
        f"(this processor has {libraries.detected_simd_level})",
        "threads": str(torch.get_num_threads()),
        "choice of kernels": str(crossover()),
        "CPU kernels": str(libraries.cpu),
        "CUDA kernels": str(libraries.cuda or f"not loaded: {libraries.cuda_missing}"),
    }
    if libraries.cuda_architectures:
        rows["CUDA kernels for"] = libraries.cuda_architectures
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            name, (major, minor) = (
                torch.cuda.get_device_name(index),
                torch.cuda.get_device_capability(index),
            )
            rows[f"CUDA device {index}"] = f"{name}, compute capability {major}.{minor}"
    else:
        rows["CUDA devices"] = "none"
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
    advice = []
    if level != libraries.detected_simd_level:
        advice.append("kernels run below what this processor has: unset LSH_SIMD")
    if libraries.cuda is None and torch.cuda.is_available():
        advice.append(f"a CUDA device is here, but its kernels are not: {libraries.cuda_missing}")
    for line in advice or ["nothing is missing"]:
        print(f"- {line}")
