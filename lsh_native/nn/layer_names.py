"""LayerNames: which parameters one layer of a recurrent stack reads."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LayerNames"]


@dataclass(frozen=True, kw_only=True)
class LayerNames:
    """The parameters of one layer in one direction, by name; biases may be absent.

    The last of `weight_hh` is the projection where the cell projects.
    """

    weight_ih: str
    weight_hh: tuple[str, ...]
    bias_ih: str | None = None
    bias_hh: tuple[str, ...] = ()
    reverse: bool = False

    @property
    def weights(self) -> tuple[str, ...]:
        """The matrices, the input's first."""
        return self.weight_ih, *self.weight_hh

    @property
    def biases(self) -> tuple[str, ...]:
        """The biases that there are."""
        return self.bias_hh if self.bias_ih is None else (self.bias_ih, *self.bias_hh)
