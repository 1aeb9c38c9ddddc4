"""How much memory the tangent vectors take, known before any of it is asked for."""

from collections.abc import Sequence
from pathlib import Path

import torch

from lsh_native.lyapunov.tangent import TangentMap

_MEMORY_INFO = Path("/proc/meminfo")
_GIB = 2**30


class TooLittleMemoryError(ValueError):
    """The tangent vectors would not fit into memory."""


def tangent_bytes(maps: TangentMap, count: int) -> int:
    """Bytes that `count` tangent vectors of each sequence need at the peak.

    The vectors before and after a step, what the step works on, and their orthonormal basis with
    the workspace of its making: two copies more, and triangles of (count, count) in float64.
    """
    size = maps.dtype.itemsize
    vectors = maps.batch * maps.size * count * size
    workspace = 2 * maps.size * count * size + count * count * (size + 18)
    return 5 * vectors + workspace


def available_bytes(device: torch.device) -> int | None:
    """Bytes that can still be had on a device, None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu" or not _MEMORY_INFO.is_file():
        return None
    for line in _MEMORY_INFO.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return None


def require_memory(layers: Sequence[TangentMap], counts: Sequence[int]) -> None:
    """Refuses a run whose tangent vectors would not fit.

    Raises:
        TooLittleMemoryError: they would not.
    """
    needed = sum(tangent_bytes(maps, count) for maps, count in zip(layers, counts, strict=True))
    available = available_bytes(layers[0].device)
    if available is not None and needed > available:
        raise TooLittleMemoryError(
            f"the tangent vectors must fit into the {available / _GIB:.3g} GiB of free memory, "
            f"got {sum(counts)} vectors for each of {layers[0].batch} sequences, which need "
            f"{needed / _GIB:.3g} GiB; ask for fewer exponents (k) or sequences"
        )
