"""What every pruning method owes, under every optimizer; joining METHODS is how one gets tested."""

import copy
from itertools import product

import pytest
import torch
from torch import nn

from lsh_native import pruning
from lsh_native.pruning import PUBLISHED_SPACE, method
from lsh_native.sparsity.connections import Connections
from lsh_native.sparsity.mask import total_count
from lsh_native.sparsity.topology import Topology
from lsh_native.training import AveragedSGD

STEPS = 24
DENSITY = 0.5  # the one that 2:4 reaches

METHODS = {
    "dense": ("dense", {}),
    "static": ("static", {"initial": "erdos_renyi_kernel"}),
    "dynamic": ("dynamic", {"every": 2, "grow": "gradient", "redistribute": "nonzeros"}),
    "one_shot": ("one_shot", {"moment": 6}),
    "gradual_magnitude": ("gradual_magnitude", {"every": 4, "begin": 2}),
    "lottery_ticket": ("lottery_ticket", {"every": 3, "rewind_to": 2}),
    "set": ("set", {"every": 3}),
    "deep_rewiring": ("deep_rewiring", {"shrink": 0.001, "noise": 0.02}),
    "dynamic_sparse_reparameterization": (
        "dynamic_sparse_reparameterization",
        {"every": 3, "start_threshold": 0.05},
    ),
    "sparse_momentum": ("sparse_momentum", {"every": 3}),
    "rigl": ("rigl", {"every": 3}),
    "top_kast": ("top_kast", {"every": 2, "decay": 1e-3}),
    "selfish": ("selfish", {"every": 3, "gates": 4, "redistribute": "magnitude"}),
    "in_time": ("in_time", {"every": 5}),
    "granet": ("granet", {"every": 3, "initial_density": 0.8}),
    "mest": ("mest", {"every": 3, "drop_fraction": 0.2, "initial_density": 0.6}),
    "structured_rigl": ("structured_rigl", {"every": 3}),
    "cannistraci_hebb": ("cannistraci_hebb", {"every": 3}),
    "soft_cannistraci_hebb": ("soft_cannistraci_hebb", {"every": 3}),
    "whole_units": ("whole_units", {"every": 4, "shrink": 0.01}),
    "lattice": ("lattice", {"every": 7}),
}
STRUCTURED = {
    f"{name} {structure}": (name, {**controls, "structure": structure})
    for structure in ("block_4", "block_8", "block_16", "gates", "fan_in", "2:4", "4:8")
    for name, controls in {
        "static": {"initial": "uniform"},
        "one_shot": {"moment": 6, "drop": "magnitude"},
        "gradual_magnitude": {"every": 4, "begin": 2},
        "dynamic": {"every": 3, "drop": "global_magnitude"},
        "rigl": {"every": 3, "initial": "uniform"},
    }.items()
    if name not in ("one_shot", "gradual_magnitude") or structure not in ("2:4", "4:8")
}


class Shaken(torch.optim.Optimizer):
    """Somebody's own optimizer: signs of a running mean, with a list and a tensor as state."""

    def __init__(self, weights):
        super().__init__(weights, {})

    @torch.no_grad()
    def step(self):
        for weight in self.param_groups[0]["params"]:
            state = self.state[weight]
            state.setdefault("calls", []).append(1)
            mean = state.setdefault("mean", torch.zeros_like(weight))
            mean.lerp_(weight.grad, 0.3)
            weight.sub_(mean.sign(), alpha=0.01).sub_(0.001)


def averaged(weights):
    optimizer = AveragedSGD(weights, lr=0.05, weight_decay=1e-3)
    optimizer.start_averaging()
    return optimizer


OPTIMIZERS = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.05),
    "momentum": lambda weights: torch.optim.SGD(weights, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=0.01, amsgrad=True),
    "AdamW": lambda weights: torch.optim.AdamW(weights, lr=0.01),
    "ASGD": lambda weights: torch.optim.ASGD(weights, lr=0.05, t0=3),
    "averaged": averaged,
    "shaken": Shaken,
}

every_method = pytest.mark.parametrize(("name", "controls"), METHODS.values(), ids=METHODS)
every_structure = pytest.mark.parametrize(("name", "controls"), STRUCTURED.values(), ids=STRUCTURED)
everything = pytest.mark.parametrize(
    ("name", "controls"), [*METHODS.values(), *STRUCTURED.values()], ids=[*METHODS, *STRUCTURED]
)
threaded = pytest.mark.parametrize(
    ("name", "controls"),
    [*METHODS.values(), *(case for name, case in STRUCTURED.items() if name.startswith("rigl"))],
)
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


