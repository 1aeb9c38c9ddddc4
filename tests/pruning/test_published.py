"""Each published method in one case that is small enough to follow by hand."""

from functools import partial

import pytest
import torch
from torch import nn

from lsh_native.pruning import (
    Cosine,
    CosineDrop,
    FanIn,
    Linear,
    PruningMethod,
    Updates,
    given,
    method,
    random_growth,
    rewiring,
    thinning,
)
from lsh_native.pruning.criterion import GrowHighest
from lsh_native.pruning.derived import derived
from lsh_native.sparsity.connections import Connections
from lsh_native.sparsity.topology import Topology


def row(*values):
    return torch.tensor([values])


def there(weights, gradients=None, density=0.5, **more):
    """One matrix of one row, whose zeros are dead."""
    weights = row(*map(float, weights))
    slopes = {} if gradients is None else {"a": row(*map(float, gradients))}
    masks = {"a": weights != 0}
    return Connections(
        weights={"a": weights}, masks=masks, gradients=slopes, density=density, **more
    )


def update(made, connections, step, state=None, seed=0):
    masks, state, values = made.update(
        connections, step, state or {}, torch.Generator().manual_seed(seed)
    )
    return masks["a"].int().flatten().tolist(), state, values


class Line(nn.Module):
    """y = Σ w x over one row, so that the gradient of w is x."""

    def __init__(self, *weights):
        super().__init__()
        self.weight = nn.Parameter(row(*map(float, weights)))

    def forward(self, *x):
        return (self.weight * row(*map(float, x))).sum()


def step(model, topology, optimizer, *x):
    optimizer.zero_grad()
    model(*x).backward()
    optimizer.step()
    topology.step(optimizer)
    return model.weight.detach().flatten().tolist()


def test_dense_and_static_never_change():
    for name in ("dense", "static"):
        made = method(name).over(100)
        assert not any(made.due(step) for step in range(101))
    with pytest.raises(ValueError, match="controls of dense must be of , got initial"):
        method("dense", initial="uniform")


def test_one_shot():
    made = method("one_shot", moment=3).over(10)
    assert [step for step in range(11) if made.due(step)] == [3]
    assert made.budget(there([1, 2, 3, 4]), 0) == {"a": 4}
    assert update(made, there([-4, 1, 2, -3]), 3)[0] == [1, 0, 0, 1]


def test_gradual_magnitude():
    made = method("gradual_magnitude", every=1, until=2).over(10)
    # from 8 to 4: after half the way 4 + 4 / 8 round to 4, at the end 4
    assert made.budget(there(range(1, 9)), 1) == {"a": 4}
    assert update(made, there(range(1, 9)), 1)[0] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_lottery_ticket_rewinds():
    model = Line(4, 3, 2, 1)
    made = method("lottery_ticket", every=2, keep=0.75, rewind_to=1)
    topology = Topology(model, made, density=0.5, seed=0, steps=9)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    assert step(model, topology, optimizer, 0, 0, 0, -1) == [4, 3, 2, 2]  # saved here
    # 4, 3, 0.5, 2.5: the third goes, the last is set back to 2 and its momentum is gone
    assert step(model, topology, optimizer, 0, 0, 1.5, 0) == [4, 3, 0, 2]
    assert optimizer.state[model.weight]["momentum_buffer"].tolist() == [[0, 0, 0, 0]]
    assert topology.counts() == {"weight": 3}
    step(model, topology, optimizer, 0, 0, 0, 0)
    assert step(model, topology, optimizer, 0, 0, 0, -5) == [4, 0, 0, 2]  # 0.75² of 4 rounds to 2
    assert step(model, topology, optimizer, 0, 0, 0, 0)[1:3] == [0, 0]


def test_set():
    made = method("set", drop_fraction=0.5, every=1).over(9)
    assert made.schedule.drop_fraction(1) == made.schedule.drop_fraction(8) == 0.5
    # of each sign one half goes: 0.1 and −0.2; two of four dead ones come
    before = there([0.1, 5, -0.2, -6, 0, 0], density=4 / 6)
    masks, _, _ = update(made, before, 1)
    assert masks[1] == masks[3] == 1
    assert sum(masks) == 4


