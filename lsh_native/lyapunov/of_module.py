"""The Lyapunov spectrum of a recurrent module driven by inputs."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lsh_native.lyapunov.accumulate import Initial, Progress, accumulate_spectrum
from lsh_native.lyapunov.convention import Base, Convention
from lsh_native.lyapunov.finite import require_finite
from lsh_native.lyapunov.interval import Interval
from lsh_native.lyapunov.lsh2022 import LSTMLayer, lsh2022_spectrum
from lsh_native.lyapunov.spectrum import Spectrum
from lsh_native.lyapunov.stack import StackTangent
from lsh_native.lyapunov.tangent import TangentMap


@runtime_checkable
class HasTangentMaps(Protocol):
    """A module that can linearise itself along its own trajectories."""

    def tangent_maps(
        self, inputs: Tensor, state: Any = None, state_warmup: int = 0
    ) -> Sequence[TangentMap]:
        """The linearised dynamics of each layer from the bottom up, without dropout.

        Args:
            inputs: what the module is called with, (T, B, I), or token ids (T, B).
            state: initial state as the module takes it; zeros by default.
            state_warmup: first steps that move the state only; the maps have T - state_warmup.
        """


@runtime_checkable
class HasLSTMLayers(Protocol):
    """A stack of LSTM layers that can show what the published convention is computed from."""

    def lstm_layers(self) -> Sequence[LSTMLayer]:
        """Weights of each layer from the bottom up, dense, with zeros where masked."""

    def layer_inputs(self, inputs: Tensor) -> Tensor:
        """What the first layer is fed for `inputs`, (T, B, I), without dropout."""


@torch.no_grad()
def lyapunov_spectrum(
    module: HasTangentMaps | HasLSTMLayers,
    inputs: Tensor,
    *,
    state: Any = None,
    k: int | None = None,
    state_warmup: int = 20,
    tangent_warmup: int = 20,
    every: Interval = "auto",
    initial: Initial | None = None,
    per_layer: bool = True,
    dtype: torch.dtype | None = None,
    reference: Literal["lsh2022"] | None = None,
    seed: int = 0,
    base: Base = "nat",
    sort: bool = True,
    history: bool = False,
    until: float | None = None,
    progress: Progress | None = None,
) -> Spectrum:
    """The Lyapunov spectrum of a recurrent module driven by inputs, layer by layer.

    The first `state_warmup` steps move the state alone, so that it forgets where it started. In the
    next `tangent_warmup` steps the tangent vectors turn into the directions of the dynamics. The
    growth over all steps that remain is averaged. No input is used twice.

    Args:
        module: a recurrent layer, stack or language model of this library, or any other with
            `tangent_maps`.
        inputs: (T, B, I), or token ids (T, B) for a language model.
        state: initial state as the module takes it; zeros by default.
        k: leading exponents of each layer; all by default.
        state_warmup: steps, as above.
        tangent_warmup: steps, as above.
        every: steps from one orthonormalisation to the next, or `"auto"` for as many as lose
            nothing.
        initial: `"identity"` or `"random"` start of the tangent vectors, as `accumulate_spectrum`.
        per_layer: the spectrum of each layer, of which that of the stack is the union, or, if
            false, the joint one of the whole stack at L² times the cost.
        dtype: precision to compute in, by default the module's; the module is left as it is.
        reference: `"lsh2022"` for the published convention, which fixes everything but `dtype`; see
            `lsh2022_spectrum`.
        seed: of a random start.
        base: of the logarithm.
        sort: descending within each layer, or in the order of the tangent vectors.
        history: whether to keep the running estimate.
        until: a standard error; the run ends as soon as all are down to it, see
            `accumulate_spectrum`.
        progress: called with the steps done and the steps there are.

    Returns:
        The spectrum, with a fingerprint of `inputs`.

    Raises:
        TypeError: the module has no known tangent, or inputs are no tensor.
        ValueError: a count is impossible, no steps are left, inputs are of another shape, device or
            dtype, or weights or inputs are not finite (says where).
    """
    _check_inputs(module, inputs)
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    if reference not in (None, "lsh2022"):
        raise ValueError(f"reference must be 'lsh2022' or absent, got {reference!r}")
    require_finite("inputs", inputs, ("time step", "sequence", "coordinate")[: inputs.dim()])
    if isinstance(module, nn.Module):
        for name, weight in module.named_parameters():
            require_finite(name, weight, [f"axis {axis}:" for axis in range(weight.dim())])

    fingerprint = _fingerprint(inputs)
    if dtype is not None:
        module, inputs, state = (_in_dtype(part, dtype) for part in (module, inputs, state))
    if reference is not None:
        if any(option is not None for option in (state, k, initial, until)) or not per_layer:
            raise ValueError(
                "reference 'lsh2022' must start at zero with all exponents and the identity, "
                "got a state, k, initial, until or per_layer=False beside it"
            )
        spectrum = _published_spectrum(module, inputs)
    else:
        maps = tangent_maps(module, inputs, state, state_warmup)
        spectrum = accumulate_spectrum(
            maps if per_layer else [StackTangent(maps)],
            k=k,
            tangent_warmup=tangent_warmup,
            every=every,
            initial=initial,
            seed=seed,
            convention=Convention(base=base, sorted=sort),
            history=history,
            until=until,
            progress=progress,
        )
        spectrum = replace(spectrum, state_warmup=state_warmup)
    return replace(spectrum, inputs_digest=fingerprint)


def _check_inputs(module: Any, inputs: Any) -> None:
    if not isinstance(inputs, Tensor):
        raise TypeError(f"inputs must be a tensor, got {type(inputs).__name__}")
    if inputs.dim() not in (2, 3) or inputs.numel() == 0:
        raise ValueError(
            f"inputs must have shape (T, B) or (T, B, I), none of them 0, got {tuple(inputs.shape)}"
        )
    if inputs.layout != torch.strided:
        raise ValueError(f"inputs must be a dense tensor, got {inputs.layout}")
    weight = next(module.parameters(), None) if isinstance(module, nn.Module) else None
    if weight is not None and inputs.device != weight.device:
        raise ValueError(f"inputs must be on {weight.device} like the module, got {inputs.device}")


def tangent_maps(
    module: Any, inputs: Tensor, state: Any, state_warmup: int
) -> Sequence[TangentMap]:
    """Asks a module for its linearised dynamics and checks that they cover the right steps.

    Raises:
        TypeError: the module has none.
        ValueError: the warm-up leaves no step, or the module answers with another number of steps.
    """
    if not isinstance(module, HasTangentMaps):
        raise TypeError(
            "module must have a method tangent_maps(inputs, state=None, state_warmup=0) that "
            f"returns one TangentMap per layer, got {type(module).__name__}; "
            "Jacobians at hand go to spectrum_of_jacobians, a function to spectrum_of_map"
        )
    steps = len(inputs) - state_warmup
    if state_warmup < 0 or steps < 1:
        raise ValueError(
            f"state_warmup must be in [0, {len(inputs) - 1}] for {len(inputs)} time steps, "
            f"got {state_warmup}"
        )
    layers = module.tangent_maps(inputs, state=state, state_warmup=state_warmup)
    if any(maps.steps != steps for maps in layers):
        raise ValueError(
            f"tangent_maps of {type(module).__name__} must cover {steps} steps, "
            f"got {[maps.steps for maps in layers]}"
        )
    return layers


def _published_spectrum(module: Any, inputs: Tensor) -> Spectrum:
    if not isinstance(module, HasLSTMLayers):
        raise TypeError(
            "module must have the methods lstm_layers() and layer_inputs(inputs) for reference "
            f"'lsh2022', got {type(module).__name__}; weights at hand go to lsh2022_spectrum"
        )
    return lsh2022_spectrum(module.lstm_layers(), module.layer_inputs(inputs))


def _fingerprint(inputs: Tensor) -> str:
    values = inputs.detach().cpu().contiguous()
    header = f"{values.dtype} {tuple(values.shape)}".encode()
    return hashlib.sha256(header + values.view(torch.uint8).numpy().tobytes()).hexdigest()


def _in_dtype(part: Any, dtype: torch.dtype) -> Any:
    """A tensor, a tuple of tensors or a copy of a module, its floating-point numbers in `dtype`."""
    if part is None:
        return None
    if isinstance(part, Tensor):
        return part.to(dtype) if part.is_floating_point() else part
    if isinstance(part, tuple | list):
        return type(part)(_in_dtype(item, dtype) for item in part)
    if isinstance(part, nn.Module):
        return copy.deepcopy(part).to(dtype)
    raise TypeError(
        f"module must be a torch.nn.Module to be computed in {dtype}, got {type(part).__name__}"
    )
