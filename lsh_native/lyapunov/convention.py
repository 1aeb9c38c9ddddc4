"""What the numbers of a spectrum mean."""

import math
from dataclasses import dataclass
from typing import Literal

Base = Literal["nat", "2"]

NATS: dict[Base, float] = {"nat": 1.0, "2": math.log(2.0)}
"""One unit of each base in nats."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What was measured and how it is written down; other conventions give other quantities.

    Args:
        state: `"full"`, or `"hidden"` for the hidden state alone with the cell state held fixed.
        order: `"forward"` for Q ← J_t Q, `"transposed"` for Q ← J_tᵀ Q, both forward in time.
        base: of the logarithm, `"nat"` or `"2"`; exponents are per time step.
        sorted: descending within each layer, or in the order of the tangent vectors.
        reference: name of the published convention that was followed, if one was.

    Raises:
        ValueError: a field holds another value.
    """

    state: Literal["full", "hidden"] = "full"
    order: Literal["forward", "transposed"] = "forward"
    base: Base = "nat"
    sorted: bool = True
    reference: str | None = None

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[object, ...]] = {
            "state": ("full", "hidden"),
            "order": ("forward", "transposed"),
            "base": tuple(NATS),
            "sorted": (True, False),
            "reference": (None, "lsh2022"),
        }
        for name, values in allowed.items():
            value = getattr(self, name)
            if value not in values:
                raise ValueError(f"{name} must be one of {values}, got {value!r}")


STANDARD = Convention()
"""Full state, true order, natural logarithm, descending within each layer."""
