"""Weight drop in the style of AWD-LSTM: options of the layer, no wrapper around it.

`python examples/weight_drop.py` trains a small language model with dropped recurrent connections
and locked dropout of inputs and outputs. Parameters stay what they are called and leaves of the
graph, gradients are exact, and the module can be copied, pickled and compiled at any time.

Source: Merity, Keskar & Socher, "Regularizing and optimizing LSTM language models", 2018.
"""

import copy

import torch
from torch import nn

from lsh_native.nn import SparseLSTM

VOCABULARY, WIDTH, STEPS = 16, 64, 120


class Model(nn.Module):
    """Embedding, a stack with every kind of dropout, decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.lstm = SparseLSTM(
            WIDTH,
            WIDTH,
            num_layers=2,
            density=0.5,  # of each weight; of these connections, weight drop takes some away a call
            weight_dropout=0.5,
            input_dropout=0.1,
            output_dropout=0.1,
            dropout=0.1,
        )
        self.decoder = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Maps tokens (T, B) to logits of the next ones."""
        return self.decoder(self.lstm(self.embedding(tokens))[0])


def text(generator: torch.Generator) -> torch.Tensor:
    """Sequences (T + 1, B) in which each token is the sum of the two before it."""
    tokens = [torch.randint(VOCABULARY, (16,), generator=generator) for _ in range(2)]
    for _ in range(20):
        tokens.append((tokens[-1] + tokens[-2]) % VOCABULARY)
    return torch.stack(tokens)


def perplexity(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Of each next token, once two have been seen."""
    logits = model(tokens[:-1])[1:].flatten(0, 1)
    return nn.functional.cross_entropy(logits, tokens[2:].flatten()).exp()


def main() -> None:
    """Train, and show that evaluation drops nothing."""
    torch.manual_seed(0)
    generator, model = torch.Generator().manual_seed(0), Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(STEPS):
        loss = perplexity(model, text(generator)).log()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 40 == 39:
            print(f"step {step + 1}: perplexity {loss.exp():.2f} in training")
    frozen, tokens = copy.deepcopy(model).eval(), text(generator)
    print(f"perplexity {perplexity(frozen, tokens):.2f} in evaluation, where nothing is dropped")


if __name__ == "__main__":
    main()
