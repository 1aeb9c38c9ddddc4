"""Compiles every .cu file of csrc/ for sm_90a and PTX; tables registers and spills of each kernel.

    python .ci/compile_cuda.py OUTPUT_FOLDER

Needs nvcc and no GPU. A spill is reported, an error or a warning fails.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "csrc"
FLAGS = (
    "-std=c++20",
    "-O3",
    f"-I{SOURCES}",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_90,code=compute_90",
    "-Xptxas=-v",
    "-Werror=all-warnings",
)

_KERNEL = re.compile(r"Compiling entry function '(\w+)' for 'sm_90a'")
_STACK = re.compile(r"(\d+) bytes stack frame")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What ptxas says of a kernel."""

    symbol: str
    registers: int
    stack: int
    """Bytes of local memory per thread, spills among them."""
    spilled: int
    """Bytes stored and loaded again because registers ran out, per thread."""
    shared: int
    """Bytes of static shared memory per block."""


def kernels(log: str) -> Iterator[Kernel]:
    """The kernels of one `ptxas -v` log."""
    for part in re.split(r"(?=ptxas info\s*: Compiling entry function)", log):
        kernel, registers = _KERNEL.search(part), _REGISTERS.search(part)
        if kernel and registers:
            yield Kernel(
                symbol=kernel[1],
                registers=int(registers[1]),
                stack=_total(_STACK, part),
                spilled=_total(_SPILLS, part),
                shared=_total(_SHARED, part),
            )


def _total(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return sum(map(int, found.groups())) if found else 0


def compile_file(nvcc: str, source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Compile one file; what ptxas says stands in the result's stderr."""
    target = output / source.relative_to(SOURCES).with_suffix(".o")
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [nvcc, *FLAGS, "-c", str(source), "-o", str(target)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def demangle(symbols: list[str]) -> list[str]:
    """Readable names without their arguments."""
    names = subprocess.run(
        ["c++filt"], input="\n".join(symbols), check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [re.sub(r"\(anonymous namespace\)::|^void |\((?!anonymous).*$", "", n) for n in names]


def main(output: Path) -> int:
    """Compile, print the table and the messages of what failed."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("skipped: nvcc is not on PATH, so no CUDA kernel was compiled")
        return 0
    sources = sorted(SOURCES.rglob("*.cu"))
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(lambda source: compile_file(nvcc, source, output), sources))

    print(f"{'registers':>9}  {'stack':>6}  {'spilled':>7}  {'shared':>6}  kernel")
    for source, result in zip(sources, results, strict=True):
        found = list(kernels(result.stdout + result.stderr))
        print(f"{source.relative_to(ROOT)}: {len(found)} kernels")
        for kernel, name in zip(found, demangle([k.symbol for k in found]), strict=True):
            numbers = f"{kernel.registers:>9}  {kernel.stack:>6}  {kernel.spilled:>7}"
            print(f"{numbers}  {kernel.shared:>6}  {name}{'  SPILLS' if kernel.spilled else ''}")

    failed = [(s, r) for s, r in zip(sources, results, strict=True) if r.returncode]
    for source, result in failed:
        print(f"\n{source.relative_to(ROOT)} must compile without a warning:\n{result.stderr}")
    print(f"{len(sources) - len(failed)} of {len(sources)} files compiled for sm_90a and PTX")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python .ci/compile_cuda.py OUTPUT_FOLDER")
    sys.exit(main(Path(sys.argv[1])))
