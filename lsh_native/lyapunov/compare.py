"""Two modules driven by the same tokens from the same tangent vectors: how far apart they are."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lsh_native.lyapunov.distance import (
    Metric,
    SpectrumDifference,
    distance,
    distance_error,
    l2,
    paired_difference,
)
from lsh_native.lyapunov.of_module import HasTangentMaps, lyapunov_spectrum
from lsh_native.lyapunov.spectrum import Spectrum


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectrumComparison:
    """A spectrum beside that of a dense reference.

    Args:
        dense: of the reference.
        pruned: of the other.
        distance: between them.
        distance_error: its standard error, what the tokens do to both alike left out; None for a
            single sequence.
        difference: pruned - dense, exponent by exponent; None for a single sequence.
    """

    dense: Spectrum
    pruned: Spectrum
    distance: float
    distance_error: float | None
    difference: SpectrumDifference | None


def compare_spectra(
    dense: HasTangentMaps,
    pruned: HasTangentMaps,
    inputs: Tensor,
    *,
    metric: Metric = l2,
    floor: float | None = None,
    **options: Any,
) -> SpectrumComparison:
    """Takes both spectra on the same inputs, from the same start, and their distance.

    Args:
        dense: the reference.
        pruned: a module of the same shape.
        inputs: as `lyapunov_spectrum`.
        metric: as `distance`.
        floor: as `distance`.
        options: others of `lyapunov_spectrum`, for both alike.

    Raises:
        IncomparableSpectraError: as `distance`.
        ValueError: as `lyapunov_spectrum`; or `until` is among the options, which would let the two
            see different tokens.
    """
    if options.get("until") is not None:
        raise ValueError(f"until must be absent for a pair, got {options['until']}")
    a, b = (lyapunov_spectrum(module, inputs, **options) for module in (dense, pruned))
    several = len(a.sequences) > 1
    return SpectrumComparison(
        dense=a,
        pruned=b,
        distance=distance(b, a, metric=metric, floor=floor),
        distance_error=distance_error(b, a, metric=metric, floor=floor) if several else None,
        difference=paired_difference(b, a, floor=floor) if several else None,
    )
