"""A training step of each model of the papers, beside the same in plain torch under masks.

"Ours" is the trainer's whole step: forward, loss in slices, backward, clipping, optimizer and
topology. The peer does the same with dense kernels and sets what is masked to zero after each step.
Tokens a second are `B` times `T` over the time of a step.
The last case is the trainer at a small model beside the same calls without it.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding

from bench.harness import Case, Goal
from lsh_native.data import WORDS, Corpus, Vocabulary, Window
from lsh_native.models import AWDLSTM, RHN, Model, StackedLSTM
from lsh_native.nn import mean_loss
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology
from lsh_native.training import Recipe, Trainer, draw_model

GOALS: Mapping[str, Mapping[float, Goal]] = {
    "rhn": {0.47: Goal(must=2.5, aim=3.5), 0.33: Goal(must=3.5, aim=5), 0.1: Goal(must=7, aim=12)},
    "awd_lstm": {0.45: Goal(must=1.3), 0.33: Goal(must=1.6), 0.1: Goal(must=2.5)},
}
OVERHEAD = Goal(must=0.95)
PLAIN = "plain torch under masks"
THREADS = 2


def cases(short: bool) -> Iterator[Case]:
    for record, vocabulary, batch, window in models(short):
        for density, goal in GOALS.get(record.family, {0.33: None}).items():
            trainer = make_trainer(record, vocabulary, batch, window, density)
            weights = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
            masks = {} if trainer.topology is None else trainer.topology.masks()
            yield Case(
                name=f"training step of {record.family}",
                ours=our_step(trainer),
                peers={PLAIN: plain_step(record, weights, masks, only_window(trainer))},
                shape={"V": vocabulary, "B": batch, "T": window, "density": density},
                threads=1 if short else THREADS,
                goals={} if short or goal is None else {PLAIN: goal},
            )
    small = StackedLSTM(embedding_size=128, hidden_size=128)
    trainer = make_trainer(small, 1_000, 20, 35, None)
    yield Case(
        name="overhead of the trainer",
        ours=our_step(trainer),
        peers={"the same calls without it": _bare(make_trainer(small, 1_000, 20, 35, None))},
        shape={"V": 1_000, "H": 128, "B": 20, "T": 35},
        goals={} if short else {"the same calls without it": OVERHEAD},
    )


def models(short: bool) -> list[tuple[Model, int, int, int]]:
    """Records, with the size of the vocabulary, columns and steps of a window."""
    if short:
        return [
            (StackedLSTM(embedding_size=128, hidden_size=128), 500, 10, 10),
            (RHN(embedding_size=96, hidden_size=96, depth=3), 500, 10, 10),
            (AWDLSTM(embedding_size=64, hidden_sizes=(96, 96), experts=3), 500, 10, 10),
        ]
    return [
        (StackedLSTM(embedding_size=1500, hidden_size=1500), 10_000, 20, 35),
        (RHN(), 10_000, 20, 35),
        (AWDLSTM(), 33_278, 5, 70),
    ]


def make_trainer(
    record: Model, vocabulary: int, batch: int, window: int, density: float | None
) -> Trainer:
    """A trainer whose text is one window of noise."""
    tokens = torch.randint(vocabulary, (batch * (window + 1),))
    corpus = Corpus(
        name="noise",
        level=WORDS,
        vocabulary=Vocabulary(tokens=tuple(map(str, range(vocabulary)))),
        **dict.fromkeys(("train", "valid", "test"), tokens),
    )
    recipe = Recipe(
        model=record,
        batch_size=batch,
        window=window,
        learning_rate=1e-3,
        decay_start=1,
        optimizer="sgd",
    )
    model = draw_model(recipe, vocabulary, seed=0)
    topology = None
    if density is not None:
        topology = Topology(model, method("static"), density=density, seed=0)
    return Trainer(model, corpus, recipe, topology=topology, seed=0)


def only_window(trainer: Trainer) -> Window:
    """All that the trainer reads in an epoch."""
    [window] = trainer._windows()
    return window


def our_step(trainer: Trainer) -> Callable[[], object]:
    """The trainer's whole step on its window."""
    window = only_window(trainer)
    trainer.model.train()

    def step() -> None:
        trainer._progress.step = 0
        trainer._train_step(window)

    return step


