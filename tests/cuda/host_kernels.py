"""The CUDA kernels on the host: compiled by g++ with simt/, loaded, put in the place of the CPU's.

What is compiled is the source that nvcc compiles, kernels and operators, with the headers of
tests/cuda/simt before those of CUDA. The operators come as `torch.ops.lsh_simt`, on CPU tensors.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from lsh_native import native as native  # registers the schemas

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = ROOT / "csrc"
SIMT: Final = Path(__file__).resolve().parent / "simt"
BUILD: Final = ROOT / "build" / "simt"
SHARED: Final = (  # what the operators use besides, as CMakeLists.txt lists it
    "common/check.cpp",
    "common/parallel.cpp",
    "sparsity/check_pattern.cpp",
    "sparsity/lane_tiles.cpp",
)
_OTHER_NAMESPACE: Final = """\
#include <torch/csrc/stable/library.h>
#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY_IMPL(ns, k, m) _STABLE_TORCH_LIBRARY_IMPL(lsh_simt, CPU, m, C10_UID)
"""
_AS_NVCC: Final = ("-D__CUDACC__", "-include", "cuda_runtime.h")


def can_build() -> str:
    """Why the kernels cannot be compiled here; empty if they can."""
    if not SOURCES.is_dir():
        return "the native sources are not beside the tests"
    return "" if shutil.which("g++") else "g++ is not on PATH"


def _torch_folder() -> Path:
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _includes(paths: Iterable[Path]) -> str:
    return "".join(f'#include "{path}"\n' for path in paths)


def build(folder: Path = BUILD, *options: str) -> Path:
    """Compile the library, unless it is newer than what it is made of; `options` go to g++."""
    library = folder / "ops_simt.so"
    inputs = [path for place in (SOURCES, SIMT) for path in place.rglob("*") if path.is_file()]
    newest = max(path.stat().st_mtime for path in [*inputs, Path(__file__)])
    if library.exists() and library.stat().st_mtime > newest:
        return library
    folder.mkdir(parents=True, exist_ok=True)
    kernels, operators = sorted(SOURCES.rglob("*.cu")), sorted(SOURCES.rglob("*_cuda.cpp"))
    half = [path for path in kernels if "cells" in path.parts]
    rest = [path for path in kernels if path not in half]
    shared = [SOURCES / name for name in SHARED]
    units = {
        "cells": (_includes(half), _AS_NVCC),
        "kernels": (_includes(rest), _AS_NVCC),
        "operators": (_OTHER_NAMESPACE + _includes([*operators, *shared]), ("-O0",)),
        "executor": (_includes(sorted(SIMT.glob("*.cpp"))), ("-O2",)),
    }
    torch_folder = _torch_folder()
    command = [
        *([shutil.which("ccache")] if shutil.which("ccache") else []),
        *(
            "g++",
            "-std=c++20",
            "-O1",
            "-fPIC",
            "-pthread",
            "-Wno-psabi",
            f"-I{SIMT}",
            f"-I{SOURCES}",
        ),
        *("-isystem", str(torch_folder / "include"), "-DTORCH_TARGET_VERSION=0x020A000000000000"),
        *options,
    ]
    running = []
    for name, (text, flags) in units.items():
        source = folder / f"{name}.cpp"
        source.write_text(text)
        target = str(folder / f"{name}.o")
        running.append(
            subprocess.Popen(
                [*command, *flags, "-c", str(source), "-o", target],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    for process in running:
        output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the kernels must compile for the host:\n{output}")
    subprocess.run(
        [
            *("g++", "-shared", "-pthread", *options, "-o", str(library)),
            *(str(folder / f"{name}.o") for name in units),
            *("-Wl,--no-as-needed", str(torch_folder / "lib" / "libtorch.so")),
            "-Wl,--allow-shlib-undefined",
        ],
        check=True,
    )
    return library


class HostKernels:
    """The library, loaded.

    Attributes:
        names: operators that have a CUDA kernel, without namespace.
    """

    def __init__(self, library: Path) -> None:
        self._definitions = torch.library.Library("lsh_simt", "DEF")
        registered = [
            name.removeprefix("lsh::")
            for name in torch._C._dispatch_get_all_op_names()
            if name.startswith("lsh::") and "." not in name
        ]
        for name in registered:
            schema = str(getattr(torch.ops.lsh, name).default._schema)
            self._definitions.define(schema.removeprefix("lsh::"))
        torch.ops.load_library(library)
        self._library = ctypes.CDLL(str(library))
        self.names = sorted(
            name
            for name in registered
            if torch._C._dispatch_has_kernel_for_dispatch_key(f"lsh_simt::{name}", "CPU")
        )

    def order(self, seed: int) -> None:
        """The order of threads and blocks: 0 ascending, 1 descending, else shuffled by `seed`."""
        self._library.simt_order(ctypes.c_uint(seed))

    @contextmanager
    def device(self, multiprocessors: int, shared_bytes: int) -> Iterator[None]:
        """Within it the device has so many multiprocessors with so much shared memory."""
        self._library.simt_device(multiprocessors, shared_bytes)
        try:
            yield
        finally:
            self._library.simt_device(4, 227 << 10)

    def counts(self) -> tuple[int, int, int]:
        """How many launches, blocks and threads there were so far."""
        numbers = (ctypes.c_int64 * 3)()
        self._library.simt_counts(numbers)
        return numbers[0], numbers[1], numbers[2]

    def function(self, name: str) -> Any:
        """A function of simt/ for tests to call."""
        return self._library[name]

    def probe(self, which: int) -> tuple[list[int], str]:
        """Runs a kernel of simt/probe.cpp; two numbers that it leaves, and what went wrong."""
        numbers = (ctypes.c_int64 * 2)()
        self._library.simt_probe.restype = ctypes.c_char_p
        error = self._library.simt_probe(which, numbers)
        return list(numbers), error.decode()

    @contextmanager
    def in_place_of_cpu(self) -> Iterator[None]:
        """Within it `torch.ops.lsh` runs these kernels on CPU tensors."""
        override = torch.library.Library("lsh", "IMPL")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that is what it is for
            for name in self.names:
                kernel = getattr(torch.ops.lsh_simt, name).default
                override.impl(name, kernel, "CPU", allow_override=True)
        try:
            yield
        finally:
            override._destroy()


_loaded: list[HostKernels] = []


def host_kernels() -> HostKernels:
    """The kernels, compiled and loaded once a process."""
    if not _loaded:
        folder = Path(os.environ.get("LSH_SIMT_BUILD", BUILD))
        _loaded.append(HostKernels(build(folder)))
    return _loaded[0]
