"""Numbers between two ends, evenly spaced or by ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Interval:
    """All numbers from `low` to `high`, spaced evenly or, with `log`, by ratio.

    With `integer` only the whole numbers among them.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"an interval must have finite low < high, got {self.low} and {self.high}"
            )
        if self.integer and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError(
                f"an integer interval must have whole ends, got {self.low} and {self.high}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"a log interval must have low > 0, got {self.low}")

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or (self.integer and value != int(value)):
            return False
        return self.low <= value <= self.high

    def to_unit(self, value: float) -> float:
        """Map a value of the interval to [0, 1]."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> float:
        """Map [0, 1] back to the interval."""
        if self.log:
            value = self.low * math.pow(self.high / self.low, unit)
        else:
            value = self.low + unit * (self.high - self.low)
        value = min(max(value, self.low), self.high)
        return round(value) if self.integer else value
