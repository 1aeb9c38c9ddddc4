"""How many gates shapes tell, of torch's layers and this library's."""

import pytest
from torch import nn

from lsh_native.cells import LSTM
from lsh_native.nn import FeedbackRNN, SparseGRU, SparseLSTM, SparseRHN, SparseRNN
from lsh_native.sparsity.gates import gate_counts

LAYERS = {
    "torch's LSTM": (nn.LSTM(3, 4, 2, bidirectional=True), 4),
    "projected": (nn.LSTM(3, 8, 2, proj_size=4), 4),
    "torch's GRU": (nn.GRU(3, 5), 3),
    "torch's RNN": (nn.RNN(3, 5), 1),
    "cell": (nn.GRUCell(3, 5), 3),
    "SparseLSTM": (SparseLSTM(3, 5, 2), 4),
    "SparseGRU": (SparseGRU(3, 5), 3),
    "SparseRNN": (SparseRNN(3, 5), 1),
    "SparseRHN": (SparseRHN(3, 5, 2, 2), 2),
    "free RHN": (SparseRHN(3, 5, 2, coupled=False), 3),
}


def sizes(module):
    return {name: p.shape for name, p in module.named_parameters() if p.dim() > 1}


@pytest.mark.parametrize(("layer", "gates"), LAYERS.values(), ids=LAYERS)
def test_gates_of_layers(layer, gates):
    model = nn.ModuleDict({"layer": layer, "decoder": nn.Linear(5, 20)})
    gated = {n for n in sizes(model) if "decoder" not in n and "weight_hr" not in n}
    assert gate_counts(sizes(model)) == dict.fromkeys(gated, gates)


def test_where_shapes_do_not_tell():
    assert gate_counts({"a.weight_ih_l0": (12, 3), "b.weight_hh_l0": (12, 4)}) == {
        "b.weight_hh_l0": 3
    }
    assert gate_counts({"weight_hh_l0": (6, 4), "weight_hh_l1": (0, 0)}) == {}
    assert gate_counts(sizes(FeedbackRNN(3, 4, 2, cell=LSTM)))["weight_ih_l1"] == 4