def test_deep_rewiring():
    model = Line(1, -1, 2, 0.5)
    made = method("deep_rewiring", shrink=0.25, noise=0.0)
    topology = Topology(model, made, density=1.0, seed=0, steps=99)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    # 1 − 1 = 0 stays 0; −1 + 1.5 leaves its sign; the others lose 0.25
    assert step(model, topology, optimizer, 0, 0, 0, 0) == [0.75, -0.75, 1.75, 0.25]
    after = step(model, topology, optimizer, 0, -1.5, 0, 0)
    assert after == [0.5, 0.0, 1.5, 0.0]  # 0.75 − 0.25 became positive; 0.25 − 0.25 is no sign
    assert topology.counts() == {"weight": 4}  # what died came back, being all that was dead
    signs = topology.state_dict()["method.sign.weight"]
    assert signs.tolist() == [[1, 0, 1, 1]]


def test_a_rewired_connection_gets_a_sign_by_chance():
    made = method("deep_rewiring").over(99)
    before = there([1.0] * 200, density=1.0)
    state = {"sign.a": torch.zeros(1, 200, dtype=torch.int8)}
    masks, state, _ = update(made, before, 1, state)
    positive = int((state["sign.a"] > 0).sum())
    assert 60 < positive < 140
    assert sum(masks) == 200


def test_deep_rewiring_shakes_the_live_weights():
    made = method("deep_rewiring", shrink=0.0, noise=0.5)
    before = there([1.0, 0.0] * 500)
    weights, _ = made.over(9).follow(before, 1, {}, torch.Generator().manual_seed(0))
    moved = (weights["a"] - before.weights["a"])[before.masks["a"]]
    assert abs(float(moved.std()) - 0.5) < 0.05
    assert abs(float(moved.mean())) < 0.1


def test_dynamic_sparse_reparameterization():
    made = method(
        "dynamic_sparse_reparameterization", drop_fraction=0.5, start_threshold=0.5, every=1
    ).over(9)
    # four of eight should go, two do: the threshold doubles
    before = there([0.1, -0.5, 1, 2, 3, 4, 5, 6, 0, 0], density=0.8)
    masks, state, _ = update(made, before, 1)
    assert masks[2:8] == [1] * 6
    assert sum(masks) == 8
    assert state == {"threshold": 1.0}


def test_sparse_momentum():
    made = method("sparse_momentum", drop_fraction=0.5, smoothing=0.5, every=1).over(99)
    assert made.needs_gradient_at(1)
    assert made.needs_gradient_at(50)
    before = there([1.0, 2.0, 0, 0], gradients=[0, 0, 4, 0])
    _, state = made.follow(before, 1, {}, torch.Generator())
    before = there([1.0, 2.0, 0, 0], gradients=[0, 0, 0, 3])
    _, state = made.follow(before, 2, state, torch.Generator())
    assert state["gradient.a"].tolist() == [[0, 0, 1, 1.5]]
    # the smallest weight goes, the largest momentum comes, not the largest gradient of now
    now = there([1.0, 2.0, 0, 0], gradients=[0, 0, 9, 0])
    assert update(made, now, 2, state)[0] == [0, 1, 0, 1]


def test_rigl():
    made = method("rigl", drop_fraction=0.5, every=1, until=10).over(99)
    assert not made.needs_gradient_at(10)
    before = there([1, -2, 0, 0], gradients=[0, 0, -5, 4])
    assert update(made, before, 1)[0] == [0, 1, 1, 0]


def test_top_kast_trains_what_it_does_not_use():
    model = Line(4, 3, 2, 1)
    topology = Topology(model, method("top_kast", extra=0.25), density=0.5, seed=0, steps=99)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    assert model.weight.tolist() == [[4, 3, 0, 0]]  # the largest
    # all have gradients; the third trains in reserve from 2 to 3.5, the fourth does not train;
    # then 4, 3 − 1, 3.5, 1: the third is used in the place of the second
    assert step(model, topology, optimizer, 0, 1, -1.5, -9) == [4, 0, 3.5, 0]
    state = topology.state_dict()
    assert state["method.reserve.weight"].tolist() == [[0, 2, 0, 1]]
    assert state["method.trained.weight"].tolist() == [[True, True, True, False]]


