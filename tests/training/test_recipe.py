"""A recipe: its ranges, its learning rate, its hash."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.models import StackedLSTM
from lsh_native.training.recipe import Recipe


def test_constant_learning_rate():
    recipe = Recipe(learning_rate=3, decay_start=1.0)
    assert [recipe.learning_rate_at(x) for x in (0, 0.5, 1)] == [3, 3, 3]


def test_half_constant_then_cosine():
    recipe = Recipe(learning_rate=20, decay_start=0.5, decay_floor=0.02)
    assert recipe.learning_rate_at(0) == recipe.learning_rate_at(0.5) == 20
    assert recipe.learning_rate_at(0.75) == pytest.approx(20 * 0.51)
    assert recipe.learning_rate_at(1) == pytest.approx(0.4)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_learning_rate_never_rises(start, floor, a, b):
    recipe = Recipe(learning_rate=2, decay_start=start, decay_floor=floor)
    early, late = (recipe.learning_rate_at(x) for x in sorted((a, b)))
    assert 2 * floor - 1e-12 <= late <= early <= 2


@pytest.mark.parametrize(
    ("tokens", "steps"), [(8, 1), (9, 1), (10, 2), (11, 2), (13, 2), (14, 2), (16, 3), (20, 3)]
)
def test_steps_per_epoch(tokens, steps):
    assert Recipe(batch_size=2, window=3).steps_per_epoch(tokens) == steps


def test_text_shorter_than_a_window():
    message = "at least 8 tokens, a window of 3 and one more in each of 2 columns, got 7"
    with pytest.raises(ValueError, match=message):
        Recipe(batch_size=2, window=3).steps_per_epoch(7)


def test_equal_recipes_share_a_hash():
    assert Recipe(learning_rate=20).hash == Recipe(learning_rate=20.0).hash
    assert Recipe(epochs=3).hash != Recipe(epochs=4).hash
    assert len(Recipe().hash) == 64


@given(st.integers(1, 100), st.floats(0, 0.99), st.none() | st.integers(1, 9))
def test_dict_is_the_way_back(size, dropout, nonmono):
    model = StackedLSTM(hidden_size=size, dropout=dropout)
    recipe = Recipe(model=model, optimizer="sgd", nonmono=nonmono)
    assert Recipe(**recipe.to_dict()) == recipe


def test_dtype():
    assert Recipe().torch_dtype is torch.float32
    assert Recipe(dtype="float64").torch_dtype is torch.float64


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_size", 0, "hidden_size must be at least 1, got 0"),
        ("nonmono", -1, "nonmono must be at least 1, got -1"),
        ("dropout", 1, r"dropout must be in \[0, 1\), got 1.0"),
        ("dropout", math.nan, r"dropout must be in \[0, 1\), got nan"),
        ("learning_rate", 0.0, "learning_rate must be positive and finite, got 0.0"),
        ("learning_rate", math.inf, "learning_rate must be positive and finite, got inf"),
        ("clip", -0.25, "clip must be positive and finite, got -0.25"),
        ("init_range", 0, "init_range must be positive and finite, got 0.0"),
        ("weight_decay", -1, "weight_decay must be zero or positive, and finite, got -1.0"),
        ("decay_start", 1.1, r"decay_start must be in \[0, 1\], got 1.1"),
        ("decay_floor", -0.1, r"decay_floor must be in \[0, 1\], got -0.1"),
        ("dtype", "float16", "dtype must be float32 or float64, got 'float16'"),
    ],
)
def test_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        Recipe().changed(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 2.0, "epochs must be an integer, got 2.0"),
        ("epochs", True, "epochs must be an integer, got True"),
        ("clip", "0.25", "clip must be a number, got '0.25'"),
        ("dropout", False, "dropout must be a number, got False"),
        ("tied", 1, "tied must be true or false, got 1"),
    ],
)
def test_wrong_type(field, value, message):
    with pytest.raises(TypeError, match=message):
        Recipe().changed(**{field: value})


def test_tied_needs_equal_sizes():
    assert StackedLSTM(embedding_size=8, hidden_size=8, tied=True).tied
    with pytest.raises(ValueError, match="embedding_size equal to hidden_size, got 8 and 9"):
        StackedLSTM(embedding_size=8, hidden_size=9, tied=True)
