"""What a recipe can ask for beyond plain SGD, each beside a plain computation, and resumed."""

import random
from functools import partial

import pytest
import torch
from test_trainer import assert_same, finish, make_corpus, results
from torch import nn

from lsh_native.data import columns, random_windows
from lsh_native.models import AWDLSTM, RHN, StackedGRU, StackedLSTM, StackedRNN
from lsh_native.pruning import method
from lsh_native.sparsity.topology import Topology
from lsh_native.training import MemoryExhaustedError, Recipe, Trainer, draw_model
from lsh_native.training.optim import averaged_parameters

V = 9
SMALL = {"batch_size": 4, "window": 5, "epochs": 3, "evaluation_batch_size": 3, "decay_start": 1}
HALF = {"embedding_dropout": 0.2, "input_dropout": 0.2, "output_dropout": 0.2}

RECIPES = {
    "lstm, adam": Recipe(
        model=StackedLSTM(embedding_size=6, hidden_size=6, dropout=0.3),
        **SMALL, optimizer="adam", learning_rate=0.05, micro_batches=3,
    ),
    "gru, adamw": Recipe(
        model=StackedGRU(embedding_size=6, hidden_size=6, dropout=0.3),
        **SMALL, optimizer="adamw", weight_decay=0.1, learning_rate=0.05, clip_norm="masked",
    ),
    "rnn, sums": Recipe(
        model=StackedRNN(embedding_size=6, hidden_size=6, dropout=0.3),
        **SMALL, optimizer="sgd", loss="sum", learning_rate=1, clip=5, decay_epoch=1,
        decay_factor=1.2,
    ),
    "rhn, dense norm": Recipe(
        model=RHN(embedding_size=6, hidden_size=6, depth=3, state_dropout=0.2, **HALF),
        **SMALL, optimizer="sgd", learning_rate=6, nonmono=1, clip_norm="dense",
    ),
    "mixture, windows and finetuning": Recipe(
        model=AWDLSTM(
            embedding_size=4, hidden_sizes=(6, 5), experts=3, layer_dropout=0.2,
            latent_dropout=0.2, weight_dropout=0.3, **HALF,
        ),
        **SMALL, optimizer="sgd", learning_rate=6, nonmono=1, window_spread=1.5,
        activation_penalty=2, temporal_penalty=1, finetune_epochs=2,
    ),
}  # fmt: skip


def make(
    recipe: Recipe, sparse: bool = True, seed: int = 1, model_seed: int = 0, device: str = "cpu"
) -> Trainer:
    corpus = make_corpus()
    model = draw_model(recipe, V, seed=model_seed).to(device)
    topology = None
    if sparse:
        steps = recipe.steps_per_epoch(len(corpus.train))
        dynamic = method("dynamic", every=steps, begin=1, drop_fraction=0.5)
        total = steps * recipe.total_epochs
        topology = Topology(model, dynamic, density=0.4, seed=5, steps=total)
    return Trainer(model, corpus, recipe, topology=topology, seed=seed)


def complete(trainer: Trainer, on_step=None) -> Trainer:
    while trainer.epoch < trainer.recipe.total_epochs:
        trainer.train_epoch(on_step)
    return trainer


def interrupted(make_new, stops, path) -> Trainer:
    """A training that is given up after each of some steps, and goes on with a new trainer."""
    trainer = make_new(model_seed=0)
    for stop in sorted(stops):

        def give_up(*_, trainer=trainer, stop=stop):
            if trainer.total_steps == stop:
                trainer.save(path)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            complete(trainer, give_up)
        trainer = make_new(model_seed=stop)
        trainer.load(path)
    return complete(trainer)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", RECIPES)
