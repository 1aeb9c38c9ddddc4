"""What one step does: the definition of a cell, and the operators that run it over time."""

from lsh_native.cells.cell import Cell
from lsh_native.cells.definition import run_definition, tangent_definition
from lsh_native.cells.elman import ELMAN
from lsh_native.cells.folded import can_fold, folded_tangent
from lsh_native.cells.gru import GRU
from lsh_native.cells.lstm import LSTM, PROJECTED_LSTM
from lsh_native.cells.packed_layer import packed_kind, packed_layer
from lsh_native.cells.paneled import can_panel, pack_panels, paneled_tangent
from lsh_native.cells.recurrent import LayerWeights, Run, Trajectory, run, tangent
from lsh_native.cells.rhn import FREE_RHN, RHN

__all__ = [
    "ELMAN",
    "FREE_RHN",
    "GRU",
    "LSTM",
    "PROJECTED_LSTM",
    "RHN",
    "Cell",
    "LayerWeights",
    "Run",
    "Trajectory",
    "can_fold",
    "can_panel",
    "folded_tangent",
    "pack_panels",
    "packed_kind",
    "packed_layer",
    "paneled_tangent",
    "run",
    "run_definition",
    "tangent",
    "tangent_definition",
]