def test_top_kast_decays_what_it_does_not_use_faster():
    made = method("top_kast", extra=0.5, decay=0.1).over(9)
    state = {
        "reserve.a": row(0.0, 0.0, 8.0, 4.0),
        "trained.a": row(True, True, True, False),
    }
    weights, state = made.follow(there([10, 20, 0, 0]), 1, state, torch.Generator())
    assert weights["a"].flatten().tolist() == pytest.approx([9, 18, 0, 0])
    assert state["reserve.a"].flatten().tolist() == pytest.approx([0, 0, 8 * 0.8, 4])


def gates_of(*rows):
    weights = torch.tensor(rows)
    return Connections(
        weights={"lstm.weight_hh_l0": weights},
        masks={"lstm.weight_hh_l0": weights != 0},
        density=0.5,
    )


def test_selfish_gates_compete():
    before = gates_of([1.0, 2, 0, 0], [9.0, 8, 0, 0])
    made = rewiring.selfish(drop_fraction=0.5, every=1).over(99)
    survivors, _ = made.drop(before, {"lstm.weight_hh_l0": 2}, {}, torch.Generator())
    assert survivors["lstm.weight_hh_l0"].int().tolist() == [[0, 0, 0, 0], [1, 1, 0, 0]]


def test_selfish_gates_share():
    before = gates_of([1.0, 2, 0, 0], [9.0, 8, 0, 0])
    made = method("selfish", drop_fraction=0.5, every=1, gates=2, redistribute="magnitude").over(99)
    masks, _, _ = made.update(before, 1, {}, torch.Generator().manual_seed(0))
    # each gate loses its smaller one; the means 2 and 9 share the two that grow 0 : 2
    mask = masks["lstm.weight_hh_l0"]
    assert mask.count_nonzero(1).tolist() == [1, 3]
    assert mask[0, 1]
    assert mask[1, 0]


def test_in_time_grows_what_was_never_live():
    made = method("in_time", drop_fraction=0.5, every=1).over(99)
    before = there([1, 2, 0, 0, 0, 0], density=1 / 3, explored={"a": row(*[True] * 5, False)})
    for seed in range(5):
        assert update(made, before, 1, seed=seed)[0] == [0, 1, 0, 0, 0, 1]
    exhausted = there([1, 2, 0, 0], explored={"a": row(*[True] * 4)})
    assert sum(update(made, exhausted, 1)[0]) == 2


def test_granet_loses_overall_and_regrows_in_place():
    made = method("granet", initial_density=1.0, drop_fraction=0.5, every=1, until=9).over(99)
    before = Connections(
        weights={"a": row(1.0, 2, 3, 4), "b": row(5.0, 6, 7, 8)},
        masks={"a": row(*[True] * 4), "b": row(*[True] * 4)},
        gradients={"a": row(0.0, 9, 0, 0), "b": row(8.0, 0, 0, 0)},
        density=0.5,
    )
    # at the last update the density falls to 4 of 8: all of a goes, and nothing is rewired
    masks, _, _ = made.update(before, 9, {}, torch.Generator())
    assert masks["a"].int().tolist() == [[0, 0, 0, 0]]
    assert masks["b"].int().tolist() == [[1, 1, 1, 1]]
    # at the first one density(1) = 0.5 + 0.5 (8/9)³ = 0.85 keeps 7: 1 goes; then ⌈0.49 · 3⌉ = 2 of
    # a go, 2 and 3, and come back by gradient; of b ⌈0.49 · 4⌉ = 2, 5 and 6, as well
    masks, _, _ = made.update(before, 1, {}, torch.Generator())
    assert masks["a"].int().tolist() == [[1, 1, 0, 1]]
    assert masks["b"].int().tolist() == [[1, 1, 1, 1]]


def test_mest():
    made = method("mest", drop_fraction=0.5, gradient_weight=0.1, every=1).over(99)
    # 1 + 0.1 · 20 = 3 beats 2 + 0
    before = there([1, 2, 0, 0], gradients=[20, 0, 0, 0])
    survivors, _ = made.drop(before, {"a": 1}, {}, torch.Generator())
    assert survivors["a"].int().tolist() == [[1, 0, 0, 0]]
    schedule = method("mest").over(100_000).schedule
    assert [schedule.drop_fraction(step) for step in (10_000, 50_000, 90_000)] == [0.02, 0.01, 0.0]
    soft = method("mest", initial_density=0.75, every=1, until=4).over(99)
    assert soft.budget(there([1] * 4), 0) == {"a": 3}
    assert soft.budget(there([1] * 4), 4) == {"a": 2}


