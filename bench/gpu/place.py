"""Where a row's tensors are: a GPU, the CPU of a dry run, or nowhere, to check shapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.harness import Summary
from lsh_native.sparsity.pattern import empty_pattern, pack_pattern

Function = Callable[[], object]

CAPTURE_WARMUP, SAMPLES, MOST_SECONDS = 3, 25, 4.0


@dataclass(frozen=True)
class Place:
    """Draws operands; random numbers, as zeros hide faults and flatter times.

    Args:
        device: of the tensors.
        fake: whether they have no content.
    """

    device: torch.device
    fake: bool = False

    def normal(self, *shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Normally distributed numbers."""
        return (scale * torch.randn(shape, device=self.device)).to(dtype)

    def mask(self, rows: int, columns: int, density: float) -> Tensor:
        """A random mask."""
        return torch.rand(rows, columns, device=self.device) < density

    def pattern(self, rows: int, columns: int, density: float) -> Tensor:
        """The pattern of a random mask."""
        if self.fake:
            return empty_pattern(rows, columns, int(density * rows * columns), self.device)
        return pack_pattern(self.mask(rows, columns, density))


def graphed(function: Function) -> Function:
    """The function as a CUDA graph: one launch for all of its kernels."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(CAPTURE_WARMUP):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def seconds(functions: Sequence[Function], device: torch.device) -> list[Summary]:
    """Times functions in interleaved rounds: device time between two events, or wall time.

    Rounds end at SAMPLES of them, or after MOST_SECONDS; without a GPU, after two.
    """
    rounds = SAMPLES if device.type == "cuda" else 2
    samples: list[list[float]] = [[] for _ in functions]
    for function in functions:  # module loading and handles stay out of the numbers
        for _ in range(CAPTURE_WARMUP if device.type == "cuda" else 1):
            function()
    began = time.perf_counter()
    while len(samples[0]) < rounds and (
        not samples[0] or time.perf_counter() - began < MOST_SECONDS
    ):
        for function, found in zip(functions, samples, strict=True):
            found.append(_one(function, device))
    return [Summary.of(found) for found in samples]


def _one(function: Function, device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3