def test_interrupted_at_twenty_random_steps_is_uninterrupted(tmp_path, name, sparse):
    make_new = partial(make, RECIPES[name], sparse)
    whole = complete(make_new())
    stops = random.Random(name).sample(range(1, whole.total_steps), 20)
    assert_same(interrupted(make_new, stops, tmp_path / "checkpoint"), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:.*deterministic")
@pytest.mark.parametrize("precision", ["full", "bfloat16"])
@pytest.mark.parametrize("name", RECIPES)
def test_on_a_gpu_too(tmp_path, monkeypatch, name, precision):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        recipe = RECIPES[name].changed(precision=precision)
        make_new = partial(make, recipe, True, device="cuda")
        whole = complete(make_new())
        stops = random.Random(name).sample(range(1, whole.total_steps), 20)
        assert_same(interrupted(make_new, stops, tmp_path / "checkpoint"), whole)
    finally:
        torch.use_deterministic_algorithms(False)


def weights_after(recipe: Recipe, sparse: bool = False) -> list[torch.Tensor]:
    return [p.detach() for p in finish(make(recipe, sparse)).model.parameters()]


def test_parts_of_the_columns_make_the_same_step():
    recipe = Recipe(
        model=StackedLSTM(embedding_size=6, hidden_size=6),
        **SMALL, optimizer="sgd", learning_rate=20, clip=0.25, dtype="float64",
    )  # fmt: skip
    for name in ("lstm", "rhn"):
        base = recipe.changed(model={"family": name, "embedding_size": 6, "hidden_size": 6})
        for whole, parts in zip(
            weights_after(base), weights_after(base.changed(micro_batches=3)), strict=True
        ):
            torch.testing.assert_close(parts, whole, rtol=1e-7, atol=1e-9)


def test_a_sum_is_a_mean_at_another_scale():
    window = {**SMALL, "window": 8}  # 7 windows of 8 targets
    base = Recipe(
        model=StackedLSTM(embedding_size=6, hidden_size=6),
        **window, optimizer="sgd", learning_rate=20, clip=0.25, dtype="float64",
    )  # fmt: skip
    summed = base.changed(loss="sum", learning_rate=20 / 8, clip=0.25 * 8, weight_decay=0)
    mean = base.changed(weight_decay=0)
    for a, b in zip(weights_after(summed), weights_after(mean), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    losses = [[r["train_loss"] for r in results(finish(make(r, False)))] for r in (summed, mean)]
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize("kind", ["masked", "dense"])
def test_what_counts_in_the_norm(kind):
    recipe = Recipe(
        model=StackedLSTM(embedding_size=6, hidden_size=6),
        **SMALL, optimizer="sgd", dtype="float64", clip=1e-3, clip_norm=kind, weight_decay=0,
        learning_rate=1,
    )  # fmt: skip
    trainer = make(recipe)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    masks = trainer.topology.masks()
    steps = []

    def keep_first(*_):
        if not steps:
            steps.append({n: p.detach().clone() for n, p in trainer.model.named_parameters()})

    trainer.train_epoch(keep_first)
    model = draw_model(recipe, V, seed=0)
    model.load_state_dict(before, strict=False)
    read = columns(make_corpus().train, 4)
    logits, _ = model(read[:5])
    nn.functional.cross_entropy(logits.flatten(0, 1), read[1:6].flatten()).backward()
    gradients = {
        name: p.grad * (masks.get(name, torch.tensor(True)) if kind == "masked" else 1)
        for name, p in model.named_parameters()
    }
    norm = nn.utils.get_total_norm(gradients.values())
    for name, gradient in gradients.items():
        keep = masks.get(name, torch.tensor(True))
        expected = before[name] - gradient * keep * (1e-3 / norm)
        # the first step of this topology changes connections after the optimizer's
        stayed = steps[0][name] != 0
        torch.testing.assert_close(steps[0][name][stayed], expected[stayed], rtol=1e-9, atol=1e-12)


def test_penalties():
    recipe = Recipe(
        model=AWDLSTM(embedding_size=4, hidden_sizes=(4,), experts=0, output_dropout=0.5),
        **SMALL, dtype="float64", activation_penalty=2, temporal_penalty=3,
    )  # fmt: skip
    trainer = make(recipe, sparse=False)
    window = next(iter(trainer._windows()))
    torch.manual_seed(0)
    found = trainer._objective(window, None)
    torch.manual_seed(0)
    encoding = trainer.model.encode(window.input)
    expected = found.mean + 2 * encoding.output.square().mean()
    expected = expected + 3 * (encoding.raw[1:] - encoding.raw[:-1]).square().mean()
    torch.testing.assert_close(found.objective, expected)


def test_windows_of_random_length():
    read = columns(torch.arange(40_001), 2)
    count = 300
    generator = torch.Generator().manual_seed(0)
    cut = random_windows(read, count, 70, 5.0, generator)
    assert len(cut) == count
    assert torch.equal(torch.cat([w.input for w in cut]), read[:-1])
    assert torch.equal(torch.cat([w.target for w in cut]), read[1:])
    lengths = torch.tensor([len(w.input) for w in cut], dtype=torch.float64)
    stretch = 19_999 / (count * 70 * 0.975)
    half = lengths < 53 * stretch
    assert 5 <= int(half.sum()) <= 27  # 15 in the mean
    assert lengths[~half].mean() == pytest.approx(70 * stretch, rel=0.03)
    assert lengths[~half].std() == pytest.approx(5, rel=0.2)
    with pytest.raises(ValueError, match=r"count must be in \[1, 19999\]"):
        random_windows(read, 20_000, 70, 5.0, generator)


def test_a_step_goes_with_the_length_of_its_window():
    recipe = RECIPES["mixture, windows and finetuning"].changed(finetune_epochs=0)
    trainer = make(recipe, sparse=False)
    rates = []
    lengths = [len(window.input) for window in trainer._windows()]
    trainer.train_epoch(lambda *_: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([6 * length / 5 for length in lengths])
    assert len(set(lengths)) > 1


def test_finetuning_goes_on_from_the_best_with_averages():
    recipe = RECIPES["mixture, windows and finetuning"]
    trainer = make(recipe)
    while trainer.epoch < recipe.epochs:
        trainer.train_epoch()
    best = trainer.best
    first = []
    trainer.train_epoch(lambda step, *_: step == 1 and first.append(trainer.optimizer.averaging))
    assert first == [True]
    assert trainer.history[-1].averaging
    ages = [s["age"].max().item() for s in trainer.optimizer.state.values()]
    assert max(ages) == trainer.steps_per_epoch
    assert trainer.best.valid_loss <= best.valid_loss


def test_rates_that_fall_by_epochs():
    recipe = Recipe(learning_rate=1, epochs=5, decay_start=1, decay_epoch=2, decay_factor=2)
    assert [recipe.learning_rate_at(e / 5 + 0.01) for e in range(5)] == [1, 1, 0.5, 0.25, 0.125]
    assert recipe.learning_rate_at(1) == 0.125


def test_adam_is_torchs():
    recipe = RECIPES["lstm, adam"].changed(
        dropout=0.0, micro_batches=1, weight_decay=0.01, dtype="float64", epochs=1, clip=1e6
    )
    trainer = make(recipe, sparse=False)
    model = draw_model(recipe, V, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=0.01)
    state = None
    for window in trainer._windows():
        optimizer.zero_grad()
        logits, state = model(window.input, state)
        state = tuple(part.detach() for part in state)
        nn.functional.cross_entropy(logits.flatten(0, 1), window.target.flatten()).backward()
        optimizer.step()
    trainer.train_epoch()
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    with averaged_parameters(trainer.optimizer):  # which averages nothing
        assert not trainer.history[-1].averaging


def out_of_device_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 EiB")


def out_of_main_memory(*_):
    torch.empty(2**50)


@pytest.mark.parametrize("greedy", [out_of_device_memory, out_of_main_memory])
def test_memory_that_runs_out_says_what_to_lower(greedy):
    trainer = make(RECIPES["lstm, adam"], sparse=False)
    trainer.model.recurrent.register_forward_hook(greedy)
    with pytest.raises(
        MemoryExhaustedError, match="out in epoch 1: lower batch_size or window, or raise micro"
    ):
        trainer.train_epoch()
    trainer = make(RECIPES["lstm, adam"], sparse=False)
    trainer.model.recurrent.register_forward_hook(lambda m, *_: None if m.training else greedy())
    with pytest.raises(
        MemoryExhaustedError, match="in the evaluation of epoch 1: lower evaluation_batch_size"
    ):
        trainer.train_epoch()


def test_a_model_beyond_the_memory_says_what_to_lower():
    recipe = Recipe(model=StackedLSTM(embedding_size=1, hidden_size=4_000_000))
    with pytest.raises(MemoryExhaustedError, match="for the model: lower the sizes of"):
        draw_model(recipe, V, seed=0)


def test_sixteen_bits_need_a_gpu():
    with pytest.raises(ValueError, match="bfloat16 needs a model on a GPU, got one on cpu"):
        make(RECIPES["lstm, adam"].changed(precision="bfloat16"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decay_epoch": 3}, "decay_epoch and decay_factor must be given together, got 3 and None"),
        ({"decay_epoch": 3, "decay_factor": 2}, "decay_epoch needs decay_start to be 1.* got 0.5"),
        ({"optimizer": "adam", "nonmono": 5}, "need the optimizer sgd, got adam"),
        ({"optimizer": "adagrad"}, "optimizer must be sgd or adam or adamw, got 'adagrad'"),
        ({"window": 1, "window_spread": 1}, "window_spread needs a window of at least 2, got 1"),
        ({"micro_batches": 21}, "micro_batches must be at most batch_size, 20, got 21"),
        ({"finetune_epochs": -1}, "finetune_epochs must be at least 0, got -1"),
        ({"loss": "median"}, "loss must be mean or sum, got 'median'"),
        ({"depth": 3}, "family lstm has the fields .* got depth"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe().changed(**fields)
