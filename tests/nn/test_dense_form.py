"""A model with torch's own layers computes what the sparse one does."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsh_native.nn import (
    LanguageModel,
    LockedDropout,
    LSTMStack,
    MixtureOfSoftmaxes,
    SparseEmbedding,
    SparseGRU,
    SparseLinear,
    SparseLSTM,
    SparseModule,
    SparseRHN,
    dense_form,
)
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology

V, E, H = 9, 4, 5


def model(recurrent: nn.Module, decoder: Any, tied: bool = False) -> LanguageModel:
    torch.manual_seed(0)
    result = LanguageModel(
        SparseEmbedding(V, E),
        recurrent,
        decoder,
        input_dropout=LockedDropout(0.5),
        embedding_dropout=0.5,
        tied=tied,
    )
    Topology(result, method("static"), density=0.5, seed=1)
    return result


MODELS = {
    "lstm": lambda: model(SparseLSTM(E, H, 2, dropout=0.5), SparseLinear(H, V)),
    "tied gru": lambda: model(SparseGRU(E, E), SparseLinear(E, V), tied=True),
    "rhn": lambda: model(SparseRHN(E, H, 2, state_dropout=0.5), SparseLinear(H, V)),
    "mixture": lambda: model(
        LSTMStack((E, 6, H), weight_dropout=0.5),
        MixtureOfSoftmaxes(H, E, V, 3, dropout=0.5),
        tied=True,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_same_function_with_torchs_layers(name: str) -> None:
    sparse = MODELS[name]()
    dense = dense_form(sparse)
    assert sparse.training
    assert not dense.training
    assert not any(isinstance(layer, SparseModule) for layer in dense.modules())
    tokens = torch.randint(V, (6, 3), generator=torch.Generator().manual_seed(1))
    sparse.eval()
    first, state = dense(tokens[:4])
    second, after = dense(tokens[4:], state)
    logits, last = sparse(tokens)
    torch.testing.assert_close(torch.cat([first, second]), logits)
    torch.testing.assert_close(after, last)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_keep_their_names_and_ties(name: str) -> None:
    sparse = MODELS[name]()
    dense = dense_form(sparse)
    masks = sparse.masks()
    weights = dict(sparse.named_parameters())
    found = dict(dense.named_parameters())
    assert found.keys() == weights.keys()
    for key, weight in found.items():
        assert torch.equal(weight, weights[key] * masks.get(key, torch.tensor(True)))


def test_zoneout_is_refused() -> None:
    sparse = model(SparseRHN(E, H, 2, zoneout=0.5), SparseLinear(H, V))
    with pytest.raises(ValueError, match="must be without zoneout"):
        dense_form(sparse)


def test_weights_load_into_plain_torch() -> None:
    class Plain(nn.Module):
        """As somebody writes it who has never heard of this library."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(V, E)
            self.recurrent = nn.LSTM(E, H, 2)
            self.decoder = nn.Linear(H, V)

        def forward(self, tokens: Tensor) -> Tensor:
            logits: Tensor = self.decoder(self.recurrent(self.embedding(tokens))[0])
            return logits

    sparse, plain = MODELS["lstm"]().eval(), Plain()
    plain.load_state_dict(dense_form(sparse).state_dict())
    tokens = torch.randint(V, (6, 3), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(plain(tokens), sparse(tokens)[0])
