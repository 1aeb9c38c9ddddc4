"""The published convention of 2022: hidden state only, transposed Jacobians, bits, not sorted.

With i, f, g, o the activations of the gates, U_x the recurrent weights of gate x, and the cell
state c held fixed,

    ∂h'/∂h = diag(d · g · i (1 - i)) U_i + diag(d · c · f (1 - f)) U_f + diag(d · i (1 - g²)) U_g
           + diag(tanh c' · o (1 - o)) U_o   with   d = o (1 - tanh² c').

This is for comparison with published numbers. It is not the Lyapunov spectrum of an LSTM: the
memory in the cell state is left out, and the transposes are multiplied forward in time.

Source: the program of Zheng and Shlizerman, "Hyperpruning" (arXiv 2506.07975).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lsh_native.lyapunov.convention import Convention
from lsh_native.lyapunov.distance import IncomparableSpectraError
from lsh_native.lyapunov.finite import NonFiniteTangentError, require_finite
from lsh_native.lyapunov.qr_growth import QRGrowth
from lsh_native.lyapunov.spectrum import Spectrum
from lsh_native.lyapunov.standard_error import standard_errors
from lsh_native.lyapunov.tangent import TangentFlow, identity_tangent

LSTMLayer = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""weight_ih (4H, I), weight_hh (4H, H), bias_ih and bias_hh (4H), gates as in `torch.nn.LSTM`."""

LSH2022 = Convention(
    state="hidden", order="transposed", base="2", sorted=False, reference="lsh2022"
)
STEPS = 35
WARMUP = 10