def _bare(trainer: Trainer) -> Callable[[], object]:
    window = only_window(trainer)
    model = trainer.model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    target = window.target.flatten()

    def step() -> None:
        optimizer.zero_grad()
        encoding = model.encode(window.input)
        torch.autograd.backward(mean_loss(model.decoder, encoding.hidden.flatten(0, 1), target))
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()

    return step


def plain_step(
    record: Model, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], window: Window
) -> Callable[[], object]:
    """The step in plain torch.

    Args:
        record: the model.
        weights: what it starts from, by the names of the record's model; those that `nn.LSTM`
            holds are copied into it.
        masks: by the same names, what stays.
        window: what it reads.
    """
    layers = _layers(record, weights)
    inner = {
        f"{prefix}{name}": parameter
        for prefix, layer in layers.items()
        for name, parameter in layer.named_parameters()
    }
    own = {name: w.requires_grad_() for name, w in weights.items() if name not in inner} | inner
    optimizer = torch.optim.SGD(own.values(), lr=1e-3)
    target = window.target.flatten()

    def step() -> None:
        optimizer.zero_grad()
        x = embedding(window.input, own["embedding.weight"])
        x = _highways(record, own, x) if isinstance(record, RHN) else x
        for layer in layers.values():
            x = layer(x)[0]
        loss = cross_entropy(_logits(record, own, x.flatten(0, 1)), target)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(own.values(), 0.25)
        optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                own[name].mul_(mask)

    return step


@torch.no_grad()
def _layers(record: Model, weights: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """`nn.LSTM` with the weights given, by the prefix of their names."""
    layers: dict[str, nn.Module] = {}
    if isinstance(record, StackedLSTM):
        layers["recurrent."] = nn.LSTM(record.embedding_size, record.hidden_size, record.num_layers)
    elif isinstance(record, AWDLSTM):
        sizes = (record.embedding_size, *record.hidden_sizes)
        layers = {
            f"recurrent.layers.{i}.": nn.LSTM(a, b) for i, (a, b) in enumerate(pairwise(sizes))
        }
    for prefix, layer in layers.items():
        for name, parameter in layer.named_parameters():
            parameter.copy_(weights[f"{prefix}{name}"])
    return layers


def _highways(record: RHN, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    projected = x @ weights["recurrent.weight_ih_l0"].T
    state = x.new_zeros(x.shape[1], record.hidden_size)
    outputs = []
    for now in projected:
        for d in range(record.depth):
            a = torch.addmm(
                weights[f"recurrent.bias_l0_d{d}"],
                state,
                weights[f"recurrent.weight_hh_l0_d{d}"].T,
            )
            h, t = (a + now if d == 0 else a).chunk(2, 1)
            t = t.sigmoid()
            state = state + t * (h.tanh() - state)
        outputs.append(state)
    return torch.stack(outputs)


def _logits(record: Model, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    if not isinstance(record, AWDLSTM):
        decoder = weights.get("decoder.weight", weights["embedding.weight"])
        return x @ decoder.T + weights["decoder.bias"]
    latent = (x @ weights["decoder.latent.weight"].T + weights["decoder.latent.bias"]).tanh()
    prior = (x @ weights["decoder.prior.weight"].T).softmax(-1)
    experts = latent.view(len(x), record.experts, record.embedding_size)
    each = (experts @ weights["embedding.weight"].T + weights["decoder.output.bias"]).softmax(-1)
    return (each * prior.unsqueeze(-1)).sum(1).add(1e-8).log()
