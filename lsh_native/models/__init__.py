"""Models of the papers as records: what a recipe says of one, checked, and how it is built."""

from lsh_native.models.awd_lstm import AWDLSTM
from lsh_native.models.catalogue import FAMILIES, as_model, model_values
from lsh_native.models.classifier import RowClassifier
from lsh_native.models.record import Model
from lsh_native.models.rhn import RHN
from lsh_native.models.stacked import StackedGRU, StackedLSTM, StackedRNN

__all__ = [
    "AWDLSTM",
    "FAMILIES",
    "RHN",
    "Model",
    "RowClassifier",
    "StackedGRU",
    "StackedLSTM",
    "StackedRNN",
    "as_model",
    "model_values",
]
