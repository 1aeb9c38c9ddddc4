"""SequenceClassifier: recurrent layers that read a sequence, and one decision at its end."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lsh_native.nn.linear import SparseLinear

__all__ = ["SequenceClassifier"]


class SequenceClassifier(nn.Module):
    """Tells the class of a sequence, such as an image read row by row, from its last output.

    Args:
        recurrent: maps (T, B, I) to (T, B, H) and a state.
        decoder: H → classes.
        dropout: probability with which a feature of the last output is zeroed, in training.
    """

    def __init__(
        self, recurrent: nn.Module, decoder: SparseLinear, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.recurrent: Any = recurrent
        self.decoder = decoder
        self.output_dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Maps sequences (T, B, I) to logits (B, classes)."""
        output, _ = self.recurrent(x)
        logits: Tensor = self.decoder(self.output_dropout(output[-1]))
        return logits

    def masks(self) -> dict[str, Tensor]:
        """The mask of each weight matrix by its name in this model."""
        parts: dict[str, Any] = {"recurrent": self.recurrent, "decoder": self.decoder}
        return {
            f"{part}.{name}": mask
            for part, module in parts.items()
            for name, mask in module.masks().items()
        }