@pytest.fixture(autouse=True)
def _one_thread():
    """At this size a second thread only costs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Tagger(nn.Module):
    """An LSTM between an embedding and a decoder, of sizes that every structure divides."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.lstm = nn.LSTM(8, 8)
        self.decoder = nn.Linear(8, 16)

    def forward(self, tokens):
        return self.decoder(self.lstm(self.embedding(tokens))[0])


class Run:
    """A small training, of which all is decided by the seed."""

    def __init__(self, name, controls, make=OPTIMIZERS["momentum"], *, seed=0, steps=STEPS):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.model = Tagger()
        self.method = method(name, **controls).over(steps)
        self.optimizer = make(self.model.parameters())
        self.topology = Topology(
            self.model,
            method(name, **controls),
            density=DENSITY,
            seed=seed,
            steps=steps,
        )
        self.step = 0

    def train(self, steps):
        for _ in range(steps):
            self.train_step()
        return self

    def train_step(self):
        self.step += 1
        generator = torch.Generator().manual_seed(self.step)
        tokens = torch.randint(16, (6, 3), generator=generator)
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

    def expected_total(self):
        """Connections that there must be, counted in the structure's own units."""
        masks = self.topology.masks()
        if self.method == method("dense"):
            return sum(mask.numel() for mask in masks.values())
        weights = {name: mask.float() for name, mask in masks.items()}
        whole = Connections(weights=weights, masks=masks, density=self.topology._density)
        sizes = self.method.structure.reduce(whole).sizes
        entries = sum(mask.numel() for mask in masks.values())
        share = sum(size.numel() for size in sizes.values())
        density = self.method.schedule.density(self.step, self.topology._density)
        return total_count(sizes, density) * entries // share


def test_every_method_of_the_catalogue_is_here():
    assert METHODS.keys() == pruning.METHODS.keys()


def check_exactness(run):
    assert sum(run.topology.counts().values()) == run.expected_total()
    for _ in range(STEPS):
        if run.train_step():
            assert sum(run.topology.counts().values()) == run.expected_total()
        weights, state = run.weights(), run.same_shaped_state()
        masks = run.topology.masks()
        trained = run.method.trained(masks, run.topology._state)
        for matrix, mask in masks.items():
            assert not weights[matrix][~mask].any()
            for tensor in state[matrix]:
                assert not tensor[~trained[matrix]].any()
    assert sum(run.topology.counts().values()) == run.expected_total()


@every_optimizer
@every_method
def test_counts_are_exact_and_the_dead_are_zero_after_every_step(name, controls, make):
    check_exactness(Run(name, controls, make))


@every_structure
def test_counts_are_exact_under_every_structure(name, controls):
    run = Run(name, controls)
    check_exactness(run)
    structure = controls["structure"]
    for mask in run.topology.masks().values():
        if structure.startswith("block"):
            blocks = mask.view(-1, int(structure[6:]), mask.shape[1])
            assert torch.equal(blocks.any(1), blocks.all(1))
        elif structure == "fan_in":
            fan_in = mask.count_nonzero(1)
            assert int(fan_in.max() - fan_in.min()) <= 1
        elif ":" in structure:
            n, m = map(int, structure.split(":"))
            assert (mask.view(-1, m).count_nonzero(1) == n).all()


@pytest.mark.parametrize("make", [OPTIMIZERS["momentum"], OPTIMIZERS["Adam"]])
@everything
def test_an_update_resets_what_changed_and_leaves_the_rest(name, controls, make):
    """Two equal trainings, one of which never updates, differ only where connections changed."""
    run, still = Run(name, controls, make), Run(name, controls, make)
    if run.method.follows:
        pytest.skip("it acts between updates")
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


SHAPES = {"weight_ih_l0": (32, 8), "weight_hh_l0": (32, 8), "decoder.weight": (16, 8)}
LARGE = {  # enough for torch to split them
    "weight_ih_l0": (512, 256),
    "weight_hh_l0": (512, 128),
    "decoder.weight": (64, 128),
}


