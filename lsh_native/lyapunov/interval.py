"""How many steps to take before the next orthonormalisation."""

import math
from typing import Literal

Interval = int | Literal["auto"]
"""Steps from one orthonormalisation to the next, or `"auto"` for as many as rounding allows."""

LONGEST = 32
_MARGIN = 0.8  # of the logarithm: the next steps may stretch more than the last ones


def next_interval(steps: int, condition: float, limit: float) -> int:
    """As many steps as will bring the tangent vectors near to the condition `limit`, at least 1.

    Vectors that were moved without pause lean towards the first ones: the logarithm of their
    condition grows in proportion to the steps, by about λ_1 - λ_K a step.

    Args:
        steps: how many led to the vectors that were orthonormalised last.
        condition: what they had come to; see `QRGrowth`.
        limit: up to which orthonormalisation loses nothing.

    Returns:
        At most twice `steps` and at most 32.
    """
    if not math.isfinite(condition):
        return 1
    rate = math.log(max(condition, 1.0)) / steps
    room = _MARGIN * math.log(limit)
    affordable = LONGEST if rate * LONGEST <= room else int(room / rate)
    return max(1, min(affordable, 2 * steps))
