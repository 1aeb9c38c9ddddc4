"""Every method on layers that execute their masks: the same training as with masks alone."""

import pytest
import torch
from test_pruning_conformance import DENSITY, METHODS, STEPS
from torch import nn

from lsh_native.nn import SparseEmbedding, SparseLinear, SparseLSTM
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology


class Tagger(nn.Module):
    def __init__(self, embedding, lstm, decoder) -> None:
        super().__init__()
        self.embedding = embedding(16, 8, dtype=torch.float64)
        self.lstm = lstm(8, 8, dtype=torch.float64)
        self.decoder = decoder(8, 16, dtype=torch.float64)

    def forward(self, tokens):
        return self.decoder(self.lstm(self.embedding(tokens))[0])


def train(model, name, controls):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    topology = Topology(model, method(name, **controls), density=DENSITY, seed=0, steps=STEPS)
    for step in range(8):
        tokens = torch.randint(16, (6, 3), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        logits = model(tokens[:-1]).flatten(0, 1)
        nn.functional.cross_entropy(logits, tokens[1:].flatten()).backward()
        optimizer.step()
        topology.step(optimizer)
    return topology.masks()


@pytest.mark.parametrize(("name", "controls"), METHODS.values(), ids=METHODS)
def test_masked_and_sparse_trainings_are_the_same(name, controls):
    torch.manual_seed(0)
    masked = Tagger(nn.Embedding, nn.LSTM, nn.Linear)
    sparse = Tagger(SparseEmbedding, SparseLSTM, SparseLinear)
    sparse.load_state_dict(masked.state_dict())
    ours, theirs = train(sparse, name, controls), train(masked, name, controls)
    assert all(torch.equal(ours[matrix], mask) for matrix, mask in theirs.items())
    for one, other in zip(sparse.parameters(), masked.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    for part in ("embedding", "lstm", "decoder"):
        for local, mask in getattr(sparse, part).masks().items():
            assert torch.equal(mask, ours[f"{part}.{local}"])
