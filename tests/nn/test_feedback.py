"""FeedbackRNN: beside its definition and the ordinary stack; masked, trained, pruned by lattice."""

import pytest
import torch
from torch import nn

from lsh_native.cells import ELMAN, GRU, LSTM, RHN
from lsh_native.nn import FeedbackRNN
from lsh_native.pruning import CubicDensity, PruningMethod
from lsh_native.pruning.lattice import lattice_drop, wiring
from lsh_native.sparsity.topology import Topology

T, B, I, H, L = 6, 3, 4, 5, 3  # noqa: E741


CELLS = (LSTM, GRU, ELMAN, RHN)
every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


def layer(cell=LSTM, **options):
    torch.manual_seed(0)
    return FeedbackRNN(I, H, L, cell=cell, dtype=torch.float64, **options)


def sequence():
    return torch.randn(T, B, I, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def definition(module, x):
    """Layer by layer, with dense masked weights, from zero states."""
    weight = {name: module.masked_weight(name) for name in module.maskable}
    bias = dict(module.named_parameters())
    states = [x.new_zeros(len(module.cell.states), B, H) for _ in range(L)]
    outputs = []
    for below in x:
        before = [state[0] for state in states]
        for k in range(L):
            projected = below @ weight[f"weight_ih_l{k}"].T + bias[f"bias_ih_l{k}"]
            recurrent = before[k] @ weight[f"weight_hh_l{k}"].T + bias[f"bias_hh_l{k}"]
            if k + 1 < L:
                recurrent = recurrent + before[k + 1] @ weight[f"weight_fb_l{k}"].T
            _, states[k] = module.cell.step(recurrent, projected, states[k])
            below = states[k][0]
        outputs.append(below)
    return torch.stack(outputs), torch.stack(states, 1)


@every_cell
@pytest.mark.parametrize("density", [1.0, 0.4])
def test_definition_and_gradients(cell, density, tolerance):
    module, x = layer(cell, density=density), sequence()
    found, expected = module(x), definition(module, x)
    torch.testing.assert_close(found, expected, **tolerance(x.dtype))
    weights = list(module.parameters())
    for one, other in zip(
        torch.autograd.grad(found[0].square().sum(), weights),
        torch.autograd.grad(expected[0].square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other, **tolerance(x.dtype))


def test_without_feedback_it_is_the_ordinary_stack(tolerance):
    module, x = layer(), sequence()
    with torch.no_grad():
        for k in range(L - 1):
            module.get_parameter(f"weight_fb_l{k}").zero_()
    dense = nn.LSTM(I, H, L, dtype=torch.float64)
    dense.load_state_dict({n: w for n, w in module.state_dict().items() if "_fb_" not in n})
    output, (h, c) = dense(x)
    torch.testing.assert_close(module(x), (output, torch.stack([h, c])), **tolerance(x.dtype))


def test_feedback_arrives_one_step_later():
    """What the top layer starts with reaches the next one at step 0, and the lowest at step 1."""
    module, x = layer(ELMAN), sequence()
    state = torch.zeros(1, L, B, H, dtype=torch.float64, requires_grad=True)
    only_feedback = {
        name: torch.full_like(mask, name.startswith("weight_fb"))
        for name, mask in module.masks().items()
    }
    module.set_masks(only_feedback)
    reached = []
    for steps in (1, 2, 3):
        _, final = module(x[:steps], state)
        reached.append(
            [
                bool(
                    torch.autograd.grad(final[0, k].sum(), state, retain_graph=True)[0][0, 2].any()
                )
                for k in range(L)
            ]
        )
    assert reached == [[False, True, False], [True, False, False], [False, False, False]]


def test_a_sequence_in_two_parts(tolerance):
    module, x = layer(density=0.5), sequence()
    whole, final = module(x)
    first, state = module(x[:2])
    second, end = module(x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, **tolerance(x.dtype))
    torch.testing.assert_close(end, final, **tolerance(x.dtype))


def test_batch_first():
    module, x = layer(), sequence()
    output, _ = module(x)
    module.batch_first = True
    assert torch.equal(module(x.transpose(0, 1))[0], output.transpose(0, 1))


@every_cell
def test_each_connection_can_be_masked(cell):
    module = layer(cell, density=0.5)
    kinds = {name.rsplit("_", 1)[0] for name in module.maskable}
    assert kinds == {"weight_ih", "weight_hh", "weight_fb"}
    assert len(module.maskable) == 3 * L - 1
    module.gradient = "dense"
    module(sequence())[0].square().sum().backward()
    for name, mask in module.masks().items():
        assert int(mask.sum()) == round(0.5 * mask.numel())
        assert module.get_parameter(name).grad[~mask].any()


def test_it_learns_under_a_lattice_and_ends_at_its_density():
    """The sign of the first input, five steps later."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"rnn": FeedbackRNN(1, 16, 2), "head": nn.Linear(16, 2)})
    wires = wiring({n: w.shape for n, w in model["rnn"].named_parameters() if w.dim() == 2})
    assert wires["weight_fb_l0"].source == wires["weight_ih_l1"].target
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    method = PruningMethod(drop=lattice_drop, schedule=CubicDensity(every=5, until=60))
    topology = Topology(model, method, density=0.3, seed=0, include=["rnn.*"])
    losses = []
    for _ in range(120):
        x = torch.randn(5, 32, 1)
        logits = model["head"](model["rnn"](x)[0][-1])
        loss = nn.functional.cross_entropy(logits, (x[0, :, 0] > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        topology.step(optimizer)
        losses.append(float(loss.detach()))
    assert topology.density() == pytest.approx(0.3, abs=1e-3)
    # chance is 0.69; how far below it ends hangs on which connections the last bits let stay
    assert sum(losses[-10:]) / 10 < 0.5 < sum(losses[:10]) / 10


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hidden_size": 0}, ValueError, "hidden_size must be at least 1, got 0"),
        ({"num_layers": 2.0}, TypeError, "num_layers must be an int, got float"),
        ({"density": 1.5}, ValueError, r"density must be in \[0, 1\], got 1.5"),
    ],
)
def test_refuses_options(options, error, message):
    with pytest.raises(error, match=message):
        FeedbackRNN(**{"input_size": I, "hidden_size": H} | options)


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        (torch.zeros(T, B, I + 1), None, "the last one input_size 4, got shape"),
        (torch.zeros(T, I), None, "input must have 3 dimensions"),
        (torch.zeros(0, B, I), None, "at least one time step"),
        (torch.zeros(T, B, I).double(), None, "input must be torch.float32 on cpu"),
        (torch.zeros(T, B, I), torch.zeros(2, 2, B, H + 1), r"state must be .* \(2, 2, 3, 5\)"),
    ],
)
def test_refuses_input(x, state, message):
    with pytest.raises(ValueError, match=message):
        FeedbackRNN(I, H)(x, state)
