"""What every pruning method owes, under every optimizer; joining METHODS is how one gets tested."""

import copy
from itertools import product

import pytest
import torch
from torch import nn

from lsh_native.pruning import PUBLISHED_SPACE, method
from lsh_native.sparsity.connections import Connections
from lsh_native.sparsity.mask import total_count
from lsh_native.sparsity.topology import Topology

STEPS = 24
DENSITY = 0.33

METHODS = {
    "static": ("static", {"initial": "erdos_renyi_kernel"}),
    "rigl": ("rigl", {"every": 3}),
    "gradual": ("gradual_magnitude", {"every": 4, "begin": 2}),
    "gradual global": ("gradual_magnitude", {"drop": "global_magnitude", "every": 7}),
    "dynamic gradient": ("dynamic", {"every": 2, "grow": "gradient", "redistribute": "nonzeros"}),
    **{
        f"{drop} {redistribute}": (
            "dynamic",
            {"every": 3, "drop": drop, "redistribute": redistribute, "drop_fraction": 0.7},
        )
        for drop, redistribute in product(PUBLISHED_SPACE["drop"], PUBLISHED_SPACE["redistribute"])
    },
}

OPTIMIZERS = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.05),
    "momentum": lambda weights: torch.optim.SGD(weights, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=0.01, amsgrad=True),
    "AdamW": lambda weights: torch.optim.AdamW(weights, lr=0.01),
}

every_method = pytest.mark.parametrize(("name", "controls"), METHODS.values(), ids=METHODS)
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


@pytest.fixture(autouse=True)
def _one_thread():
    """At this size a second thread only costs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Tagger(nn.Module):
    """An LSTM between an embedding and a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=1)
        self.decoder = nn.Linear(5, 11)

    def forward(self, tokens):
        return self.decoder(self.lstm(self.embedding(tokens))[0])


class Run:
    """A small training, of which all is decided by the seed."""

    def __init__(self, name, controls, make, *, seed=0, steps=STEPS):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.model = Tagger()
        self.optimizer = make(self.model.parameters())
        self.topology = Topology(
            self.model, method(name, **controls), density=DENSITY, seed=seed, steps=steps
        )
        self.step = 0

    def train(self, steps):
        for _ in range(steps):
            self.train_step()
        return self

    def train_step(self):
        self.step += 1
        tokens = torch.randint(11, (4, 3), generator=torch.Generator().manual_seed(self.step))
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(
            self.model(tokens[:-1]).flatten(0, 1), tokens[1:].flatten()
        )
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.25)
        self.optimizer.step()
        return self.topology.step(self.optimizer)

    def weights(self):
        named = dict(self.model.named_parameters())
        return {name: named[name].detach().clone() for name in self.topology.masks()}

    def same_shaped_state(self):
        named = dict(self.model.named_parameters())
        return {
            name: [
                value.clone()
                for value in self.optimizer.state.get(named[name], {}).values()
                if isinstance(value, torch.Tensor) and value.shape == mask.shape
            ]
            for name, mask in self.topology.masks().items()
        }

    def sizes(self):
        return {name: mask.shape for name, mask in self.topology.masks().items()}

    def expected_total(self, made):
        return total_count(self.sizes(), made.schedule.density(self.step, DENSITY))


@every_optimizer
@every_method
def test_counts_are_exact_and_the_dead_are_zero_after_every_step(name, controls, make):
    run = Run(name, controls, make)
    made = method(name, **controls).over(STEPS)
    start = run.topology.counts()
    assert sum(start.values()) == run.expected_total(made)
    for _ in range(STEPS):
        updated = run.train_step()
        counts = run.topology.counts()
        if updated:
            assert sum(counts.values()) == run.expected_total(made)
        if name == "dynamic" and controls.get("redistribute", "none") == "none":
            assert counts == start
        weights, state = run.weights(), run.same_shaped_state()
        for matrix, mask in run.topology.masks().items():
            for tensor in (weights[matrix], *state[matrix]):
                assert not tensor[~mask].any()
    assert sum(run.topology.counts().values()) == total_count(run.sizes(), DENSITY)