def one_update(name, controls, shapes, *, seed, device=None):
    """One step and one update in the middle of a training: what it saw, what it returned."""
    generator = torch.Generator().manual_seed(1)
    made = method(name, **controls).over(STEPS)
    density = DENSITY
    weights, gradients = (
        {n: torch.randn(shape, generator=generator).to(device) for n, shape in shapes.items()}
        for _ in range(2)
    )
    full = {n: torch.ones_like(weight, dtype=torch.bool) for n, weight in weights.items()}
    start = Connections(weights=weights, masks=full, density=density)
    masks, state = made.start(start, generator)
    there = Connections(
        weights={n: weights[n] * masks[n] for n in weights},
        masks=masks,
        gradients=gradients,
        density=density,
        explored=masks,
    )
    before = copy.deepcopy((there, state))
    generator = torch.Generator().manual_seed(seed)
    if made.follows:
        _, state = made.follow(there, STEPS // 2, state, generator)
        before = copy.deepcopy((there, state))
    return before, (there, state), made.update(there, STEPS // 2, state, generator)


def same(one, other):
    """Whether two mappings hold equal tensors and numbers."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if torch.is_tensor(value) else value == other[name]
        for name, value in one.items()
    )


@everything
def test_updates_are_pure(name, controls):
    (before, state), (there, same_state), _ = one_update(name, controls, SHAPES, seed=2)
    assert same(state, same_state)
    for part in ("weights", "masks", "gradients", "explored"):
        assert same(getattr(before, part), getattr(there, part))


@threaded
def test_no_number_of_threads_changes_an_update(name, controls):
    updates = []
    for number in (1, 2):
        torch.set_num_threads(number)
        updates.append(one_update(name, controls, LARGE, seed=2)[2])
    for one, other in zip(*updates, strict=True):
        assert same(one, other)


@threaded
def test_no_device_changes_an_update(name, controls, device):
    if device.type == "cpu":
        pytest.skip("it compares other devices with the CPU")
    (ours, *_), (theirs, *_) = (
        one_update(name, controls, LARGE, seed=2, device=where)[2] for where in (device, "cpu")
    )
    assert same({matrix: mask.cpu() for matrix, mask in ours.items()}, theirs)


@every_method
def test_the_seed_decides(name, controls):
    def trained(seed):
        return Run(name, controls, seed=seed).train(9).topology.masks()

    one = trained(1)
    assert same(one, trained(1))
    drawing_nothing = (
        *("dense", "one_shot", "gradual_magnitude", "lottery_ticket", "top_kast", "whole_units"),
        "lattice",
    )
    assert same(one, trained(2)) == (name in drawing_nothing)


@pytest.mark.parametrize("make", [OPTIMIZERS["Adam"], OPTIMIZERS["averaged"]])
@everything
def test_a_resumed_training_equals_an_uninterrupted_one(name, controls, make):
    run = Run(name, controls, make).train(13)
    resumed = Run(name, controls, make, seed=99)
    resumed.model.load_state_dict(run.model.state_dict())
    resumed.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    resumed.topology.load_state_dict(copy.deepcopy(run.topology.state_dict()))
    resumed.step = run.step
    run.train(11)
    resumed.train(11)
    assert same(run.topology.state_dict(), resumed.topology.state_dict())
    for ours, theirs in zip(run.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


DRIFTING = {
    f"{drop} {redistribute}": (
        "dynamic",
        {"every": 1, "drop": drop, "redistribute": redistribute, "drop_fraction": 0.5},
    )
    for drop, redistribute in [
        *product(PUBLISHED_SPACE["drop"], ("nonzeros",)),
        ("magnitude", "none"),
        ("magnitude", "magnitude"),
    ]
} | {name: (name, {"every": 1}) for name in ("deep_rewiring", "in_time")}


@pytest.mark.parametrize(("name", "controls"), DRIFTING.values(), ids=DRIFTING)
def test_nothing_drifts_over_a_thousand_updates(name, controls):
    made = method(name, **controls).over(1001)
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (9, 5), "b": (16, 4)}
    weights = {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}
    full = {n: torch.ones(shape, dtype=torch.bool) for n, shape in shapes.items()}
    start = Connections(weights=weights, masks=full, density=1 / 3)
    masks, state = made.start(start, generator)
    counts = start = {n: int(mask.sum()) for n, mask in masks.items()}
    updates = 0
    for step in filter(made.due, range(1002)):
        there = Connections(
            weights={n: weights[n] * masks[n] for n in weights}, masks=masks, density=1 / 3
        )
        masks, state, _ = made.update(there, step, state, generator)
        counts = {n: int(mask.sum()) for n, mask in masks.items()}
        assert sum(counts.values()) == sum(start.values())
        if controls.get("redistribute") == "none":
            assert counts == start
        for weight in weights.values():  # training goes on
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
        updates += 1
    assert updates == 1000
