"""The news that memory ran out, with what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["MemoryExhaustedError", "memory_errors"]

# how torch says so on the CPU, where it has no error of its own for it
_ON_THE_CPU = ("can't allocate memory", "Storage size calculation overflowed")


class MemoryExhaustedError(MemoryError):
    """More memory was asked for than there is.

    Args:
        where: what asked for it.
        advice: what to lower.
        reason: what torch says of it.
    """

    def __init__(self, *, where: str, advice: str, reason: str) -> None:
        detail = reason.strip().partition("\n")[0]
        super().__init__(f"memory ran out {where}: {advice} ({detail})")


@contextmanager
def memory_errors(where: str, advice: str) -> Iterator[None]:
    """Turns what torch raises for want of memory into one error that says what to do.

    Args:
        where: what happens inside, as "in epoch 3".
        advice: what to lower.

    Raises:
        MemoryExhaustedError: memory ran out inside.
    """
    try:
        yield
    except MemoryExhaustedError:
        raise
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(sign in str(error) for sign in _ON_THE_CPU):
            raise
        raise MemoryExhaustedError(where=where, advice=advice, reason=str(error)) from error
