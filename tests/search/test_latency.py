"""How long a token takes: in evaluation, with the masks of the model, which it leaves alone."""

import pytest
import torch

from lsh_native.models import StackedLSTM
from lsh_native.search.latency import token_milliseconds
from lsh_native.training import Recipe, draw_model


@pytest.mark.parametrize("training", [True, False])
def test_a_token_takes_time_and_changes_nothing(training):
    recipe = Recipe(model=StackedLSTM(hidden_size=8, embedding_size=8, dropout=0.5))
    model = draw_model(recipe, 20, seed=0).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert 0 < token_milliseconds(model) < 1000
    assert model.training is training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_more_units_take_longer():
    small, large = (
        draw_model(Recipe(model=StackedLSTM(hidden_size=size, embedding_size=8)), 20, seed=0)
        for size in (8, 512)
    )
    assert token_milliseconds(small) < token_milliseconds(large)
