"""What the device gives at most: copies, products, and a step of a layer without connections."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from bench.gpu.place import Place, seconds
from bench.gpu.rows import lstm_forward


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Measured once a run; medians."""

    copy: float
    """Bytes a second, read and written, of a copy many times the size of a cache."""
    products: dict[str, float]
    """Operations a second of a large matrix product, by dtype; a multiply-add counts as two."""
    barrier: float
    """Seconds a step of one kernel for all steps with few units: the barrier."""
    exchange: float
    """The same with 1500 units and 20 items without connections: barrier and states."""


def measure(device: torch.device, *, size: int = 8192, short: bool = False) -> Ceilings:
    """Measure the ceilings; `size` is the side of the matrices."""
    place = Place(device)
    size = 256 if short else size
    source = place.normal(size, size, 4 if short else 16)
    target = torch.empty_like(source)
    (copied,) = seconds([lambda: target.copy_(source)], device)
    products = {}
    for name, dtype, tf32 in (
        ("bfloat16", torch.bfloat16, True),
        ("tf32", torch.float32, True),
        ("float32", torch.float32, False),
        ("float64", torch.float64, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (place.normal(size, size, dtype=dtype) for _ in range(2))
        (spent,) = seconds([lambda a=a, b=b: a @ b], device)
        products[name] = 2 * size**3 / spent.median
    torch.backends.cuda.matmul.allow_tf32 = False
    steps = 4 if short else 512
    with chosen("fast"):
        few = lstm_forward(steps, 4, 1, 132, 0.0)(place)
        many = lstm_forward(steps, 20, 1, 64 if short else 1500, 0.0)(place)
        barrier, exchange = seconds([few, many], device)
    return Ceilings(
        copy=2 * source.numel() * 4 / copied.median,
        products=products,
        barrier=barrier.median / steps,
        exchange=exchange.median / steps,
    )


class chosen:  # noqa: N801 - used as a word
    """Within it the recurrent kernels are the `plain` or the `fast` ones."""

    def __init__(self, kernels: str) -> None:
        self._kernels, self._before = kernels, os.environ.get("LSH_CUDA_KERNELS")

    def __enter__(self) -> None:
        os.environ["LSH_CUDA_KERNELS"] = self._kernels

    def __exit__(self, *error: object) -> None:
        if self._before is None:
            del os.environ["LSH_CUDA_KERNELS"]
        else:
            os.environ["LSH_CUDA_KERNELS"] = self._before
