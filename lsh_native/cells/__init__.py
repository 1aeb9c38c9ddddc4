"""What one step does: the definition of a cell, and the operators that run it over time."""

from lsh_native.cells.cell import Cell
from lsh_native.cells.lstm import LSTM
from lsh_native.cells.recurrent import (
    LayerWeights,
    Run,
    Trajectory,
    run,
    run_definition,
    tangent,
    tangent_definition,
)

__all__ = [
    "LSTM",
    "Cell",
    "LayerWeights",
    "Run",
    "Trajectory",
    "run",
    "run_definition",
    "tangent",
    "tangent_definition",
]
