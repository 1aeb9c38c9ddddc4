"""How far apart two spectra are, and how sure that is when both saw the same tokens."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from lsh_native.lyapunov.spectrum import Spectrum
from lsh_native.lyapunov.standard_error import FloatArray, standard_errors

Metric = Callable[[Sequence[FloatArray], Sequence[FloatArray]], float]
"""Two lists of finite exponents per layer, equally long in each, to a number >= 0."""


Alignment = Callable[[Spectrum, Spectrum], tuple[Spectrum, Spectrum]]
"""Two spectra that differ in kind to two that may be compared."""


class IncomparableSpectraError(ValueError):
    """The difference of two spectra would mean nothing."""


def l2(left: Sequence[FloatArray], right: Sequence[FloatArray]) -> float:
    """√ Σ_layers Σ_j (a_j - b_j)², exponent by exponent: the published distance."""
    return float(np.linalg.norm(np.concatenate(left) - np.concatenate(right)))


def wasserstein(left: Sequence[FloatArray], right: Sequence[FloatArray]) -> float:
    """Mean over the layers of the Wasserstein-1 distance between the exponents as distributions."""
    pairs = zip(left, right, strict=True)
    return float(np.mean([np.abs(np.sort(a) - np.sort(b)).mean() for a, b in pairs]))


def mean_shift(left: Sequence[FloatArray], right: Sequence[FloatArray]) -> float:
    """Mean over the layers of |mean a - mean b|."""
    return float(np.mean([abs(a.mean() - b.mean()) for a, b in zip(left, right, strict=True)]))


def interpolated(a: Spectrum, b: Spectrum) -> tuple[Spectrum, Spectrum]:
    """An `Alignment`: both with as many exponents in each layer as the one that has fewer."""
    if len(a.layer_sizes) != len(b.layer_sizes):
        return a, b
    counts = tuple(map(min, a.layer_sizes, b.layer_sizes))
    return a.interpolated(counts), b.interpolated(counts)


def distance(
    a: Spectrum,
    b: Spectrum,
    *,
    metric: Metric = l2,
    top: int | None = None,
    layers: Sequence[int] | None = None,
    floor: float | None = None,
    align: Alignment | None = None,
) -> float:
    """The distance between two spectra of one convention.

    An exponent of -inf in the same place of both makes no difference. In one of them alone it is
    infinitely far from any number, so the call is refused unless `floor` says where exponents stop
    to matter.

    Args:
        a: a spectrum.
        b: another.
        metric: `l2`, `wasserstein`, `mean_shift` or any function of the same form.
        top: only so many leading exponents of each layer; spectra must be sorted.
        layers: only these layers.
        floor: exponents below it, -inf among them, count as this number, in the base of the
            spectra. The logarithm of the dtype's epsilon is about what a computation can tell from
            -inf: -36 nats in float64.
        align: makes spectra comparable that are not, such as `interpolated` those of networks of
            different size; bases and orders are aligned with `Spectrum.in_base` and `descending`.

    Returns:
        A finite number >= 0.

    Raises:
        IncomparableSpectraError: the conventions, the layers or the numbers of exponents differ, or
            -inf stands against a finite exponent; the message names what differs.
        ValueError: `top`, `layers` or `floor` is impossible.

    Source: the l2 metric: Zheng and Shlizerman, "Hyperpruning" (arXiv 2506.07975).
    """
    if align is not None:
        a, b = align(a, b)
    pair = partial(_aligned, a, b, top=top, layers=layers, floor=floor)
    return metric(*pair(a.exponents, b.exponents))


def distance_error(
    a: Spectrum,
    b: Spectrum,
    *,
    metric: Metric = l2,
    top: int | None = None,
    layers: Sequence[int] | None = None,
    floor: float | None = None,
    align: Alignment | None = None,
) -> float:
    """Standard error of `distance` between spectra of the same tokens, by the jackknife.

    A sequence is left out of both spectra at once, so what tokens do to both alike cancels.

    Raises:
        IncomparableSpectraError: as `distance`, or the spectra are not paired.
    """
    _require_paired(a, b)
    if align is not None:
        a, b = align(a, b)
    pair = partial(_aligned, a, b, top=top, layers=layers, floor=floor)
    count = len(a.sequences)
    others = (np.arange(count) != left_out for left_out in range(count))
    without = [
        metric(*pair(a.sequences[kept].mean(axis=0), b.sequences[kept].mean(axis=0)))
        for kept in others
    ]
    return float(np.sqrt(count - 1) * np.std(without))


@dataclass(frozen=True, kw_only=True)
class SpectrumDifference:
    """Differences of the exponents of two spectra, (N,), and the standard error of each."""

    values: FloatArray
    standard_errors: FloatArray


def paired_difference(
    a: Spectrum, b: Spectrum, *, floor: float | None = None
) -> SpectrumDifference:
    """The difference a - b, exponent by exponent, between spectra of the same tokens.

    Its standard error is that of the differences within the sequences, far smaller than those of a
    and b.

    Raises:
        IncomparableSpectraError: as `distance`, or the spectra are not paired.
    """
    _require_paired(a, b)
    differences = np.stack(
        [
            np.concatenate(left) - np.concatenate(right)
            for left, right in (
                _aligned(a, b, x, y, floor=floor)
                for x, y in zip(a.sequences, b.sequences, strict=True)
            )
        ]
    )
    return SpectrumDifference(
        values=differences.mean(axis=0), standard_errors=standard_errors(differences)
    )


def standardised_distance(a: Spectrum, b: Spectrum, *, floor: float | None = None) -> float:
    """√ mean_j ((a_j - b_j) / e_j)², with e_j the standard error of the difference: 1 is noise.

    Where both spectra come from the same tokens, e_j is the error of the paired difference, else
    that of two independent ones. Exponents without a difference and without an error do not count.

    Raises:
        IncomparableSpectraError: as `distance`, or a spectrum has no standard errors, or an
            exponent differs without one.
    """
    left, right = (
        np.concatenate(blocks) for blocks in _aligned(a, b, a.exponents, b.exponents, floor=floor)
    )
    difference = left - right
    if _unpaired(a, b) is None:
        errors = paired_difference(a, b, floor=floor).standard_errors
    elif a.standard_errors is not None and b.standard_errors is not None:
        errors = np.hypot(a.standard_errors, b.standard_errors)
    else:
        raise IncomparableSpectraError(
            "spectra must be paired or have standard errors, got neither; "
            "take more sequences or more steps"
        )
    counted = (difference != 0) | (errors > 0)
    if (errors[counted] == 0).any():
        raise IncomparableSpectraError(
            "exponents that differ must have an error, got one without: its sequences all agree"
        )
    scaled = difference[counted] / errors[counted]
    return float(np.sqrt(np.mean(scaled**2))) if len(scaled) else 0.0


def _aligned(
    a: Spectrum,
    b: Spectrum,
    left: FloatArray,
    right: FloatArray,
    *,
    top: int | None = None,
    layers: Sequence[int] | None = None,
    floor: float | None = None,
) -> tuple[list[FloatArray], list[FloatArray]]:
    """The finite, equally long layer blocks of two vectors laid out like `a` and `b`."""
    _require_same("spectra must follow one convention", asdict(a.convention), asdict(b.convention))
    if top is not None and (top < 1 or not a.convention.sorted):
        raise ValueError(
            f"top must be at least 1 and the spectra sorted, got top {top} of "
            f"{'sorted' if a.convention.sorted else 'unsorted'} spectra"
        )
    if floor is not None and not np.isfinite(floor):
        raise ValueError(f"floor must be a finite number, got {floor}")
    left_blocks, right_blocks = a.split(left), b.split(right)
    counts = [len(left_blocks), len(right_blocks)]
    if counts[0] != counts[1]:
        raise IncomparableSpectraError(f"spectra must have as many layers, got {counts}")
    chosen = range(counts[0]) if layers is None else layers
    if not chosen or any(not 0 <= layer < counts[0] for layer in chosen):
        raise ValueError(f"layers must be some of 0 to {counts[0] - 1}, got {layers}")
    pairs = [
        _finite_pair(layer, left_blocks[layer][:top], right_blocks[layer][:top], floor)
        for layer in chosen
    ]
    short = min(len(block) for pair in pairs for block in pair)
    if top is not None and short < top:
        raise ValueError(f"top must be at most {short}, the exponents there are, got {top}")
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _finite_pair(
    layer: int, left: FloatArray, right: FloatArray, floor: float | None
) -> tuple[FloatArray, FloatArray]:
    if len(left) != len(right):
        raise IncomparableSpectraError(
            f"spectra must have as many exponents in layer {layer}, got {len(left)} "
            f"and {len(right)}; pass top to compare the leading ones"
        )
    if floor is not None:
        return np.maximum(left, floor), np.maximum(right, floor)
    gone = np.isneginf(left)
    if not np.array_equal(gone, np.isneginf(right)):
        raise IncomparableSpectraError(
            f"-inf must stand in the same places of both spectra, got {gone.sum()} of them and "
            f"{np.isneginf(right).sum()} in layer {layer}; pass floor to bound them from below"
        )
    # Any common number gives no difference; one below all others suits metrics that sort.
    lowest = min(left[~gone].min(initial=0.0), right[~gone].min(initial=0.0))
    return np.where(gone, lowest, left), np.where(gone, lowest, right)


def _require_paired(a: Spectrum, b: Spectrum) -> None:
    fault = _unpaired(a, b)
    if fault is not None:
        raise IncomparableSpectraError(fault)


def _unpaired(a: Spectrum, b: Spectrum) -> str | None:
    """Why two spectra are no pair, None if they are."""
    names = ("inputs_digest", "steps", "state_warmup", "tangent_warmup", "initial", "seed")
    described = [
        {"sequences": len(spectrum.sequences)} | {name: getattr(spectrum, name) for name in names}
        for spectrum in (a, b)
    ]
    differing = _differing(*described)
    if differing:
        return f"paired spectra must come from the same tokens and start, got {differing}"
    if a.inputs_digest is None or len(a.sequences) < 2:
        return (
            "paired spectra must know their inputs and have at least 2 sequences, "
            f"got inputs_digest {a.inputs_digest} and {len(a.sequences)} sequences"
        )
    return None


def _require_same(rule: str, left: dict[str, Any], right: dict[str, Any]) -> None:
    differing = _differing(left, right)
    if differing:
        raise IncomparableSpectraError(f"{rule}, got {differing}")


def _differing(left: dict[str, Any], right: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {left[name]!r} against {right[name]!r}"
        for name in left
        if left[name] != right[name]
    )
