"""Scores of recurrent weights by what they do to the Jacobian of a step, before any training.

    χ = mean over time and samples of ln ‖J_t v_t‖,  v_(t+1) = J_t v_t / ‖J_t v_t‖
    score(w) = |w · ∂χ/∂w|, with all states and directions held fixed

J_t is the Jacobian of a step at time t, v_0 a random direction: χ is the growth that the leading
Lyapunov exponent averages, and a score is, to first order, what removing the weight changes in it.

Source: S. Zhang and B. Stadie, "One-shot pruning of recurrent neural networks by Jacobian spectrum
evaluation", 2019 (arXiv 1912.00120), for the idea; this score is ours.
"""

import torch
from torch import Tensor, nn

from lsh_native.cells import LSTM
from lsh_native.nn import SparseLSTM


def jacobian_sensitivity(
    lstm: nn.LSTM | SparseLSTM, inputs: Tensor, generator: torch.Generator, *, prefix: str = ""
) -> dict[str, Tensor]:
    """Score the input and recurrent weights of every layer of an LSTM.

    Args:
        lstm: A stack without projections, in one direction.
        inputs: What it is fed, (T, B, I); 64 samples of a few dozen steps will do.
        generator: Source of the directions, on the CPU.
        prefix: Put before the names of weights, as "recurrent." in a `LanguageModel`.

    Returns:
        Scores ≥ 0 of the shapes of the weights, by name, for
        `PruningMethod(first=GrowHighest(score=given(scores)))`.

    Raises:
        ValueError: The inputs do not fit, or the LSTM is of another kind.
    """
    if lstm.bidirectional or lstm.proj_size:
        raise ValueError("the LSTM must run in one direction and have no projection")
    if inputs.dim() != 3 or inputs.shape[2] != lstm.input_size or not inputs.shape[0]:
        raise ValueError(
            f"inputs must be (T, B, {lstm.input_size}) with a time step, got {tuple(inputs.shape)}"
        )
    scores = {}
    x = inputs.detach()
    for layer in range(lstm.num_layers):
        names = [f"weight_ih_l{layer}", f"weight_hh_l{layer}"]
        w_ih, w_hh = (getattr(lstm, name).detach().requires_grad_() for name in names)
        bias = x.new_zeros(4 * lstm.hidden_size)
        if lstm.bias:
            bias = sum(getattr(lstm, f"bias_{of}_l{layer}").detach() for of in ("ih", "hh"))
        growth, x = _growth(x, w_ih, w_hh, bias, generator)
        slopes = torch.autograd.grad(growth, (w_ih, w_hh))
        for name, weight, slope in zip(names, (w_ih, w_hh), slopes, strict=True):
            scores[prefix + name] = (weight * slope).detach().abs()
    return scores


def _growth(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """χ of one layer fed with x (T, B, I), and its outputs (T, B, H)."""
    state = x.new_zeros(2, x.shape[1], w_hh.shape[1])
    direction = torch.randn(state.shape, generator=generator, dtype=torch.float64).to(state)
    direction = direction / direction.norm(dim=(0, 2), keepdim=True)
    growth, outputs = x.new_zeros(()), []
    for input in x:
        here = state.requires_grad_()
        _, following = LSTM.step(here[0] @ w_hh.T, input @ w_ih.T + bias, here)
        # J v as the derivative of Jᵀ u by u: forward mode would load torch's script compiler
        probe = torch.zeros_like(following, requires_grad=True)
        (pulled,) = torch.autograd.grad(following, here, probe, create_graph=True)
        (moved,) = torch.autograd.grad(pulled, probe, direction, create_graph=True)
        length = moved.norm(dim=(0, 2), keepdim=True)
        growth = growth + length.log().mean() / len(x)
        state, direction = following.detach(), (moved / length).detach()
        outputs.append(state[0])
    return growth, torch.stack(outputs)
