"""A model as an ONNX file, through its dense form."""

from __future__ import annotations

import io
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lsh_native.nn import DenseRHN, LanguageModel, SequenceClassifier, dense_form
from lsh_native.training.checkpoint import replace_file

__all__ = ["write_onnx"]


class _Predictor(nn.Module):
    """Tokens and the parts of a state, one by one, to log-probabilities and the parts after."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        logits, after = self.model(tokens, state)
        return logits.log_softmax(-1), *after


def write_onnx(path: str | os.PathLike[str], model: LanguageModel | SequenceClassifier) -> None:
    """Writes a model that any program with ONNX can run.

    Inputs are `tokens`, int64 (T, B), and the state as `state_0`, `state_1`, …, each (…, B, H) and
    all zeros at the beginning of a text; outputs are `log_probabilities` (T, B, V) of each next
    token, in nats, and the state after the last as `next_state_0` and so on. B may be any number,
    and so may T, but for recurrent highways: ONNX has no operator for them, so a call takes one
    step, T = 1. A classifier takes `rows` (T, B, I) and gives `log_probabilities` (B, classes).

    Args:
        path: the file.
        model: is left as it is.

    Raises:
        ValueError: the extra `onnx` is not installed, or a layer has no dense form.
        OSError: the file could not be written; an older one is kept.
    """
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise ValueError("ONNX must be installed: pip install 'lsh-native[onnx]'")
    dense: Any = dense_form(model).cpu()
    if isinstance(dense, SequenceClassifier):
        rows = torch.zeros(3, 2, dense.recurrent.input_size, dtype=dense.decoder.weight.dtype)
        _write(
            path,
            nn.Sequential(dense, nn.LogSoftmax(-1)),
            (rows,),
            ["rows"],
            ["log_probabilities"],
            {"rows": {0: "T", 1: "B"}, "log_probabilities": {0: "B"}},
        )
        return
    one_step = any(isinstance(module, DenseRHN) for module in dense.modules())
    B, T = 2, 1 if one_step else 3
    tokens = torch.zeros(T, B, dtype=torch.int64)
    with torch.no_grad():
        state = tuple(map(torch.zeros_like, dense(tokens)[1]))
    states = [f"state_{i}" for i in range(len(state))]
    outputs = [f"next_{name}" for name in states]
    axes: dict[str, dict[int, str]] = {name: {state[0].dim() - 2: "B"} for name in states + outputs}
    for name in ("tokens", "log_probabilities"):
        axes[name] = {1: "B"} if one_step else {0: "T", 1: "B"}
    names = ["tokens", *states], ["log_probabilities", *outputs]
    _write(path, _Predictor(dense), (tokens, *state), *names, axes)


def _write(
    path: str | os.PathLike[str],
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    file: Any = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of what is its own to change
        torch.onnx.export(
            model,
            inputs,
            file,
            input_names=input_names,
            output_names=output_names,
            dynamic_axes=axes,
            dynamo=False,  # which knows ONNX's own recurrent operators, so that T stays open
        )
    replace_file(Path(path), file.getvalue())