class TransposedHiddenMap:
    """The maps Q ← (∂h'/∂h)ᵀ Q of one LSTM layer along its trajectory from the zero state.

    Args:
        layer: weights of the layer.
        inputs: what the layer is fed, (T, B, I).
    """

    def __init__(self, layer: LSTMLayer, inputs: Tensor) -> None:
        weight_ih, weight_hh, bias_ih, bias_hh = layer
        self.steps, self.batch, _ = inputs.shape
        self.size = weight_hh.shape[1]
        self.dtype, self.device = inputs.dtype, inputs.device
        self._weights = weight_hh.reshape(4, self.size, self.size)

        driven = inputs @ weight_ih.T
        for bias in (bias_ih, bias_hh):
            if bias is not None:
                driven = driven + bias
        hidden = cell = inputs.new_zeros(self.batch, self.size)
        outputs, slopes = [], []
        for drive in driven:
            i, f, g, o = (drive + hidden @ weight_hh.T).chunk(4, dim=1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            previous, cell = cell, f * cell + i * g
            squashed = cell.tanh()
            hidden = o * squashed
            through_cell = o * (1 - squashed**2)
            outputs.append(hidden)
            slopes.append(
                torch.stack(
                    [
                        through_cell * g * i * (1 - i),
                        through_cell * previous * f * (1 - f),
                        through_cell * i * (1 - g**2),
                        squashed * o * (1 - o),
                    ]
                )
            )
        self.outputs = torch.stack(outputs)
        self._slopes = torch.stack(slopes)

    def apply(self, time: int, tangent: Tensor) -> Tensor:
        """The product (∂h'/∂h)ᵀ · tangent, (B, H, K) to (B, H, K)."""
        jacobian = torch.einsum("gbi,gij->bij", self._slopes[time], self._weights)
        return jacobian.mT @ tangent


@torch.no_grad()
def lsh2022_spectrum(
    layers: Sequence[LSTMLayer],
    inputs: Tensor,
    *,
    steps: int = STEPS,
    warmup: int = WARMUP,
) -> Spectrum:
    """The spectrum of a stack of LSTM layers in the convention of the published program.

    All states start at zero. The first `warmup` inputs move states and tangent vectors, which are
    orthonormalised once, at their end. Then all `steps` inputs are fed, the warm-up ones a second
    time, with the states carried on. The transposed Jacobian of the stack is block-triangular and
    the start is the identity, so working layer by layer gives the very numbers of the joint
    computation.

    Only exact zeros on the diagonal of R give -inf, and they turn the vector itself into zero for
    the rest of the run, as in the program.

    Args:
        layers: `(weight_ih, weight_hh, bias_ih, bias_hh)` of each layer from the bottom up, dense,
            zero where masked, gates in the order i, f, g, o.
        inputs: embedded tokens, (T, B, I) with T >= steps. Further ones are not used.
        steps: how many steps are averaged, 35 as published.
        warmup: how many are fed twice, 10 as published.

    Returns:
        Exponents in bits per step, H per layer, in the order of the tangent vectors, float64.

    Raises:
        ValueError: the shapes do not fit, there are too few inputs, or a number is not finite (says
            where).
    """
    if not 0 <= warmup <= steps or steps < 1:
        raise ValueError(
            "warmup must be in [0, steps] and steps at least 1, "
            f"got warmup {warmup} and steps {steps}"
        )
    _check(layers, inputs, steps)
    fed = torch.cat([inputs[:warmup], inputs[:steps]])
    flows = []
    for layer in layers:
        maps = TransposedHiddenMap(layer, fed)
        flow = TangentFlow(maps, identity_tangent(maps, maps.size), _published_qr)
        for time in range(warmup):
            flow.step(time)
        flow.orthonormalize(counted=False)
        for time in range(warmup, warmup + steps):
            flow.step(time)
            flow.orthonormalize()
        flows.append(flow)
        fed = maps.outputs
    growth = torch.cat([flow.log_growth for flow in flows], dim=1).numpy(force=True)
    sequences = growth / (steps * np.log(2))
    sizes = tuple(flow.maps.size for flow in flows)
    return Spectrum(
        sequences=sequences,
        layer_sizes=sizes,
        state_sizes=sizes,
        convention=LSH2022,
        steps=steps,
        tangent_warmup=warmup,
        dtype=str(inputs.dtype).removeprefix("torch."),
        standard_errors=standard_errors(sequences) if len(sequences) > 1 else None,
        error_samples=len(sequences),
    )


def lsh2022_distance(spectrum: Spectrum, dense: Spectrum) -> float:
    """The published distance: Euclidean over all exponents in their order, after -inf is set to 0.

    Setting -inf to 0 makes a direction that vanishes look like one that is conserved. That is what
    was published; `distance` does not do it.

    Raises:
        IncomparableSpectraError: a spectrum is of another convention, or their layers differ in
            size.
    """
    for given in (spectrum, dense):
        if given.convention != LSH2022:
            raise IncomparableSpectraError(
                f"both spectra must follow {LSH2022}, got {given.convention}"
            )
    if spectrum.layer_sizes != dense.layer_sizes:
        raise IncomparableSpectraError(
            f"both spectra must have the same layers, got {spectrum.layer_sizes} "
            f"and {dense.layer_sizes} exponents"
        )
    left, right = (np.where(np.isneginf(e.exponents), 0.0, e.exponents) for e in (spectrum, dense))
    return float(np.linalg.norm(left - right))


def _published_qr(tangent: Tensor) -> QRGrowth:
    """The columns times sign(R_jj), where sign(0) is 0."""
    require_finite(
        "tangent vectors", tangent, ("sequence", "coordinate", "vector"), NonFiniteTangentError
    )
    basis, triangle = torch.linalg.qr(tangent)
    diagonal = triangle.diagonal(dim1=-2, dim2=-1)
    growth = diagonal.abs().double().log()
    gone = growth.isneginf()
    unknown = torch.full((len(tangent),), torch.inf, dtype=torch.float64, device=tangent.device)
    return QRGrowth(
        basis * diagonal.sign().unsqueeze(-2),
        growth,
        gone,
        unknown,
        torch.zeros_like(unknown).bool(),
    )


def _check(layers: Sequence[LSTMLayer], inputs: Tensor, steps: int) -> None:
    if inputs.dim() != 3 or not inputs.is_floating_point() or inputs.numel() == 0:
        raise ValueError(
            "inputs must be embedded tokens, a floating-point tensor of shape (T, B, I), "
            f"got {inputs.dtype} of shape {tuple(inputs.shape)}"
        )
    if len(inputs) < steps:
        raise ValueError(f"inputs must have at least {steps} time steps, got {len(inputs)}")
    if not layers:
        raise ValueError("layers must be at least one, got none")
    require_finite("inputs", inputs, ("time step", "sequence", "coordinate"))
    width = inputs.shape[2]
    for index, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(layers):
        hidden = weight_hh.shape[-1]
        for name, value, shape in (
            ("weight_ih", weight_ih, (4 * hidden, width)),
            ("weight_hh", weight_hh, (4 * hidden, hidden)),
            ("bias_ih", bias_ih, (4 * hidden,)),
            ("bias_hh", bias_hh, (4 * hidden,)),
        ):
            if value is None:
                continue
            name = f"{name} of layer {index}"
            if value.shape != shape or value.dtype != inputs.dtype or value.device != inputs.device:
                raise ValueError(
                    f"{name} must be {shape}, {inputs.dtype} on {inputs.device} like the inputs, "
                    f"got {tuple(value.shape)}, {value.dtype} on {value.device}"
                )
            require_finite(name, value, ("row", "column")[: value.dim()])
        width = hidden
