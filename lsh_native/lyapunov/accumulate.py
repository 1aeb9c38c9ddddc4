"""From tangent maps to a spectrum: warm-up, average over time, running history and error bars."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from lsh_native.lyapunov.convention import STANDARD, Convention
from lsh_native.lyapunov.qr_growth import qr_growth
from lsh_native.lyapunov.spectrum import Spectrum
from lsh_native.lyapunov.standard_error import batch_means, standard_errors
from lsh_native.lyapunov.tangent import (
    Orthonormalizer,
    TangentFlow,
    TangentMap,
    identity_tangent,
    random_tangent,
)

Initial = Literal["identity", "random"]


@torch.no_grad()
def accumulate_spectrum(
    layers: Sequence[TangentMap],
    *,
    k: int | None = None,
    tangent_warmup: int = 20,
    every: int = 1,
    initial: Initial | None = None,
    seed: int = 0,
    convention: Convention = STANDARD,
    history: bool = False,
    orthonormalizer: Orthonormalizer = qr_growth,
) -> Spectrum:
    """Averages the growth of tangent vectors along the trajectories of a stack, layer by layer.

    To a layer the layers below it are input, so the Jacobian of a stack is block-triangular and its
    spectrum is the union of the spectra of its layers, at 1/L² of the cost of the joint one.

    Args:
        layers: the linearised dynamics of each layer along the same steps of the same sequences.
        k: leading exponents of each layer, cut to the size of its state; all by default.
        tangent_warmup: first steps that move and orthonormalise the vectors but are not counted.
        every: steps from one orthonormalisation to the next.
        initial: how the vectors start: `"identity"`, the first k axes, or `"random"`. By default
            the identity for all exponents and random for leading ones, since the dynamics may never
            leave the span of the first axes.
        seed: of a random start. One seed gives any two stacks of the same shape the same start.
        convention: what the maps stand for, and in which base and order the result is given.
        history: whether to keep the running estimate after each orthonormalisation.
        orthonormalizer: what orthonormalises and measures growth.

    Returns:
        The spectrum. Standard errors are across sequences if B > 1, else across blocks of time.

    Raises:
        ValueError: a count is impossible, the layers disagree, or no steps are left to average.
        NonFiniteTangentError: the tangent vectors left the finite numbers.
    """
    steps = _common_steps(layers)
    counts = _vector_counts(layers, k)
    if tangent_warmup < 0 or every < 1:
        raise ValueError(
            "tangent_warmup must be at least 0 and every at least 1, "
            f"got tangent_warmup {tangent_warmup} and every {every}"
        )
    if tangent_warmup >= steps:
        raise ValueError(
            f"steps must be left after the warm-up, got {steps} for the tangent vectors "
            f"and a tangent_warmup of {tangent_warmup}"
        )
    if initial is None:
        full = all(count == maps.size for count, maps in zip(counts, layers, strict=True))
        initial = "identity" if full else "random"
    elif initial not in ("identity", "random"):
        raise ValueError(f"initial must be 'identity' or 'random', got {initial!r}")

    generator = torch.Generator().manual_seed(seed)
    warmup = _intervals(0, tangent_warmup, every)
    counted = _intervals(tangent_warmup, steps, every)
    exponents, growths, fallbacks = [], [], 0
    for maps, count in zip(layers, counts, strict=True):
        if initial == "identity":
            tangent = identity_tangent(maps, count)
        else:
            tangent = random_tangent(maps, count, generator)
        flow = TangentFlow(maps, tangent, orthonormalizer)
        for times in warmup:
            flow.advance(times, counted=False)
        growths.append(torch.stack([flow.advance(times).mean(dim=0) for times in counted]))
        exponents.append(flow.exponents)
        fallbacks += flow.fallbacks

    sequences = torch.cat(exponents, dim=1).numpy(force=True)
    growth = torch.cat(growths, dim=1).numpy(force=True)
    growth[:, np.isneginf(sequences).any(axis=0)] = -np.inf
    lengths = np.array([len(times) for times in counted])
    elapsed = lengths.cumsum()
    samples = sequences if len(sequences) > 1 else batch_means(growth, lengths)
    spectrum = Spectrum(
        sequences=sequences,
        layer_sizes=tuple(counts),
        state_sizes=tuple(maps.size for maps in layers),
        convention=replace(convention, base="nat", sorted=False),
        steps=steps - tangent_warmup,
        tangent_warmup=tangent_warmup,
        every=every,
        initial=initial,
        seed=seed if initial == "random" else None,
        dtype=str(layers[0].dtype).removeprefix("torch."),
        standard_errors=standard_errors(samples) if len(samples) > 1 else None,
        error_samples=len(samples),
        history=growth.cumsum(axis=0) / elapsed[:, None] if history else None,
        history_steps=tuple(elapsed.tolist()) if history else (),
        fallbacks=fallbacks,
    ).in_base(convention.base)
    return spectrum.descending() if convention.sorted else spectrum


def _common_steps(layers: Sequence[TangentMap]) -> int:
    shapes = {(maps.steps, maps.batch) for maps in layers}
    if len(shapes) != 1:
        raise ValueError(
            "layers must be at least one and agree in steps and batch, "
            f"got (steps, batch) of {sorted(shapes)}"
        )
    return shapes.pop()[0]


def _vector_counts(layers: Sequence[TangentMap], k: int | None) -> list[int]:
    largest = max(maps.size for maps in layers)
    if k is not None and not 1 <= k <= largest:
        raise ValueError(f"k must be in [1, {largest}], the size of the state, got {k}")
    return [maps.size if k is None else min(k, maps.size) for maps in layers]


def _intervals(start: int, stop: int, every: int) -> list[range]:
    """The time steps cut into ranges of `every`; the last may be shorter."""
    return [range(time, min(time + every, stop)) for time in range(start, stop, every)]
