"""Which dtype a layer's kernels compute in, and which its results have."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "MisfitError",
    "covered_by_autocast",
    "in_dtype",
    "kernel_dtype",
    "result_dtype",
    "torch_lacks_16_bits",
]

_AUTOCAST_DEVICES = ("cpu", "cuda")
"""Those that have kernels here; asked by name, as not every torch compiles the question itself."""


class MisfitError(ValueError, RuntimeError):
    """An input that does not fit: `torch.nn` raises one of the two, now this, now that."""


def kernel_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for itself; float32 for every other, 16 bits included."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def in_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in a dtype; itself where it is, which `to` takes a microsecond to find out."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def covered_by_autocast(weight: Tensor) -> bool:
    """Whether autocast covers a call of a layer with this weight: it leaves float64 alone."""
    kind = weight.device.type
    on = kind in _AUTOCAST_DEVICES and torch.is_autocast_enabled(kind)
    return on and weight.dtype != torch.float64


def result_dtype(weight: Tensor) -> torch.dtype:
    """The dtype that `torch.nn` gives the results of a layer with this weight."""
    if covered_by_autocast(weight):
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype


def torch_lacks_16_bits(dtype: torch.dtype, gradients: bool) -> bool:
    """Whether torch's LSTM fails in this dtype under autocast on this processor's CPU kernels.

    It hands such a call to oneDNN without asking whether oneDNN has a kernel for the processor and
    for gradients: of float16 it has none of those anywhere.
    """
    asked = {
        torch.bfloat16: "_is_mkldnn_bf16_supported",
        torch.float16: "_is_mkldnn_fp16_supported",
    }.get(dtype)
    supported = getattr(torch.ops.mkldnn, asked, None) if asked else None
    if supported is None:
        return False
    return not supported() or (gradients and dtype == torch.float16)
