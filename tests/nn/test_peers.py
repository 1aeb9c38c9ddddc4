"""What torch's own LSTM cannot do, bare or pruned, as docs/layers.md says of it.

A failure here means that torch has learnt something, and that the table there wants a new line.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

I, H = 4, 6  # noqa: E741


def pruned() -> nn.LSTM:
    torch.manual_seed(0)
    return prune.random_unstructured(nn.LSTM(I, H), "weight_hh_l0", 0.5)


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch.compiler.reset()


def copied(lstm: nn.LSTM) -> Any:
    lstm(torch.randn(3, 2, I))[0].sum().backward()
    return copy.deepcopy(lstm)


def exported(lstm: nn.LSTM) -> Any:
    shapes = ({0: torch.export.Dim("steps", max=64)},)
    return torch.export.export(lstm, (torch.randn(5, 2, I),), dynamic_shapes=shapes)


FAILURES: dict[str, tuple[Callable[[], Any], str]] = {
    "copies after a pass, pruned": (lambda: copied(pruned()), "deepcopy protocol"),
    "one compiled graph": (
        lambda: torch.compile(nn.LSTM(I, H), fullgraph=True, backend="eager")(torch.ones(3, 2, I)),
        "(?i)rnn|lstm",
    ),
    "export for any length": (lambda: exported(nn.LSTM(I, H)), "Constraints violated"),
    "vmap": (
        lambda: torch.vmap(nn.LSTM(I, H))(torch.ones(4, 3, 2, I)),
        "Batching rule not implemented",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", FAILURES)
def test_torch_cannot(what: str) -> None:
    attempt, message = FAILURES[what]
    with pytest.raises(Exception, match=message):
        attempt()


def test_a_pruned_lstm_has_other_parameters() -> None:
    assert "weight_hh_l0" not in dict(pruned().named_parameters())
