"""Masks, weights and optimizer state change together, and nothing else changes them."""

import json
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from lsh_native.nn import SparseLSTM
from lsh_native.pruning import CosineDrop, PruningMethod, method, random_growth
from lsh_native.sparsity.selection import NaNError
from lsh_native.sparsity.topology import Topology


class Scripted:
    """A method whose masks are written down: one for the start, one for each update."""

    needs_gradient = False
    follows = False

    def __init__(self, *masks: Mapping[str, list]) -> None:
        self.masks = [{n: torch.tensor(m, dtype=torch.bool) for n, m in ms.items()} for ms in masks]
        self.seen: list = []

    def over(self, steps):
        return self

    def due(self, step):
        return step < len(self.masks)

    def needs_gradient_at(self, step):
        return False

    def start(self, connections, generator):
        return self.masks[0], {}

    def refuse(self, masks):
        pass

    def follow(self, connections, step, state, generator):
        raise AssertionError("it does not follow")

    def update(self, connections, step, state, generator):
        self.seen.append((connections, dict(state)))
        return self.masks[step], {"step": step}, {}

    def trained(self, masks, state):
        return masks

    def describe(self):
        return {"name": "scripted"}


class ExecutedLinear(nn.Linear):
    """A linear layer that executes its mask and hides dead gradients unless told otherwise."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns, rows, bias=False)
        self.mask: Tensor
        self.register_buffer("mask", torch.ones(rows, columns, dtype=torch.bool))
        self.gradient = "masked"
        self.gradients_asked: list[str] = []

    def masks(self):
        return {"weight": self.mask}

    def set_masks(self, masks):
        self.mask = masks["weight"]

    def forward(self, x):
        self.gradients_asked.append(self.gradient)
        return x @ (self.weight if self.gradient == "dense" else self.weight * self.mask).T


def train_step(model, optimizer, topology):
    optimizer.zero_grad()
    first = next(model.parameters())
    model(torch.ones(3, first.shape[1])).square().sum().backward()
    optimizer.step()
    return topology.step(optimizer)


def live(topology):
    return {name: mask.int().tolist() for name, mask in topology.masks().items()}


def test_the_start_zeroes_dead_weights_and_touches_nothing_else():
    torch.manual_seed(0)
    model = nn.Linear(6, 4)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    topology = Topology(model, method("static"), density=0.5, seed=1)
    mask = topology.masks()["weight"]
    assert torch.equal(model.weight, before["weight"] * mask)
    assert torch.equal(model.bias, before["bias"])
    assert topology.counts() == {"weight": 12}
    assert topology.density() == 0.5
    assert topology.densities() == {"weight": 0.5}


def test_a_change_starts_from_zero_in_weight_and_optimizer_state():
    model = nn.Linear(3, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    script = Scripted({"weight": [[1, 1, 0]]}, {"weight": [[0, 1, 1]]})
    topology = Topology(model, script, density=2 / 3, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, amsgrad=True)
    assert model.weight.tolist() == [[2.0, 2.0, 0.0]]
    assert train_step(model, optimizer, topology) is True
    state = optimizer.state[model.weight]
    for tensor in (model.weight, *(state[k] for k in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"))):
        assert (tensor != 0).tolist() == [[False, True, False]]
    assert state["step"] == 1  # not of the weight's shape
    assert train_step(model, optimizer, topology) is False
    assert (model.weight != 0).tolist() == [[False, True, True]]


def test_all_that_has_happened_is_one_change():
    model = nn.Linear(4, 1, bias=False)
    first, second, third = [[1, 1, 0, 0]], [[0, 1, 1, 0]], [[1, 0, 1, 0]]
    topology = Topology(
        model,
        Scripted({"weight": first}, {"weight": second}, {"weight": third}),
        density=0.5,
        seed=0,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for survival, explored in ((0.5, 0.75), (0.5, 0.75)):
        topology.step(optimizer)
        change = topology.change()
        assert (change.survival(), change.explored_share()) == (survival, explored)
    assert change.step == 2
    assert change.jaccard() == 1 / 3


def test_a_method_sees_dead_weights_as_zeros():
    model = nn.Linear(3, 1, bias=False)
    script = Scripted({"weight": [[1, 0, 0]]}, {"weight": [[1, 0, 0]]}, {"weight": [[1, 0, 0]]})
    topology = Topology(model, script, density=1 / 3, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        train_step(model, optimizer, topology)
    (first, no_state), (_, state) = script.seen
    assert first.weights["weight"].count_nonzero() <= 1
    assert not first.weights["weight"].requires_grad
    assert first.density == 1 / 3
    assert first.gradients == {}
    assert no_state == {}
    assert state == {"step": 1}


def test_dead_infinities_and_nan_are_cleared():
    model = nn.Linear(2, 1, bias=False)
    script = Scripted({"weight": [[1, 0]]})
    topology = Topology(model, script, density=0.5, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for value in (math.inf, math.nan):
        with torch.no_grad():
            model.weight[0, 1] = value
        topology.step(optimizer)
        assert model.weight[0, 1] == 0


def test_globs_choose_matrices():
    model = nn.Sequential(nn.Embedding(5, 4), nn.LSTM(4, 3), nn.Linear(3, 2))
    names = {
        "*": ["0.weight", "1.weight_ih_l0", "1.weight_hh_l0", "2.weight"],
        "1.*": ["1.weight_ih_l0", "1.weight_hh_l0"],
        "*.weight": ["0.weight", "2.weight"],
    }
    for glob, expected in names.items():
        topology = Topology(model, method("static"), density=0.5, seed=0, include=[glob])
        assert list(topology.counts()) == expected
    without = Topology(model, method("static"), density=0.5, seed=0, exclude=("0.*", "*hh*"))
    assert list(without.counts()) == ["1.weight_ih_l0", "2.weight"]


@pytest.mark.parametrize(
    ("globs", "error", "message"),
    [
        ({"include": ["*", "lstm.*"]}, ValueError, r"'lstm\.\*' matches none of \['0.weight', "),
        ({"include": ["*bias"]}, ValueError, r"'\*bias' matches none"),
        ({"exclude": ["embedding"]}, ValueError, "'embedding' matches none"),
        ({"exclude": ["*"]}, ValueError, r"none of \['0.weight', '1.weight'\] is left"),
        ({"include": []}, ValueError, "needs a weight matrix"),
        ({"include": "*"}, TypeError, r"include must be a sequence of globs, got the string '\*'"),
        ({"exclude": "1.*"}, TypeError, "exclude must be a sequence of globs"),
    ],
)
def test_refuses_globs(globs, error, message):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with pytest.raises(error, match=message):
        Topology(model, method("static"), density=0.5, seed=0, **globs)


@pytest.mark.parametrize("density", [-0.1, 1.5, math.nan])
def test_refuses_densities(density):
    with pytest.raises(ValueError, match=r"density must be in \[0, 1\]"):
        Topology(nn.Linear(3, 3), method("static"), density=density, seed=0)


def test_density_may_be_nothing_and_all():
    for density, count in ((0.0, 0), (1.0, 12)):
        model = nn.Linear(4, 3)
        topology = Topology(model, method("dynamic", every=1), density=density, seed=0, steps=9)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            train_step(model, optimizer, topology)
            assert topology.counts() == {"weight": count}


def test_a_tied_tensor_has_one_mask_which_all_its_modules_get():
    encoder, decoder = ExecutedLinear(4, 4), ExecutedLinear(4, 4)
    decoder.weight = encoder.weight
    model = nn.Sequential(encoder, nn.Tanh(), decoder)
    topology = Topology(model, method("static"), density=0.25, seed=3)
    assert topology.counts() == {"0.weight": 4}
    assert torch.equal(encoder.mask, decoder.mask)
    assert torch.equal(encoder.mask, topology.masks()["0.weight"])
    by_second_name = Topology(model, method("static"), density=0.25, seed=3, include=["2.*"])
    assert by_second_name.counts() == {"0.weight": 4}
    with pytest.raises(ValueError, match="none of"):
        Topology(model, method("static"), density=0.25, seed=3, exclude=["2.*"])


def test_modules_that_execute_masks_get_every_new_one():
    model = nn.Sequential(ExecutedLinear(6, 5), nn.Linear(5, 4))
    topology = Topology(model, method("dynamic", every=2), density=0.4, seed=0, steps=20)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    seen = []
    for _ in range(6):
        train_step(model, optimizer, topology)
        seen.append(model[0].mask)
        assert torch.equal(model[0].mask, topology.masks()["0.weight"])
        assert not model[0].weight[~model[0].mask].any()
    assert not torch.equal(seen[0], seen[-1])


def test_gradients_are_dense_for_exactly_the_steps_that_end_in_an_update():
    model = nn.Sequential(ExecutedLinear(6, 5), ExecutedLinear(5, 4))
    rigl = method("rigl", every=3, until=100)
    topology = Topology(model, rigl, density=0.4, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(1, 8):
        assert train_step(model, optimizer, topology) is (step % 3 == 0)
    asked = ["masked", "masked", "dense"] * 2 + ["masked"]
    assert [layer.gradients_asked for layer in model] == [asked, asked]


def test_gradients_are_left_alone_when_the_method_does_not_read_them():
    model = ExecutedLinear(6, 5)
    model.gradient = "dense"
    topology = Topology(model, method("dynamic", every=3), density=0.4, seed=0, steps=100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(4):
        train_step(model, optimizer, topology)
    assert set(model.gradients_asked) == {"dense"}


def test_refuses_modules_that_hide_the_gradients_a_method_needs():
    model = ExecutedLinear(6, 5)
    del model.gradient
    with pytest.raises(ValueError, match=r"attribute 'gradient', ExecutedLinear of \['weight'\]"):
        Topology(model, method("rigl"), density=0.4, seed=0, steps=100)


def test_refuses_an_update_without_gradients():
    model = nn.Linear(6, 5)
    topology = Topology(model, method("rigl", every=1), density=0.4, seed=0, steps=100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(ValueError, match=r"gradient of weight, got none: call topology\.step"):
        topology.step(optimizer)


def test_sparse_gradients_can_be_read():
    model = nn.Embedding(6, 5, sparse=True)
    topology = Topology(model, method("rigl", every=1), density=0.4, seed=0, steps=100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    assert topology.step(optimizer)
    assert topology.counts() == {"weight": 12}


def test_refuses_an_optimizer_of_other_parameters():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    topology = Topology(model, method("static"), density=0.5, seed=0)
    with pytest.raises(ValueError, match=r"it lacks \['1.weight'\]"):
        topology.step(torch.optim.SGD(model[0].parameters(), lr=0.1))
    model[1].requires_grad_(False)
    topology.step(torch.optim.SGD(model[0].parameters(), lr=0.1))


def test_a_diverged_model_is_named_and_nothing_has_changed():
    model = nn.Linear(4, 4)
    topology = Topology(model, method("dynamic", every=1), density=0.5, seed=0, steps=9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = live(topology)
    with torch.no_grad():
        model.weight.fill_(math.nan)
    with pytest.raises(NaNError):
        topology.step(optimizer)
    assert live(topology) == before


def test_refuses_masks_of_a_faulty_method():
    start = {"weight": [[1, 1, 0]]}
    optimizer_of = lambda model: torch.optim.SGD(model.parameters(), lr=0.1)  # noqa: E731
    for faulty, error in (
        (Scripted(start, {"other": [[1, 1, 0]]}), r"masks must be those of \['weight'\]"),
        (Scripted(start, {"weight": [[1, 1]]}), r"must have shape \(1, 3\), got \(1, 2\)"),
    ):
        model = nn.Linear(3, 1)
        topology = Topology(model, faulty, density=2 / 3, seed=0)
        with pytest.raises(ValueError, match=error):
            topology.step(optimizer_of(model))
    model = nn.Linear(3, 1)
    faulty = Scripted(start)
    faulty.masks[0]["weight"] = torch.ones(1, 3)
    with pytest.raises(TypeError, match=r"mask of weight must be bool, got torch\.float32"):
        Topology(model, faulty, density=2 / 3, seed=0)


def test_the_seed_alone_decides_what_is_drawn():
    def masks(seed):
        model = nn.Sequential(nn.Linear(9, 8), nn.Linear(8, 7))
        torch.rand(7)  # what stands in the global generator does not matter
        topology = Topology(model, method("static", initial="erdos_renyi"), density=0.3, seed=seed)
        return live(topology)

    assert masks(1) == masks(1)
    assert masks(1) != masks(2)


def small(seed=0, density=0.4, **controls):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    controls = {"drop": "threshold", "every": 2} | controls
    return model, Topology(
        model, method("dynamic", **controls), density=density, seed=seed, steps=40
    )


def test_state_is_tensors_and_json():
    model, topology = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        train_step(model, optimizer, topology)
    state = topology.state_dict()
    plain = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain.keys() == {"step", "density", "description", "method.threshold"}
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    assert tensors.keys() == {
        "generator",
        *(f"{part}.{n}.weight" for part in ("mask", "first", "explored") for n in "01"),
    }
    own = {mask.data_ptr() for mask in topology.masks().values()}
    assert not own & {tensor.data_ptr() for tensor in tensors.values()}


def test_state_continues_in_a_new_topology():
    model, topology = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        train_step(model, optimizer, topology)
    state = topology.state_dict()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(5):
        train_step(model, optimizer, topology)
    again, resumed = small(seed=77)
    again.load_state_dict(weights)
    resumed.load_state_dict(state)
    optimizer = torch.optim.SGD(again.parameters(), lr=0.1)
    for _ in range(5):
        train_step(again, optimizer, resumed)
    assert live(resumed) == live(topology)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_loading_a_state_hands_masks_and_gradients_to_modules():
    def build(seed):
        model = ExecutedLinear(6, 5)
        return model, Topology(model, method("rigl", every=2), density=0.4, seed=seed, steps=40)

    model, topology = build(0)
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.1), topology)
    assert model.gradient == "dense"
    again, resumed = build(1)
    resumed.load_state_dict(topology.state_dict())
    assert torch.equal(again.mask, model.mask)
    assert not again.weight[~again.mask].any()
    assert again.gradient == "dense"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": None}, r"must hold \['step'\]"),
        ({"step": -1}, "step must be an int of at least 0, got -1"),
        ({"step": 1.5}, "step must be an int"),
        ({"density": 0.5}, r"same topology, but density is 0\.5 there and 0\.4 here"),
        ({"description": "dynamic"}, "description must be a mapping, got 'dynamic'"),
        ({"generator": torch.zeros(3, dtype=torch.uint8)}, "generator must be the state of a CPU"),
        ({"generator": "seed"}, "generator must be the state of a CPU"),
        ({"mask.1.weight": None}, r"masks must be those of \['0.weight', '1.weight'\]"),
        ({"mask.2.weight": torch.ones(2, 2) > 0}, "masks must be those of"),
        (
            {"mask.1.weight": torch.ones(2, 2) > 0},
            r"1.weight must have shape \(4, 5\), got \(2, 2\)",
        ),
        ({"mask.1.weight": torch.ones(4, 5)}, r"1.weight must be bool, got torch\.float32"),
        ({"extra": 1}, r"nothing else, got \['extra'\]"),
    ],
)
def test_refuses_states(change, message):
    model, topology = small()
    before, weights = topology.state_dict(), [p.detach().clone() for p in model.parameters()]
    changed = {name: value for name, value in (before | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        topology.load_state_dict(changed)
    after = topology.state_dict()
    assert all(
        torch.equal(after[name], value) if isinstance(value, Tensor) else after[name] == value
        for name, value in before.items()
    )
    assert all(map(torch.equal, model.parameters(), weights))


def test_refuses_the_state_of_another_method():
    _, topology = small()
    with pytest.raises(ValueError, match="drop is threshold there and magnitude here"):
        small(drop="magnitude")[1].load_state_dict(topology.state_dict())
    with pytest.raises(ValueError, match=r"until=40, .* there and .*until=30, .* here"):
        small(until=30)[1].load_state_dict(topology.state_dict())


def test_shares_of_a_training_need_its_steps():
    with pytest.raises(ValueError, match="steps must be given"):
        Topology(nn.Linear(3, 3), method("dynamic", every=1), density=0.5, seed=0)


def test_works_on_the_device_of_the_model(device):
    model = nn.Linear(8, 6).to(device)
    mixed = PruningMethod(schedule=CosineDrop(initial=0.5, every=1, until=99), grow=random_growth)
    topology = Topology(model, mixed, density=0.5, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(3, 8, device=device)).square().sum().backward()
        optimizer.step()
        topology.step(optimizer)
    assert topology.masks()["weight"].device == model.weight.device
    assert topology.counts() == {"weight": 24}


def test_updates_move_no_pattern_and_compile_nothing_again():
    torch.manual_seed(0)
    model = SparseLSTM(6, 8)
    topology = Topology(model, method("selfish", every=1), density=0.4, seed=0, steps=99)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")

    def step():
        optimizer.zero_grad()
        compiled(torch.ones(3, 2, 6))[0].square().sum().backward()
        optimizer.step()
        assert topology.step(optimizer)

    def places():
        return [b.data_ptr() for name, b in model.named_buffers() if name.endswith("_pattern")]

    step()
    first = places()
    assert len(first) == 2
    with torch.compiler.set_stance("fail_on_recompile"):
        for _ in range(5):
            before = topology.masks()
            step()
            assert not torch.equal(before["weight_hh_l0"], topology.masks()["weight_hh_l0"])
            assert places() == first
    torch.compiler.reset()