def test_structured_rigl_keeps_fan_in_and_ablates():
    weights = torch.tensor([[5.0, 4, 0, 0], [6.0, 7, 0, 0], [0.1, 0.2, 0, 0]])
    slopes = torch.tensor([[0.0, 0, 3, 2], [0.0, 0, 9, 8], [0.0, 0, 0, 0]])
    before = Connections(
        weights={"a": weights}, masks={"a": weights != 0}, gradients={"a": slopes}, density=0.5
    )
    plain = method("structured_rigl", ablate=0.0, drop_fraction=0.3, every=1, until=9).over(99)
    # the last row loses both and gets two back, of equal gradients the first ones
    assert plain.update(before, 1, {}, torch.Generator())[0]["a"].int().tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 0],
    ]
    harsh = method("structured_rigl", ablate=0.5, drop_fraction=0.3, every=1, until=9).over(99)
    # without structure 9 and 8 would grow in the second row: the last row would have none
    masks, state, _ = harsh.update(before, 1, {}, torch.Generator())
    assert masks["a"].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    after = Connections(
        weights={"a": weights * masks["a"] + masks["a"]},
        masks=masks,
        gradients={"a": torch.tensor([[0.0] * 4, [0.0] * 4, [9.0] * 4])},
        density=0.5,
    )
    masks, _, _ = harsh.update(after, 2, state, torch.Generator())
    assert masks["a"].count_nonzero(1).tolist() == [3, 3, 0]  # for good


