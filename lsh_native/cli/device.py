"""Which device a command computes on."""

from __future__ import annotations

import torch

from lsh_native.native import libraries

__all__ = ["require_device"]


def require_device(device: str) -> None:
    """Refuses a GPU that is not there, or for which there are no kernels.

    Raises:
        ValueError: the device cannot be used; the message says what is missing.
    """
    if device == "cpu":
        return
    missing = libraries.cuda_missing
    if not missing and not torch.cuda.is_available():
        missing = "torch finds no GPU here"
    if missing:
        raise ValueError(f"device {device} must have a GPU and kernels for it, but {missing}")
