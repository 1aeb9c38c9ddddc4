"""From tangent maps to a spectrum: warm-up, average over time, running history and error bars."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lsh_native.lyapunov.convention import NATS, STANDARD, Convention
from lsh_native.lyapunov.interval import Interval, next_interval
from lsh_native.lyapunov.memory import require_memory
from lsh_native.lyapunov.qr_growth import ONE_PASS, qr_growth
from lsh_native.lyapunov.spectrum import Spectrum
from lsh_native.lyapunov.standard_error import FloatArray, batch_means, standard_errors
from lsh_native.lyapunov.tangent import (
    Orthonormalizer,
    TangentFlow,
    TangentMap,
    identity_tangent,
    random_tangent,
)

Initial = Literal["identity", "random"]


Progress = Callable[[int, int], None]
"""Called with the steps done and the steps there are, warm-up among them."""

# Where all layers meet again: often enough for a history, for blocks of time and for `until`, and
# seldom enough for intervals between to be long.
_MOST_PAUSES, _LEAST_PAUSES, _SHORTEST_PAUSE = 50, 10, 16


@torch.no_grad()
def accumulate_spectrum(
    layers: Sequence[TangentMap],
    *,
    k: int | None = None,
    tangent_warmup: int = 20,
    every: Interval = "auto",
    initial: Initial | None = None,
    seed: int = 0,
    convention: Convention = STANDARD,
    history: bool = False,
    until: float | None = None,
    progress: Progress | None = None,
    orthonormalizer: Orthonormalizer = qr_growth,
) -> Spectrum:
    """Averages the growth of tangent vectors along the trajectories of a stack, layer by layer.

    To a layer the layers below it are input, so the Jacobian of a stack is block-triangular and its
    spectrum is the union of the spectra of its layers, at 1/L² of the cost of the joint one.

    Args:
        layers: the linearised dynamics of each layer along the same steps of the same sequences.
        k: leading exponents of each layer, cut to the size of its state; all by default.
        tangent_warmup: first steps that move and orthonormalise the vectors but are not counted.
        every: steps from one orthonormalisation to the next. `"auto"` takes as many as the last
            ones let hope that orthonormalising still loses nothing, each layer at its own pace.
        initial: how the vectors start: `"identity"`, the first k axes, or `"random"`. By default
            the identity for all exponents and random for leading ones, since the dynamics may never
            leave the span of the first axes.
        seed: of a random start. One seed gives any two stacks of the same shape the same start.
        convention: what the maps stand for, and in which base and order the result is given.
        history: whether to keep the running estimate: after each orthonormalisation if `every` is
            a number, else at up to 50 times.
        until: a standard error; the run ends as soon as that of every finite exponent is no larger,
            after at least a fifth of the steps.
        progress: called now and then.
        orthonormalizer: what orthonormalises and measures growth.

    Returns:
        The spectrum. Standard errors are across sequences if B > 1, else across blocks of time.

    Raises:
        ValueError: a count is impossible, the layers disagree, or no steps are left to average.
        TooLittleMemoryError: the tangent vectors would not fit into memory.
        NonFiniteTangentError: the tangent vectors left the finite numbers.
    """
    steps = _common_steps(layers)
    counts = _vector_counts(layers, k)
    _check_options(steps, tangent_warmup, every, initial, until)
    require_memory(layers, counts)
    if initial is None:
        full = all(count == maps.size for count, maps in zip(counts, layers, strict=True))
        initial = "identity" if full else "random"
    generator = torch.Generator().manual_seed(seed)
    tolerance = None if until is None else until * NATS[convention.base]

    runs = []
    for maps, count in zip(layers, counts, strict=True):
        if initial == "identity":
            tangent = identity_tangent(maps, count)
        else:
            tangent = random_tangent(maps, count, generator)
        runs.append(_Run(TangentFlow(maps, tangent, orthonormalizer), every))
    for stop in _pauses(0, tangent_warmup, every):
        for run in runs:
            run.advance(stop, counted=False)
        if progress is not None:
            progress(stop, steps)
    growths: list[FloatArray] = []
    pauses: list[int] = []
    for stop in _pauses(tangent_warmup, steps, every):
        growth = [run.advance(stop, counted=True) for run in runs]
        growths.append(torch.cat(growth, dim=1).mean(dim=0).numpy(force=True))
        pauses.append(stop)
        if progress is not None:
            progress(stop, steps)
        if tolerance is not None and 5 * (stop - tangent_warmup) >= steps - tangent_warmup:
            _, samples = _samples(runs, growths, pauses, tangent_warmup)
            if len(samples) > 1 and _reached(standard_errors(samples), tolerance):
                break

    sequences, samples = _samples(runs, growths, pauses, tangent_warmup)
    growth_so_far = np.cumsum(growths, axis=0)
    elapsed = np.array(pauses) - tangent_warmup
    running = growth_so_far / elapsed[:, None]
    running[:, np.isneginf(sequences).any(axis=0)] = -np.inf
    spectrum = Spectrum(
        sequences=sequences,
        layer_sizes=tuple(counts),
        state_sizes=tuple(maps.size for maps in layers),
        convention=replace(convention, base="nat", sorted=False),
        steps=int(elapsed[-1]),
        tangent_warmup=tangent_warmup,
        every=every,
        intervals=tuple(pauses[-1] / run.flow.orthonormalizations for run in runs),
        initial=initial,
        seed=seed if initial == "random" else None,
        dtype=str(layers[0].dtype).removeprefix("torch."),
        standard_errors=standard_errors(samples) if len(samples) > 1 else None,
        error_samples=len(samples),
        history=running if history else None,
        history_steps=tuple(elapsed.tolist()) if history else (),
        fallbacks=sum(run.flow.fallbacks for run in runs),
        breakdowns=sum(run.flow.breakdowns for run in runs),
        until=tolerance,
    ).in_base(convention.base)
    return spectrum.descending() if convention.sorted else spectrum


@dataclass
class _Run:
    """The flow of one layer and the pace at which it orthonormalises."""

    flow: TangentFlow
    every: Interval
    time: int = 0
    pace: int = 1

    def advance(self, stop: int, *, counted: bool) -> Tensor:
        """Goes on to the time `stop` and returns the growth on the way, (B, K)."""
        growth = torch.zeros_like(self.flow.log_growth)
        while self.time < stop:
            steps = min(self.pace if self.every == "auto" else self.every, stop - self.time)
            growth += self.flow.advance(range(self.time, self.time + steps), counted=counted)
            self.time += steps
            if self.every == "auto":
                limit = ONE_PASS[self.flow.maps.dtype]
                self.pace = next_interval(steps, self.flow.condition, limit)
        return growth


def _pauses(start: int, stop: int, every: Interval) -> Iterator[int]:
    """The times after `start`, the last of them `stop`, at which all layers have come as far."""
    if every == "auto":
        fine = max(_SHORTEST_PAUSE, math.ceil((stop - start) / _MOST_PAUSES))
        apart = min(fine, max(1, (stop - start) // _LEAST_PAUSES))
    else:
        apart = every
    for time in range(start, stop, apart):
        yield min(time + apart, stop)


def _samples(
    runs: Sequence[_Run], growths: Sequence[FloatArray], pauses: Sequence[int], start: int
) -> tuple[FloatArray, FloatArray]:
    """The exponents of each sequence, and the samples that standard errors are taken from."""
    exponents = torch.cat([run.flow.exponents for run in runs], dim=1).numpy(force=True)
    if len(exponents) > 1:
        return exponents, exponents
    growth = np.stack(growths)
    growth[:, np.isneginf(exponents[0])] = -np.inf
    return exponents, batch_means(growth, np.diff(pauses, prepend=start))


def _reached(errors: FloatArray, tolerance: float) -> bool:
    finite = errors[np.isfinite(errors)]
    return bool((finite <= tolerance).all())


def _check_options(
    steps: int, tangent_warmup: int, every: Interval, initial: str | None, until: float | None
) -> None:
    whole = isinstance(every, int) and not isinstance(every, bool) and every >= 1
    if tangent_warmup < 0 or not (every == "auto" or whole):
        raise ValueError(
            "tangent_warmup must be at least 0 and every at least 1 or 'auto', "
            f"got tangent_warmup {tangent_warmup} and every {every!r}"
        )
    if tangent_warmup >= steps:
        raise ValueError(
            f"steps must be left after the warm-up, got {steps} for the tangent vectors "
            f"and a tangent_warmup of {tangent_warmup}"
        )
    if initial not in (None, "identity", "random"):
        raise ValueError(f"initial must be 'identity' or 'random', got {initial!r}")
    if until is not None and not until > 0:
        raise ValueError(f"until must be a standard error > 0, got {until}")


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