def test_cannistraci_hebb_closes_paths():
    # rows u, y and columns v, z: u – z – y – v is the only path of length three that is open
    mask = torch.tensor([[0, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    made = method("cannistraci_hebb", every=1, drop_fraction=0.0).over(9)
    there_ = Connections(weights={"a": mask.float()}, masks={"a": mask}, density=5 / 9)
    grown, _ = made.grow(there_, {"a": mask}, {"a": 1}, {}, torch.Generator())
    assert (grown["a"] ^ mask).nonzero().tolist() == [[0, 0]]


def test_paths_weigh_by_degree():
    from lsh_native.pruning.score import paths

    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(5, 6, generator=generator) < 0.5
    there_ = Connections(weights={"a": mask.float()}, masks={"a": mask})
    found = paths(there_, {"a": mask}, generator)["a"] / 2**26
    link = mask.tolist()
    rows, columns = mask.sum(1).tolist(), mask.sum(0).tolist()
    for u, v in (~mask).nonzero().tolist():
        expected = sum(
            ((1 + columns[z]) * (1 + rows[y])) ** -0.5
            for z in range(6)
            for y in range(5)
            if link[u][z] and link[y][z] and link[y][v]
        )
        assert found[u, v] == pytest.approx(expected, abs=1e-3)


def test_relative_importance_by_hand():
    from lsh_native.pruning.score import relative_importance

    weights = torch.tensor([[3.0, -1], [0, 2]])
    there_ = Connections(weights={"a": weights}, masks={"a": weights != 0})
    scores = relative_importance(there_, there_.masks, torch.Generator())["a"]
    expected = torch.tensor([[3 / 4 + 1, 1 / 4 + 1 / 3], [0, 1 + 2 / 3]], dtype=torch.float64)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-8)


def test_soft_choices_follow_their_probabilities():
    made = method("soft_cannistraci_hebb", temperature=1.0, every=1).over(9)
    # |w| / row + |w| / column: with one row, 3 / 4 + 1 and 1 / 4 + 1; the higher stays more often
    before = there([3.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    stays = 0
    for _ in range(3000):
        survivors, _ = made.drop(before, {"a": 1}, {}, generator)
        stays += int(survivors["a"][0, 0])
    assert stays / 3000 == pytest.approx(1.75 / (1.75 + 1.25), abs=0.045)
    course = method("soft_cannistraci_hebb", every=1).drop.score.keywords["temperature"]
    assert (course(0.0), course(1.0)) == (1, 3)


def test_a_scored_start():
    scores = {"weight": row(3.0, 1.0, 2.0, 4.0)}
    made = thinning.static(first=GrowHighest(score=given(scores)))
    topology = Topology(Line(1, 1, 1, 1), made, density=0.5, seed=0)
    assert topology.masks()["weight"].int().tolist() == [[1, 0, 0, 1]]
    assert made.describe()["first"] == "GrowHighest(score=given, magnitude=False)"
    made = thinning.static(first=GrowHighest(score=given({})))
    with pytest.raises(ValueError, match=r"scores must be given for every matrix, got none of \["):
        Topology(nn.Linear(2, 2), made, density=1, seed=0)


def test_a_derived_method_takes_what_it_leaves_open():
    often = derived(rewiring.granet, every=7)(lambda *, wide=False: {"structure": FanIn()})
    made = often(initial_density=0.9)
    assert (made.schedule.every, made.schedule.density_at_begin) == (7, 0.9)
    assert (made.grow, made.structure) == (rewiring.granet().grow, FanIn())
    with pytest.raises(TypeError, match=r"must be told none of \['structure'\]"):
        often(structure=FanIn(), wide=True)


def test_hyper_parameters_may_be_courses():
    course = Cosine(0.6, 0.2)
    for name in ("dynamic", "rigl", "set", "selfish", "sparse_momentum", "granet", "mest"):
        made = method(name, drop_fraction=course, every=10, until=100).over(100)
        assert made.schedule.drop_fraction(50) == pytest.approx(0.4)
    number = method("rigl", drop_fraction=0.6, every=10, until=100).over(100)
    assert isinstance(number.schedule, CosineDrop)
    walk = method("deep_rewiring", shrink=0.0, noise=Linear(1.0, 0.0)).over(100)
    weights, _ = walk.follow(there([1.0] * 400), 100, {}, torch.Generator())
    assert "a" not in weights or torch.equal(weights["a"], row(*[1.0] * 400))


def test_a_method_of_ones_own_is_one_line():
    made = PruningMethod(
        schedule=Updates(fraction=0.5, every=1, until=9),
        drop=partial(rewiring.threshold, start=1.5),
        grow=random_growth,
        redistribute=rewiring.return_dropped,
    )
    assert sum(update(made, there([1, 2, 0, 0]), 1)[0]) == 2


# ------------------------------------------------------------------------------------ as in 2022


def test_the_program_of_2022_drops_the_most_negative():
    made = method("dynamic", drop="set", drop_fraction=0.5, every=1, compat="lsh2022").over(99)
    before = there([0.1, 5, 6, -0.2, -7, -8], density=1.0)
    survivors, _ = made.drop(before, {"a": 4}, {}, torch.Generator())
    assert survivors["a"].int().tolist() == [[0, 0, 1, 1, 0, 0]]


def test_the_program_of_2022_tosses_coins():
    counts = set()
    for seed in range(8):
        made = method("static", compat="lsh2022")
        topology = Topology(nn.Linear(40, 40), made, density=0.5, seed=seed)
        counts.add(sum(topology.counts().values()))
    assert len(counts) > 1
    assert all(abs(count - 800) < 5 * 20 for count in counts)


def test_the_program_of_2022_does_not_share_out_what_a_full_matrix_leaves():
    made = method("dynamic", initial="erdos_renyi", every=1, compat="lsh2022")
    sizes = {"a": torch.Size((2, 2)), "b": torch.Size((100, 100))}
    # ε = 0.33 · 10004 / 204: a would have 65 of 4
    assert made.initial(sizes, 0.33) == {"a": 4, "b": 3236}
    exact = method("dynamic", initial="erdos_renyi", every=1)
    assert sum(exact.initial(sizes, 0.33).values()) == 3301


def test_the_program_of_2022_runs():
    for drop in ("magnitude", "set", "threshold", "global_magnitude"):
        made = method("dynamic", drop=drop, drop_fraction=0.5, every=1, compat="lsh2022")
        model = nn.Linear(30, 30)
        topology = Topology(model, made, density=0.3, seed=0, steps=40)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(20):
            model.weight.grad = torch.randn(30, 30, generator=torch.Generator().manual_seed(1))
            optimizer.step()
            topology.step(optimizer)
            assert topology.counts()["weight"] == pytest.approx(270, abs=90)
    with pytest.raises(ValueError, match="compat must be 'lsh2022' or None, got 'lsh'"):
        method("static", compat="lsh")
