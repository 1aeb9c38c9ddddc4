"""Sparse training in a loop of one's own: three lines beside any model and any optimizer.

`python examples/own_training_loop.py` teaches a small network to add in a few seconds, dense with
masks and with sparse layers, under RigL and under a method that is mixed here from slots.
"""

import torch
from torch import nn

from lsh_native.nn import SparseLinear, SparseLSTM
from lsh_native.pruning import (
    CosineDrop,
    PruningMethod,
    global_magnitude,
    method,
    nonzeros,
    unexplored_growth,
)
from lsh_native.sparsity.change import Change
from lsh_native.sparsity.topology import Topology

STEPS = 150


class Adder(nn.Module):
    """Reads numbers with marks, and says the sum of the marked ones after the last."""

    def __init__(self, lstm: type[nn.Module], linear: type[nn.Module]) -> None:
        super().__init__()
        self.lstm = lstm(2, 32)
        self.head = linear(32, 1)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Maps (T, B, 2) to (B, 1)."""
        output, _ = self.lstm(numbers)
        return self.head(output[-1])


def draw(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Eight numbers of which some are marked, (T, B, 2), and their sums, (B, 1)."""
    values = torch.rand(8, 64, generator=generator)
    marks = (torch.rand(8, 64, generator=generator) < 0.3).float()
    return torch.stack([values, marks], dim=-1), (values * marks).sum(0)[:, None]


def report(change: Change) -> None:
    """Print what an update did."""
    print(
        f"  step {change.step}: explored {change.explored_share():.0%}, "
        f"kept {change.jaccard():.0%} of the last masks, {change.survival():.0%} of the first; "
        f"gates {[round(share, 2) for share in change.gate_densities()['lstm.weight_hh_l0']]}"
    )


def train(model: nn.Module, pruning: PruningMethod) -> float:
    """The loop: only the lines with `topology` have to do with sparsity."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    topology = Topology(model, pruning, density=0.2, seed=0, exclude=["head.*"], steps=STEPS)
    topology.observe(report)
    generator = torch.Generator().manual_seed(0)
    loss = torch.zeros(())
    for _ in range(STEPS):
        numbers, sums = draw(generator)
        optimizer.zero_grad()
        loss = (model(numbers) - sums).square().mean()
        loss.backward()
        optimizer.step()
        topology.step(optimizer)
    return loss.item()


def main() -> None:
    """Train all of them and print the losses."""
    mixed = PruningMethod(
        schedule=CosineDrop(initial=0.4, every=50),
        drop=global_magnitude,
        grow=unexplored_growth,
        redistribute=nonzeros,
    )
    methods = {"rigl": method("rigl", every=50), "mixed": mixed}
    for layers in ((nn.LSTM, nn.Linear), (SparseLSTM, SparseLinear)):
        for name, pruning in methods.items():
            torch.manual_seed(0)
            print(f"{layers[0].__name__}, {name}")
            print(f"  loss {train(Adder(*layers), pruning):.4f}")


if __name__ == "__main__":
    main()
