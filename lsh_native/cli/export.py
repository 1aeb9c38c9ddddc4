"""`lsh-native export`: a study or a model in a form that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lsh_native.cli.files import STORE
from lsh_native.nn.storage import compressed
from lsh_native.search import export as forms
from lsh_native.search.store import Store
from lsh_native.training import dense_state, load_model, model_state, write_onnx, write_tensors

__all__ = ["export"]

_OF_STUDIES = ("csv", "jsonl", "optuna")
_OF_MODELS = ("dense", "csr", "onnx")


def export(
    source: Path,
    output: Path,
    form: Literal["csv", "jsonl", "optuna", "dense", "csr", "onnx"] = "csv",
    what: Literal["trials", "epochs"] = "trials",
) -> None:
    """Writes a study as a table, or a model as plain safetensors or as ONNX.

    Args:
        source: a study's folder; for the forms of models, a model file that `train` or `search`
            wrote.
        output: file to write.
        form: of a study `csv`, `jsonl`, or `optuna`, a storage that `optuna-dashboard` shows, if
            Optuna is installed; of a model `dense`, weights by torch.nn's names with zeros where
            nothing is connected, `csr`, compressed sparse rows, or `onnx`, through the dense form,
            if the extra `onnx` is installed.
        what: of a study, a row for each trial, or for each epoch of each trial.
    """
    if form in _OF_MODELS:
        if source.is_dir():
            raise ValueError(f"a study is exported as {', '.join(_OF_STUDIES)}, got {form}")
        model = load_model(source).model
        if form == "onnx":
            write_onnx(output, model)
        else:
            state = dense_state(model) if form == "dense" else compressed(model_state(model))
            write_tensors(output, state)
    else:
        if source.is_file():
            raise ValueError(f"a model is exported as {', '.join(_OF_MODELS)}, got {form}")
        with Store(source / STORE, read_only=True) as store:
            if form == "optuna":
                forms.write_optuna(store, output)
            elif form == "csv":
                forms.write_csv(store, output, what)
            else:
                forms.write_jsonl(store, output, what)
    print(output)
