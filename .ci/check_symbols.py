"""Checks that op libraries need nothing of torch but C functions of its stable ABI, target 2.10.

    python .ci/check_symbols.py LIBRARY ...

A library that calls torch's C++ code, or a C function younger than the target, loads on the torch
it was built against and fails on others. Which functions the target has is read from the headers
of the installed torch: they are preprocessed for the target, as the build does.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

TARGET = "0x020A000000000000"
HEADERS = ("torch/csrc/stable/c/shim.h", "torch/csrc/inductor/aoti_torch/generated/c_shim_aten.h")
# What every process has or gets from the compiler: symbols with one of these versions.
SYSTEM = re.compile(r"@+(GLIBC|GLIBCXX|CXXABI|GCC)_")


def declared(include: Path, *options: str) -> set[str]:
    """C functions that the stable headers declare under preprocessor `options`."""
    headers = [argument for header in HEADERS for argument in ("-include", header)]
    command = ["g++", "-E", "-P", "-std=c++20", "-x", "c++", "-DUSE_CUDA", f"-I{include}"]
    text = run([*command, *options, *headers, "/dev/null"])
    return set(re.findall(r"\b((?:aoti_)?torch_\w+)\s*\(", text))


def undefined(library: Path) -> set[str]:
    """Symbols that `library` needs from elsewhere, with versions; weak ones may stay missing."""
    lines = run(["nm", "-D", "--undefined-only", str(library)]).splitlines()
    return {name for kind, name in (line.split() for line in lines) if kind == "U"}


def faults(symbols: set[str], target: set[str], newest: set[str]) -> list[str]:
    """One sentence for each symbol that an op library must not need."""
    wrong = sorted(s for s in symbols if not SYSTEM.search(s) and s not in target)
    return [
        f"{symbol} is younger than the target"
        if symbol in newest
        else f"{run(['c++filt', symbol]).strip()} is no C function of the stable ABI"
        for symbol in wrong
    ]


def run(command: list[str]) -> str:
    """The standard output of `command`."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def torch_include() -> Path:
    """The folder of the installed torch's headers."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        sys.exit("torch must be installed beside this Python, for its headers.")
    return Path(spec.origin).parent / "include"


def main(libraries: list[Path]) -> int:
    """Print a line a library and every fault; the exit status says whether there was one."""
    if not any(library.name.startswith("_ops_cpu") for library in libraries):
        sys.exit(f"_ops_cpu must be among the libraries, got {[str(p) for p in libraries]}")
    include = torch_include()
    target, newest = declared(include, f"-DTORCH_TARGET_VERSION={TARGET}"), declared(include)
    print(f"stable ABI: {len(target)} functions at the target, {len(newest - target)} younger")
    found = 0
    for library in libraries:
        symbols = undefined(library)
        wrong = faults(symbols, target, newest)
        print(f"{library.name}: {len(symbols & target)} of them used, {len(wrong)} faults")
        print(*(f"  {fault}" for fault in wrong), sep="\n", end="\n" if wrong else "")
        found += len(wrong)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
