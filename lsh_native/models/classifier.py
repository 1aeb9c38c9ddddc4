"""Recurrent layers that tell the class of an image from its rows, read one a step.

Source: Le, Jaitly & Hinton, "A simple way to initialize recurrent networks of rectified linear
units", 2015, section 4.2, where pixels stand in the place of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from lsh_native.models.record import PROBABILITY, check_counts, check_numbers
from lsh_native.nn.gru import SparseGRU
from lsh_native.nn.linear import SparseLinear
from lsh_native.nn.lstm import SparseLSTM
from lsh_native.nn.rnn import SparseRNN
from lsh_native.nn.sequence_classifier import SequenceClassifier

__all__ = ["RowClassifier"]

_CELLS = {"lstm": SparseLSTM, "gru": SparseGRU, "rnn": SparseRNN}


@dataclass(frozen=True, kw_only=True)
class RowClassifier:
    """A classifier of images; weights start as torch's layers start theirs.

    Args:
        cell: `lstm`, `gru` or `rnn`.
        columns: pixels in a row of an image.
        hidden_size: units of each recurrent layer.
        num_layers: recurrent layers in the stack.
        dropout: probability with which an output between layers or the last output is zeroed,
            anew in every step.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is out of range.
    """

    family: ClassVar[str] = "row_classifier"
    reads: ClassVar[Literal["text", "images"]] = "images"

    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    columns: int = 28
    hidden_size: int = 128
    num_layers: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.cell not in _CELLS:
            raise ValueError(f"cell must be {' or '.join(_CELLS)}, got {self.cell!r}")
        check_counts(self, ("columns", "hidden_size", "num_layers"))
        check_numbers(self, {"dropout": PROBABILITY})

    def build(self, outcomes: int, dtype: torch.dtype) -> SequenceClassifier:
        """The untrained module for so many classes; see `Model`."""
        recurrent = _CELLS[self.cell](
            self.columns,
            self.hidden_size,
            self.num_layers,
            dropout=self.dropout if self.num_layers > 1 else 0.0,
            dtype=dtype,
        )
        decoder = SparseLinear(self.hidden_size, outcomes, dtype=dtype)
        return SequenceClassifier(recurrent, decoder, dropout=self.dropout)
