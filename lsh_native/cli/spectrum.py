"""`lsh-native spectrum`: the Lyapunov spectrum of a trained model, as JSON and as a figure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lsh_native.cli.data import DataSettings, load_corpus
from lsh_native.cli.threads import use_threads
from lsh_native.data import evaluation_columns
from lsh_native.lyapunov import Spectrum, lyapunov_spectrum
from lsh_native.report import plots
from lsh_native.report.view import Role
from lsh_native.training import load_model, replace_file

__all__ = ["spectrum"]


def spectrum(
    model: Path,
    data: Path | None = None,
    output: Path = Path("spectrum.json"),
    k: int | None = None,
    steps: int = 200,
    sequences: int = 4,
    state_warmup: int = 20,
    tangent_warmup: int = 20,
    until: float | None = None,
    dtype: Literal["float32", "float64"] = "float64",
    reference: Literal["lsh2022"] | None = None,
    text: DataSettings = DataSettings(),  # noqa: B008 - frozen
    threads: int | None = None,
) -> None:
    """Takes the Lyapunov spectrum of a model along the validation text.

    Args:
        model: a model file that `train` or `search` wrote.
        data: folder with the text it was trained on; without it the generated text.
        output: JSON file to write; a figure goes beside it as SVG.
        k: leading exponents of each layer; all by default.
        steps: time steps that are averaged.
        sequences: windows side by side.
        state_warmup: steps before for the state alone.
        tangent_warmup: steps between the two for the tangent vectors.
        until: standard error at which to stop before all steps are done; each exponent's must be
            as small.
        dtype: precision to compute in.
        reference: `lsh2022` for the published convention.
        text: how the text becomes tokens.
        threads: threads to compute on; torch's choice by default.
    """
    options = dict(locals())
    if output.suffix == ".svg":
        raise ValueError(f"output must name a JSON file, beside which the SVG goes, got {output}")
    if reference:
        _refuse_fixed(reference, options)
    use_threads(threads)
    saved = load_model(model)
    corpus = load_corpus(data, text, saved.vocabulary)
    saved.require_vocabulary(corpus.vocabulary, corpus.name)
    if sequences < 1:
        raise ValueError(f"sequences must be at least 1, got {sequences}")
    columns = evaluation_columns(corpus.valid, sequences)[:-1]  # the last row is a target alone
    needed = 35 if reference else state_warmup + tangent_warmup + steps
    if len(columns) < needed:
        raise ValueError(
            f"the validation text must give {needed} steps for each of {sequences} sequences, "
            f"got {len(columns)}"
        )
    precision = getattr(torch, dtype)
    if reference:
        found = lyapunov_spectrum(
            saved.language_model, columns[:needed], dtype=precision, reference=reference
        )
    else:
        found = lyapunov_spectrum(
            saved.language_model,
            columns[:needed],
            k=k,
            state_warmup=state_warmup,
            tangent_warmup=tangent_warmup,
            until=until,
            dtype=precision,
        )
    record = replace(found, history=None, history_steps=()).to_dict()
    replace_file(output, f"{json.dumps(record, indent=1, allow_nan=False)}\n".encode())
    figure = output.with_suffix(".svg")
    replace_file(figure, _draw(found).encode())
    print(f"{output} and {figure}: {len(found.exponents)} exponents over {found.steps} steps")
    print(f"largest exponent {found.largest:+.4f}, {found.collapsed} of them -inf")
    if found.fallbacks or found.breakdowns:
        print(f"{found.fallbacks} intervals broken up, {found.breakdowns} factors broken down")
    if found.convention.reference is None and math.isfinite(found.largest) and k is None:
        print(f"Kaplan-Yorke dimension {found.kaplan_yorke_dimension:.3f}")


def _refuse_fixed(reference: str, options: Mapping[str, Any]) -> None:
    """Refuses options that the published convention does not read."""
    for name in ("k", "steps", "state_warmup", "tangent_warmup", "until"):
        default = signature(spectrum).parameters[name].default
        if options[name] != default:
            raise ValueError(
                f"{name} must be left to {reference}, which fixes it, got {options[name]}"
            )


def _draw(spectrum: Spectrum) -> str:
    """The exponents of each layer over their index, with a band of one standard error, as SVG."""
    errors = spectrum.standard_errors
    bands = [None] * len(spectrum.layers) if errors is None else spectrum.split(errors)
    return plots.to_svg(
        plots.spectrum(
            [
                plots.Curve(
                    label=f"layer {index}",
                    role=Role.FINISHED,
                    x=np.arange(1, len(layer) + 1),
                    y=layer,
                    error=band,
                )
                for index, (layer, band) in enumerate(zip(spectrum.layers, bands, strict=True), 1)
            ],
            title="Lyapunov exponents, nats per time step"
            if spectrum.convention.base == "nat"
            else "Lyapunov exponents, bits per time step",
        )
    )
