"""Modules to drop in: sparse layers that act as `torch.nn`'s do, and a language model."""

from lsh_native.nn.compact import CompactRecurrent, compact
from lsh_native.nn.dense_rhn import DenseRHN
from lsh_native.nn.embedding import SparseEmbedding
from lsh_native.nn.feedback import FeedbackRNN
from lsh_native.nn.gru import SparseGRU
from lsh_native.nn.language_model import LanguageModel
from lsh_native.nn.layer_tangent import LayerTangent
from lsh_native.nn.linear import SparseLinear
from lsh_native.nn.lstm import SparseLSTM
from lsh_native.nn.rhn import SparseRHN, from_highways, from_variables
from lsh_native.nn.rnn import SparseRNN
from lsh_native.nn.sparse_module import SparseModule
from lsh_native.nn.storage import load_csr_, masks_in, stored_bytes, to_csr

__all__ = [
    "CompactRecurrent",
    "DenseRHN",
    "FeedbackRNN",
    "LanguageModel",
    "LayerTangent",
    "SparseEmbedding",
    "SparseGRU",
    "SparseLSTM",
    "SparseLinear",
    "SparseModule",
    "SparseRHN",
    "SparseRNN",
    "compact",
    "from_highways",
    "from_variables",
    "load_csr_",
    "masks_in",
    "stored_bytes",
    "to_csr",
]
