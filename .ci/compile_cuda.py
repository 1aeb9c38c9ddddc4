"""Compiles every .cu file of csrc/ for sm_90a and PTX; tables registers and spills of each kernel.

    python .ci/compile_cuda.py OUTPUT_FOLDER

Needs nvcc and no GPU. An error, a warning, a spill or a kernel of more than MOST_REGISTERS fails,
and so do objects in which the disassembler, where there is one, finds no code for sm_90a.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
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

MOST_REGISTERS = 128  # of a thread: with more, a multiprocessor holds fewer than 512 of them

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


def object_of(source: Path, output: Path) -> Path:
    """Where a source's object goes."""
    return output / source.relative_to(SOURCES).with_suffix(".o")


def compile_file(nvcc: str, source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Compile one file; what ptxas says stands in the result's stderr."""
    target = object_of(source, output)
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [nvcc, *FLAGS, "-c", str(source), "-o", str(target)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def disassembler() -> str | None:
    """Where cuobjdump is: on PATH, or as the Python package nvidia-cuda-cuobjdump brings it."""
    packages = Path(sysconfig.get_path("purelib")) / "nvidia"
    found = sorted(packages.glob("*/bin/cuobjdump"))
    return shutil.which("cuobjdump") or (str(found[-1]) if found else None)


def has_code(cuobjdump: str, target: Path, architecture: str = "sm_90a") -> bool:
    """Whether an object holds machine code for an architecture."""
    listed = subprocess.run(
        [cuobjdump, "--list-elf", str(target)], check=True, capture_output=True, text=True
    ).stdout
    return f".{architecture}.cubin" in listed


def faults(kernel: Kernel) -> list[str]:
    """What a kernel must not be."""
    found = []
    if kernel.spilled:
        found.append("SPILLS")
    if kernel.registers > MOST_REGISTERS:
        found.append(f"MORE THAN {MOST_REGISTERS} REGISTERS")
    return found


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

    wrong = 0
    print(f"{'registers':>9}  {'stack':>6}  {'spilled':>7}  {'shared':>6}  kernel")
    for source, result in zip(sources, results, strict=True):
        found = list(kernels(result.stdout + result.stderr))
        print(f"{source.relative_to(ROOT)}: {len(found)} kernels")
        for kernel, name in zip(found, demangle([k.symbol for k in found]), strict=True):
            numbers = f"{kernel.registers:>9}  {kernel.stack:>6}  {kernel.spilled:>7}"
            print(f"{numbers}  {kernel.shared:>6}  {'  '.join([name, *faults(kernel)])}")
            wrong += len(faults(kernel))

    failed = [(s, r) for s, r in zip(sources, results, strict=True) if r.returncode]
    for source, result in failed:
        print(f"\n{source.relative_to(ROOT)} must compile without a warning:\n{result.stderr}")
    print(f"{len(sources) - len(failed)} of {len(sources)} files compiled for sm_90a and PTX")
    cuobjdump = disassembler()
    if cuobjdump is None:
        print("skipped: cuobjdump was not found, so nobody looked for the code in the objects")
        return 1 if failed or wrong else 0
    for source in (s for s, r in zip(sources, results, strict=True) if not r.returncode):
        if not has_code(cuobjdump, object_of(source, output)):
            print(f"{source.relative_to(ROOT)} must hold code for sm_90a")
            wrong += 1
    return 1 if failed or wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python .ci/compile_cuda.py OUTPUT_FOLDER")
    sys.exit(main(Path(sys.argv[1])))