@every_optimizer
@every_method
def test_an_update_resets_what_changed_and_leaves_the_rest(name, controls, make):
    """Two equal trainings, one of which never updates, differ only where connections changed."""
    run, still = Run(name, controls, make), Run(name, controls, make)
    still.topology._method = method("static")
    still.topology._choose_gradient()
    updated = False
    while not updated and run.step < STEPS:
        before = run.topology.masks()
        updated = run.train_step()
        still.train_step()
    weights, state = run.weights(), run.same_shaped_state()
    for matrix, mask in run.topology.masks().items():
        kept = mask & before[matrix]
        changed = mask ^ before[matrix]
        for ours, theirs in zip(
            [weights[matrix], *state[matrix]],
            [still.weights()[matrix], *still.same_shaped_state()[matrix]],
            strict=True,
        ):
            assert torch.equal(ours[kept], theirs[kept])
            assert not ours[changed].any()
    for ours, theirs in zip(run.model.parameters(), still.model.parameters(), strict=True):
        assert ours.dim() > 1 or torch.equal(ours, theirs)


def one_update(name, controls, shapes, *, seed, state=None):
    """One update in the middle of a training: what it saw, what it returned."""
    generator = torch.Generator().manual_seed(1)
    made = method(name, **controls).over(STEPS)
    weights = {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}
    full = {n: torch.ones(shape, dtype=torch.bool) for n, shape in shapes.items()}
    masks, _ = made.start(Connections(weights=weights, masks=full, density=DENSITY), generator)
    there = Connections(
        weights={n: weights[n] * masks[n] for n in weights},
        masks=masks,
        gradients={n: torch.randn(shape, generator=generator) for n, shape in shapes.items()},
        density=DENSITY,
    )
    before = copy.deepcopy(there)
    after = made.update(there, STEPS // 2, state or {}, torch.Generator().manual_seed(seed))
    return before, there, after


@every_method
def test_updates_are_pure(name, controls):
    state = {"threshold": 0.25}
    before, there, (masks, _, _) = one_update(
        name, controls, {"a": (6, 7), "b": (12, 4)}, seed=2, state=state
    )
    assert state == {"threshold": 0.25}
    for part in ("weights", "masks", "gradients"):
        for n, tensor in getattr(before, part).items():
            assert torch.equal(getattr(there, part)[n], tensor)
    if name != "static":
        assert all(masks[n] is not there.masks[n] for n in masks)


@every_method
def test_no_number_of_threads_changes_an_update(name, controls):
    shapes = {"a": (150, 300), "b": (100, 400)}  # enough for torch to split them
    updates = []
    for number in (1, 2):
        torch.set_num_threads(number)
        updates.append(one_update(name, controls, shapes, seed=2)[2])
    (one, state, _), (two, same_state, _) = updates
    assert state == same_state
    assert all(torch.equal(one[n], two[n]) for n in shapes)


@every_method
def test_the_seed_decides(name, controls):
    one, same, other = (
        {
            n: mask.tolist()
            for n, mask in Run(name, controls, OPTIMIZERS["SGD"], seed=seed)
            .train(9)
            .topology.masks()
            .items()
        }
        for seed in (1, 1, 2)
    )
    assert one == same
    if name != "gradual_magnitude":  # which draws nothing
        assert one != other


@every_optimizer
@every_method
def test_a_resumed_training_equals_an_uninterrupted_one(name, controls, make):
    run = Run(name, controls, make).train(13)
    resumed = Run(name, controls, make, seed=99)
    resumed.model.load_state_dict(run.model.state_dict())
    resumed.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    resumed.topology.load_state_dict(run.topology.state_dict())
    resumed.step = run.step
    run.train(12)
    resumed.train(12)
    assert {n: m.tolist() for n, m in run.topology.masks().items()} == {
        n: m.tolist() for n, m in resumed.topology.masks().items()
    }
    for ours, theirs in zip(run.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("redistribute", PUBLISHED_SPACE["redistribute"])
@pytest.mark.parametrize("drop", PUBLISHED_SPACE["drop"])
def test_nothing_drifts_over_a_thousand_updates(drop, redistribute):
    made = method("dynamic", drop=drop, redistribute=redistribute, drop_fraction=0.5, every=1)
    made = made.over(1001)
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (9, 5), "b": (16, 4)}
    weights = {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}
    full = {n: torch.ones(shape, dtype=torch.bool) for n, shape in shapes.items()}
    masks, _ = made.start(Connections(weights=weights, masks=full, density=DENSITY), generator)
    start = {n: int(mask.sum()) for n, mask in masks.items()}
    state = {}
    updates = 0
    for step in filter(made.due, range(1002)):
        there = Connections(
            weights={n: weights[n] * masks[n] for n in weights}, masks=masks, density=DENSITY
        )
        masks, state, _ = made.update(there, step, state, generator)
        counts = {n: int(mask.sum()) for n, mask in masks.items()}
        assert sum(counts.values()) == sum(start.values())
        if redistribute == "none":
            assert counts == start
        for weight in weights.values():  # training goes on
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
        updates += 1
    assert updates == 1000
