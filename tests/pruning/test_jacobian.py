"""Scores by the Jacobian against finite differences of its definition."""

import pytest
import torch
from torch import nn

from lsh_native.cells import LSTM
from lsh_native.nn import SparseLSTM
from lsh_native.pruning import GrowHighest, PruningMethod, given
from lsh_native.pruning.jacobian import jacobian_sensitivity
from lsh_native.sparsity.topology import Topology

T, B, I, H = 3, 2, 3, 4  # noqa: E741


def plain_growth(lstm, x, seed, changed):
    """χ with explicit Jacobians; the states and directions are those of the unchanged weights."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn((2, B, H), generator=generator, dtype=torch.float64)
    v = v / v.norm(dim=(0, 2), keepdim=True)
    state, growth = torch.zeros(2, B, H, dtype=torch.float64), 0.0
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    for input in x:

        def step(state, w_ih, w_hh, input=input):
            return LSTM.step(state[0] @ w_hh.T, input @ w_ih.T + bias, state)[1]

        own = (lstm.weight_ih_l0.detach(), lstm.weight_hh_l0.detach())
        moved = {}
        for kind, weights in (("own", own), ("changed", changed)):
            jacobian = torch.autograd.functional.jacobian(
                lambda s, weights=weights: step(s, *weights), state
            )
            moved[kind] = torch.einsum("sbhtck,tck->sbh", jacobian, v)
        growth += float(moved["changed"].norm(dim=(0, 2)).log().mean()) / T
        state = step(state, *own).detach()
        v = moved["own"] / moved["own"].norm(dim=(0, 2), keepdim=True)
    return growth


def test_scores_are_weights_times_slopes():
    torch.manual_seed(0)
    lstm = nn.LSTM(I, H, dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64)
    scores = jacobian_sensitivity(lstm, x, torch.Generator().manual_seed(3), prefix="rnn.")
    assert scores.keys() == {"rnn.weight_ih_l0", "rnn.weight_hh_l0"}
    own = [lstm.weight_ih_l0.detach(), lstm.weight_hh_l0.detach()]
    for which, name in enumerate(("weight_ih_l0", "weight_hh_l0")):
        for place in ((0, 0), (5, 1), (11, 2), (15, 0)):
            sides = []
            for shift in (1e-5, -1e-5):
                changed = [weight.clone() for weight in own]
                changed[which][place] += shift
                sides.append(plain_growth(lstm, x, 3, changed))
            expected = abs(own[which][place] * (sides[0] - sides[1]) / 2e-5)
            assert scores[f"rnn.{name}"][place] == pytest.approx(float(expected), rel=1e-5)


def test_a_model_pruned_before_training():
    torch.manual_seed(0)
    lstm = SparseLSTM(I, H, num_layers=2)
    scores = jacobian_sensitivity(lstm, torch.randn(T, B, I), torch.Generator().manual_seed(0))
    assert scores.keys() == lstm.masks().keys()
    made = PruningMethod(first=GrowHighest(score=given(scores)))
    topology = Topology(lstm, made, density=0.25, seed=0)
    for name, mask in topology.masks().items():
        assert float(scores[name][mask].min()) >= float(scores[name][~mask].max())


@pytest.mark.parametrize(
    ("lstm", "shape", "message"),
    [
        (nn.LSTM(3, 4, bidirectional=True), (2, 2, 3), "must run in one direction"),
        (nn.LSTM(3, 4, proj_size=2), (2, 2, 3), "no projection"),
        (nn.LSTM(3, 4), (2, 3), r"inputs must be \(T, B, 3\) with a time step, got \(2, 3\)"),
        (nn.LSTM(3, 4), (0, 2, 3), "with a time step"),
    ],
)
def test_refuses(lstm, shape, message):
    with pytest.raises(ValueError, match=message):
        jacobian_sensitivity(lstm, torch.zeros(shape), torch.Generator())
