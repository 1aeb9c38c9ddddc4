"""`torch.nn.LSTM` replaced in an existing training script: the two lines marked below.

`python examples/replace_lstm.py` teaches a network to recall what it has read, densely for a few
steps, then with a fifth of the connections, and hands a plain `torch.nn.LSTM` back at the end.
"""

import torch
from torch import nn

from lsh_native.nn import SparseLSTM  # line 1

SYMBOLS, STEPS, GAP = 8, 150, 5


class Recaller(nn.Module):
    """Somebody's model: says at each step which symbol it read some steps before."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 16)
        self.lstm = nn.LSTM(16, 64)
        self.head = nn.Linear(64, SYMBOLS)

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        """Maps symbols (T, B) to logits (T, B, V)."""
        output, _ = self.lstm(self.embedding(symbols))
        return self.head(output)


def train(model: nn.Module, steps: int) -> float:
    """Somebody's loop; returns the last loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss = torch.zeros(())
    for _ in range(steps):
        symbols = torch.randint(SYMBOLS, (24, 32))
        logits = model(symbols)[GAP:]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), symbols[:-GAP].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def main() -> None:
    """Train densely, then sparsely, and leave with a dense module again."""
    torch.manual_seed(0)
    model = Recaller()
    print(f"dense   loss {train(model, STEPS):.3f}")
    model.lstm = SparseLSTM.from_dense(model.lstm, density=0.2)  # line 2
    print(f"sparse  loss {train(model, STEPS):.3f}")
    print(model.lstm.explain())
    model.lstm = model.lstm.to_dense()  # for programs that know torch alone; the same function
    print(model)


if __name__ == "__main__":
    main()
