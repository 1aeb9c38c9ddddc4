"""A whole language model beside the same in plain torch: training steps, and tokens one by one."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.harness import Case, Goal
from lsh_native.models import StackedLSTM
from lsh_native.nn import LanguageModel, LiveWeights
from lsh_native.sparsity.mask import draw_mask
from lsh_native.sparsity.packed import PackedWeights

STEPS, BATCH = 35, 20
TRAINING = {
    0.67: Goal(must=1.8, aim=2.2),
    0.9: Goal(must=3.5, aim=5),
    0.95: Goal(must=4.5, aim=7),
}


class _Dense(nn.Module):
    """The same model of torch's own modules."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.embedding = model.embedding.to_dense()
        self.recurrent = model.recurrent.to_dense()
        self.decoder = model.decoder.to_dense()

    def forward(self, tokens: Tensor, state: tuple[Tensor, ...] | None = None) -> tuple:
        output, state = self.recurrent(self.embedding(tokens), state)
        return self.decoder(output), state


def cases(short: bool) -> Iterator[Case]:
    size, words = (64, 200) if short else (1500, 10_000)
    for sparsity, goal in TRAINING.items():
        yield _training(size, words, sparsity, Goal(must=1) if short else goal)
    yield _tokens(size, words, 0.9, Goal(must=1) if short else Goal(must=6, aim=9))


def _models(size: int, words: int, sparsity: float) -> tuple[LanguageModel, _Dense]:
    torch.manual_seed(0)
    record = StackedLSTM(embedding_size=size, hidden_size=size, init_range=0.04)
    model = record.build(words, torch.float32)
    generator = torch.Generator().manual_seed(0)
    for part in (model.embedding, model.recurrent, model.decoder):
        masks = part.masks()
        part.set_masks(
            {
                name: draw_mask(round((1 - sparsity) * mask.numel()), mask.shape, generator)
                for name, mask in masks.items()
            }
        )
    return model, _Dense(model)


def _training(size: int, words: int, sparsity: float, goal: Goal) -> Case:
    model, dense = _models(size, words, sparsity)
    tokens, targets = torch.randint(words, (2, STEPS, BATCH))

    def step(module: nn.Module, parameters: list[nn.Parameter]) -> Callable[[], None]:
        optimizer = torch.optim.SGD(parameters, lr=1.0)

        def call() -> None:
            optimizer.zero_grad()
            logits, _ = module(tokens)
            cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
            nn.utils.clip_grad_norm_(parameters, 0.25)
            optimizer.step()

        return call

    live = LiveWeights()
    sparse_step = step(model, live.parameters(model))

    def ours() -> None:
        with live:
            sparse_step()
        live.write_()

    return Case(
        name=f"language model training step, 2 x {size}, {words} words, {sparsity:.0%} sparse",
        ours=ours,
        peers={"plain torch": step(dense, list(dense.parameters()))},
        shape={"H": size, "V": words, "B": BATCH, "T": STEPS, "sparsity": sparsity},
        goals={"plain torch": goal},
    )


def _tokens(size: int, words: int, sparsity: float, goal: Goal) -> Case:
    model, dense = (module.eval() for module in _models(size, words, sparsity))
    tokens = torch.randint(words, (16, 1, 1))

    def read(module: nn.Module) -> Callable[[], None]:
        def call() -> None:
            with torch.no_grad():
                state = None
                for token in tokens:
                    _, state = module(token, state)

        return call

    packed, anew = PackedWeights(), read(model)

    def kept() -> None:
        with packed:
            anew()

    return Case(
        name=f"language model, token by token, 2 x {size}, {words} words, {sparsity:.0%} sparse",
        ours=kept,
        peers={"plain torch": read(dense)},
        shape={"H": size, "V": words, "B": 1, "T": 1, "sparsity": sparsity},
        goals={"plain torch": goal},
    )
