"""Modules to drop in: sparse layers that act as `torch.nn`'s do, models of text and of images."""

from lsh_native.nn.compact import CompactRecurrent, compact
from lsh_native.nn.dense_form import dense_form
from lsh_native.nn.dense_rhn import DenseRHN
from lsh_native.nn.dropout import LockedDropout, locked_dropout, word_dropout
from lsh_native.nn.embedding import SparseEmbedding
from lsh_native.nn.feedback import FeedbackRNN
from lsh_native.nn.gru import SparseGRU
from lsh_native.nn.language_model import Encoding, LanguageModel
from lsh_native.nn.layer_tangent import LayerTangent
from lsh_native.nn.linear import SparseLinear
from lsh_native.nn.live_weights import LiveWeights
from lsh_native.nn.lstm import SparseLSTM
from lsh_native.nn.lstm_stack import LSTMStack
from lsh_native.nn.mixture import MixtureOfSoftmaxes
from lsh_native.nn.rhn import SparseRHN, from_highways, from_variables
from lsh_native.nn.rnn import SparseRNN
from lsh_native.nn.sequence_classifier import SequenceClassifier
from lsh_native.nn.sparse_module import SparseModule
from lsh_native.nn.storage import load_csr_, masks_in, stored_bytes, to_csr
from lsh_native.nn.streaming import Streaming
from lsh_native.nn.token_losses import mean_loss, token_losses

__all__ = [
    "CompactRecurrent",
    "DenseRHN",
    "Encoding",
    "FeedbackRNN",
    "LSTMStack",
    "LanguageModel",
    "LayerTangent",
    "LiveWeights",
    "LockedDropout",
    "MixtureOfSoftmaxes",
    "SequenceClassifier",
    "SparseEmbedding",
    "SparseGRU",
    "SparseLSTM",
    "SparseLinear",
    "SparseModule",
    "SparseRHN",
    "SparseRNN",
    "Streaming",
    "compact",
    "dense_form",
    "from_highways",
    "from_variables",
    "load_csr_",
    "locked_dropout",
    "masks_in",
    "mean_loss",
    "stored_bytes",
    "to_csr",
    "token_losses",
    "word_dropout",
]
