"""One update of all masks of the 66 M-weight model, beside other selections and a training step.

The update drops half of the live weights of each matrix by magnitude and grows as many at random.
"Ours" is the whole of `topology.step(optimizer)`: weights and momentum of dead connections are
cleared, and where layers are sparse their patterns are written anew.
"""

import copy
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.harness import Case, Goal
from lsh_native.models import StackedLSTM
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology

DENSITY, FRACTION = 0.33, 0.5
STEPS, BATCH = 35, 20
MASKS = {
    "masked torch.topk": Goal(must=4),
    "full sorts": Goal(must=10),
    "dense training step": Goal(must=4, aim=20),
}
SPARSE = {"dense training step": Goal(must=4, aim=20)}


class _Dense(nn.Module):
    def __init__(self, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.recurrent = nn.LSTM(hidden, hidden, 2)
        self.decoder = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.decoder(self.recurrent(self.embedding(tokens))[0])
        return output


def cases(short: bool) -> Iterator[Case]:
    vocabulary, hidden = (1000, 128) if short else (10_000, 1500)
    torch.manual_seed(0)
    dense = _Dense(vocabulary, hidden)
    shape = {"V": vocabulary, "H": hidden, "density": DENSITY, "fraction": FRACTION}
    training = _training_step(dense, vocabulary)
    yield _masks(copy.deepcopy(dense), training, shape, goals={} if short else MASKS)
    sparse = StackedLSTM(embedding_size=hidden, hidden_size=hidden).build(vocabulary, torch.float32)
    topology, optimizer = _topology(sparse)
    yield Case(
        name="update of masks and patterns",
        ours=lambda: topology.step(optimizer),
        peers={"dense training step": training},
        shape=shape,
        goals={} if short else SPARSE,
    )


def _masks(
    model: nn.Module,
    training: Callable[[], None],
    shape: dict[str, float],
    goals: dict[str, Goal],
) -> Case:
    topology, optimizer = _topology(model)
    masks = topology.masks()
    named = dict(model.named_parameters())
    weights = {name: named[name].detach().clone() for name in masks}
    return Case(
        name="update of masks",
        ours=lambda: topology.step(optimizer),
        peers={
            "masked torch.topk": lambda: [_by_topk(weights[n], masks[n]) for n in masks],
            "full sorts": lambda: [_by_sorts(weights[n], masks[n]) for n in masks],
            "dense training step": training,
        },
        shape=shape,
        goals=goals,
    )


def _topology(model: nn.Module) -> tuple[Topology, torch.optim.Optimizer]:
    made = method("dynamic", every=1, until=10**9, drop_fraction=FRACTION, final_drop_fraction=0.5)
    topology = Topology(model, made, density=DENSITY, seed=0)
    return topology, torch.optim.SGD(model.parameters(), lr=1.0)


def _training_step(model: nn.Module, vocabulary: int) -> Callable[[], None]:
    tokens = torch.randint(vocabulary, (STEPS + 1, BATCH))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss = cross_entropy(model(tokens[:-1]).flatten(0, 1), tokens[1:].flatten())
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def _by_topk(weight: Tensor, mask: Tensor) -> Tensor:
    """Drop and grow as it is written with torch.topk over whole tensors."""
    number = math.ceil(FRACTION * int(mask.sum()))
    size = weight.abs().masked_fill(~mask, math.inf).view(-1)
    new = mask.clone().view(-1)
    new[size.topk(number, largest=False, sorted=False).indices] = False
    noise = torch.rand(new.shape).masked_fill(new, -1.0)
    new[noise.topk(number, sorted=False).indices] = True
    return new.view(mask.shape)


def _by_sorts(weight: Tensor, mask: Tensor) -> Tensor:
    """Drop as public programs do, by sorting every entry of a tensor; growth by a coin each."""
    live = int(mask.sum())
    number = math.ceil(FRACTION * live)
    order = (weight * mask).abs().view(-1).sort().indices
    new = mask.clone()
    new.view(-1)[order[: mask.numel() - live + number]] = False
    return new | (torch.rand(new.shape) < number / (mask.numel() - live + number))
