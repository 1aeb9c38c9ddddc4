"""The plain definition of an LSTM stack, its dense Jacobians, and its spectrum by Householder.

Slow and obvious: every fast path is compared with this. A layer is a tuple (weight_ih, weight_hh,
bias_ih, bias_hh) with the shapes and the gate order of torch.nn.LSTM; a state is h followed by c.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

Layer = tuple[Tensor, Tensor, Tensor, Tensor]


def random_layers(
    generator: torch.Generator,
    sizes: Sequence[int],
    *,
    gain: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> list[Layer]:
    """Layers with Gaussian weights of standard deviation gain / √fan-in; sizes are (I, H, H, …)."""

    def draw(*shape: int, scale: float) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (scale * values).to(dtype)

    return [
        (
            draw(4 * hidden, width, scale=gain / width**0.5),
            draw(4 * hidden, hidden, scale=gain / hidden**0.5),
            draw(4 * hidden, scale=0.1),
            draw(4 * hidden, scale=0.1),
        )
        for width, hidden in pairwise(sizes)
    ]


def gates(layer: Layer, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Activations i, f, g, o, each (…, H), of inputs (…, I) and a state (…, 2H)."""
    weight_ih, weight_hh, bias_ih, bias_hh = layer
    hidden, _ = state.chunk(2, dim=-1)
    before = inputs @ weight_ih.mT + hidden @ weight_hh.mT + bias_ih + bias_hh
    i, f, g, o = before.chunk(4, dim=-1)
    return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()


def lstm_step(layer: Layer, inputs: Tensor, state: Tensor) -> Tensor:
    """The state (…, 2H) after a state (…, 2H) and inputs (…, I)."""
    i, f, g, o = gates(layer, inputs, state)
    cell = f * state.chunk(2, dim=-1)[1] + i * g
    return torch.cat([o * cell.tanh(), cell], dim=-1)


def trajectory(layer: Layer, inputs: Tensor, state: Tensor | None = None) -> Tensor:
    """All states (T + 1, B, 2H), the initial one first (zeros by default), for inputs (T, B, I)."""
    if state is None:
        state = inputs.new_zeros(inputs.shape[1], 2 * layer[1].shape[1])
    states = [state]
    for given in inputs:
        states.append(lstm_step(layer, given, states[-1]))
    return torch.stack(states)


def layer_jacobians(layer: Layer, inputs: Tensor, states: Tensor) -> Tensor:
    """∂state' / ∂state of one layer, (T, B, 2H, 2H), by automatic differentiation."""
    jacobian = torch.func.jacrev(lambda state, given: lstm_step(layer, given, state))
    return torch.func.vmap(torch.func.vmap(jacobian))(states[:-1], inputs)


def stack_jacobians(layers: Sequence[Layer], inputs: Tensor) -> list[Tensor]:
    """`layer_jacobians` of every layer of a stack that starts at zero."""
    jacobians = []
    for layer in layers:
        states = trajectory(layer, inputs)
        jacobians.append(layer_jacobians(layer, inputs, states))
        inputs = states[1:].chunk(2, dim=-1)[0]
    return jacobians


def stack_step(layers: Sequence[Layer], inputs: Tensor, state: Tensor) -> Tensor:
    """One step of a whole stack; the state is that of the layers one after another."""
    states = []
    for layer, part in zip(
        layers, state.split([2 * layer[1].shape[1] for layer in layers], dim=-1), strict=True
    ):
        states.append(lstm_step(layer, inputs, part))
        inputs = states[-1].chunk(2, dim=-1)[0]
    return torch.cat(states, dim=-1)


def joint_jacobians(layers: Sequence[Layer], inputs: Tensor) -> Tensor:
    """∂state' / ∂state of a whole stack that starts at zero, (T, B, n, n), layers mixed."""
    state = inputs.new_zeros(inputs.shape[1], sum(2 * layer[1].shape[1] for layer in layers))
    jacobian = torch.func.jacrev(lambda state, given: stack_step(layers, given, state))
    jacobians = []
    for given in inputs:
        jacobians.append(torch.func.vmap(jacobian)(state, given))
        state = stack_step(layers, given, state)
    return torch.stack(jacobians)


def log_determinants(layer: Layer, inputs: Tensor, states: Tensor) -> Tensor:
    """ln |det ∂state' / ∂state|, (T, B), in closed form.

    ln |det U_o| + Σ_j [ ln |tanh c'_j| + ln o_j (1 - o_j) + ln f_j ]
    """
    hidden = layer[1].shape[1]
    _, f, _, o = gates(layer, inputs, states[:-1])
    cell = states[1:].chunk(2, dim=-1)[1]
    pointwise = cell.tanh().abs().log() + (o * (1 - o)).log() + f.log()
    return torch.linalg.slogdet(layer[1][3 * hidden :])[1] + pointwise.sum(dim=-1)


def householder(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Q (n, K) and R (K, K) with a positive diagonal, of a matrix (n, K), one reflection a time."""
    size, count = matrix.shape
    triangle, basis = matrix.clone(), torch.eye(size, dtype=matrix.dtype)
    for column in range(count):
        normal = triangle[column:, column].clone()
        normal[0] += torch.copysign(normal.norm(), normal[0])
        if normal.norm() > 0:
            normal /= normal.norm()
            triangle[column:] -= 2 * torch.outer(normal, normal @ triangle[column:])
            basis[:, column:] -= 2 * torch.outer(basis[:, column:] @ normal, normal)
    signs = torch.where(triangle.diagonal() < 0, -1.0, 1.0).to(matrix.dtype)
    return basis[:, :count] * signs, triangle[:count] * signs[:, None]


def log_growth(jacobians: Tensor, tangent: Tensor) -> Tensor:
    """ln R_jj of Q ← J_t Q at every step, (T, K), for Jacobians (T, n, n) and a start (n, K)."""
    growth = []
    for jacobian in jacobians:
        tangent, triangle = householder(jacobian @ tangent)
        growth.append(triangle.diagonal().log())
    return torch.stack(growth)
