"""The models of the papers from their equations, step by step in plain torch.

Dropout draws its masks from torch's global generator where a model is said to draw them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import dropout, one_hot

from lsh_native.models import AWDLSTM, RHN, Model

Weights = Mapping[str, Tensor]
Step = Callable[[Tensor, list[Tensor]], list[Tensor]]


def locked(x: Tensor, p: float) -> Tensor:
    return x * dropout(torch.ones_like(x[0]), p) if p > 0 else x


def lstm(w: Weights, name: str, suffix: str, p: float = 0.0) -> Step:
    U = dropout(w[f"{name}.weight_hh_{suffix}"], p) if p > 0 else w[f"{name}.weight_hh_{suffix}"]

    def step(x: Tensor, state: list[Tensor]) -> list[Tensor]:
        h, c = state
        a = x @ w[f"{name}.weight_ih_{suffix}"].T + h @ U.T
        i, f, g, o = (a + w[f"{name}.bias_ih_{suffix}"] + w[f"{name}.bias_hh_{suffix}"]).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return [o.sigmoid() * c.tanh(), c]

    return step


def gru(w: Weights, name: str, suffix: str) -> Step:
    def step(x: Tensor, state: list[Tensor]) -> list[Tensor]:
        [h] = state
        a = (x @ w[f"{name}.weight_ih_{suffix}"].T + w[f"{name}.bias_ih_{suffix}"]).chunk(3, 1)
        b = (h @ w[f"{name}.weight_hh_{suffix}"].T + w[f"{name}.bias_hh_{suffix}"]).chunk(3, 1)
        r, z = (a[0] + b[0]).sigmoid(), (a[1] + b[1]).sigmoid()
        return [(1 - z) * (a[2] + r * b[2]).tanh() + z * h]

    return step


def elman(w: Weights, name: str, suffix: str) -> Step:
    def step(x: Tensor, state: list[Tensor]) -> list[Tensor]:
        a = x @ w[f"{name}.weight_ih_{suffix}"].T + w[f"{name}.bias_ih_{suffix}"]
        return [
            (
                a + state[0] @ w[f"{name}.weight_hh_{suffix}"].T + w[f"{name}.bias_hh_{suffix}"]
            ).tanh()
        ]

    return step


def highway(w: Weights, model: RHN, batch: int) -> Step:
    scale = dropout(torch.ones(batch, model.hidden_size, dtype=torch.float64), model.state_dropout)

    def step(x: Tensor, state: list[Tensor]) -> list[Tensor]:
        [s] = state
        for d in range(model.depth):
            a = (s * scale) @ w[f"recurrent.weight_hh_l0_d{d}"].T + w[f"recurrent.bias_l0_d{d}"]
            if d == 0:
                a = a + x @ w["recurrent.weight_ih_l0"].T
            h, t = a.chunk(2, 1)
            h, t = h.tanh(), t.sigmoid()
            s = h * t + s * (1 - t)
        return [s]

    return step


def unroll(step: Step, x: Tensor, states: int, width: int) -> Tensor:
    state = [x.new_zeros(x.shape[1], width) for _ in range(states)]
    outputs = []
    for now in x:
        state = step(now, state)
        outputs.append(state[0])
    return torch.stack(outputs)


def probabilities(model: Model, w: Weights, ids: Tensor) -> Tensor:
    """Log-probabilities (T, B, V) of the next tokens in training, from a state of zeros."""
    table = w["embedding.weight"]
    x = one_hot(ids, len(table)).double() @ table
    if isinstance(model, RHN):
        if model.embedding_dropout > 0:
            x = x * dropout(x.new_ones(len(table), 1), model.embedding_dropout)[ids]
        x = locked(x, model.input_dropout)
        x = unroll(highway(w, model, ids.shape[1]), x, 1, model.hidden_size)
        x = locked(x, model.output_dropout)
    elif isinstance(model, AWDLSTM):
        if model.embedding_dropout > 0:
            x = x * dropout(x.new_ones(len(table), 1), model.embedding_dropout)[ids]
        x = locked(x, model.input_dropout)
        for i, size in enumerate(model.hidden_sizes):
            x = locked(x, model.layer_dropout) if i else x
            x = unroll(lstm(w, f"recurrent.layers.{i}", "l0", model.weight_dropout), x, 2, size)
        x = locked(x, model.output_dropout)
        if model.experts:
            return mixture(model, w, x)
    else:
        cell, states = {"lstm": (lstm, 2), "gru": (gru, 1), "rnn": (elman, 1)}[model.family]
        x = dropout(x, model.dropout)
        for i in range(model.num_layers):
            x = dropout(x, model.dropout) if i else x
            x = unroll(cell(w, "recurrent", f"l{i}"), x, states, model.hidden_size)
        x = dropout(x, model.dropout)
    decoder = w.get("decoder.weight", table)
    return (x @ decoder.T + w["decoder.bias"]).log_softmax(-1)


def mixture(model: AWDLSTM, w: Weights, x: Tensor) -> Tensor:
    latent = (x @ w["decoder.latent.weight"].T + w["decoder.latent.bias"]).tanh()
    latent = locked(latent, model.latent_dropout)
    prior = (x @ w["decoder.prior.weight"].T).softmax(-1)
    output = w.get("decoder.output.weight", w["embedding.weight"])
    total = torch.zeros((), dtype=x.dtype)
    for k, expert in enumerate(latent.chunk(model.experts, -1)):
        softmax = (expert @ output.T + w["decoder.output.bias"]).softmax(-1)
        total = total + prior[..., k, None] * softmax
    return total.log()
