"""A model in which each sparse layer has become torch's own, for exporters and other programs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from lsh_native.nn.sparse_module import SparseModule

__all__ = ["dense_form"]

Model = TypeVar("Model", bound=nn.Module)

# what a stack does in training alone and torch's has no word for
_IN_TRAINING = ("weight_dropout", "input_dropout", "output_dropout", "state_dropout")


def dense_form(model: Model) -> Model:
    """A copy in evaluation mode with dense layers, zeros where there is no connection.

    Every sparse layer in the model, which is none itself, becomes what its `to_dense()` gives.
    Parameters keep their names, and those that were one tensor are one tensor again.

    Args:
        model: any that calls its sparse layers as it would call torch's.

    Raises:
        ValueError: a layer holds states by zoneout, which torch's cannot.
    """
    result = copy.deepcopy(model).eval()
    for name, layer in list(result.named_modules()):
        if isinstance(layer, SparseModule):
            for option in _IN_TRAINING:
                if hasattr(layer, option):
                    setattr(layer, option, 0.0)
            dense: Any = layer
            parent, _, child = name.rpartition(".")
            setattr(result.get_submodule(parent), child, dense.to_dense())
    _share(result, _first_names(model))
    return result


def _first_names(model: nn.Module) -> dict[str, str]:
    """For each parameter that has a name already, that name."""
    seen: dict[int, str] = {}
    first = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if seen.setdefault(id(parameter), name) != name:
            first[name] = seen[id(parameter)]
    return first


def _share(model: nn.Module, first: Mapping[str, str]) -> None:
    for name, other in first.items():
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, model.get_parameter(other))
