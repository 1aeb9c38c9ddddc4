"""How many threads a command computes on."""

from __future__ import annotations

import torch

__all__ = ["use_threads"]


def use_threads(count: int | None) -> None:
    """Sets torch's number of threads; None leaves torch's choice.

    Raises:
        ValueError: the count is below 1.
    """
    if count is None:
        return
    if count < 1:
        raise ValueError(f"threads must be at least 1, got {count}")
    torch.set_num_threads(count)
