"""Stored spectra as spectra again: how far a candidate's lies from the dense reference's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lsh_native.lyapunov import Spectrum, distance, lsh2022_distance
from lsh_native.lyapunov.distance import Metric, l2
from lsh_native.search.trial import SpectrumRecord

ARRAYS = ("exponents", "sequences", "standard_errors", "history")
"""The parts of a spectrum that are not among the conventions of its record."""


def spectrum_of(record: SpectrumRecord) -> Spectrum:
    """Return the spectrum behind a record, its sequences reduced to their mean."""
    return Spectrum.from_dict(
        {
            **record.conventions,
            "sequences": record.exponents[None],
            "exponents": record.exponents,
            "standard_errors": record.standard_errors,
            "history": None,
        }
    )


def spectrum_distance(
    candidate: SpectrumRecord,
    reference: SpectrumRecord,
    *,
    metric: Metric = l2,
    leading: float = 1.0,
    layers: tuple[int, ...] | None = None,
) -> float:
    """Return how far a candidate's spectrum lies from the dense reference's.

    Published spectra are compared as published by default, all others by the Euclidean distance.
    An exponent below what its precision can tell from -inf counts as that bound, ln of the machine
    epsilon.

    Args:
        candidate: Its spectrum.
        reference: The dense one.
        metric: One of the Lyapunov engine's.
        leading: Share of the leading exponents of each layer that count, in (0, 1].
        layers: Only these layers; negative numbers count from the last.

    Raises:
        ValueError: If the two cannot be compared.
    """
    a, b = spectrum_of(candidate), spectrum_of(reference)
    whole = metric is l2 and leading == 1 and layers is None
    if whole and a.convention.reference == "lsh2022":
        return lsh2022_distance(a, b)
    count = len(a.layer_sizes)
    options: dict[str, Any] = {"metric": metric}
    if leading < 1:
        options["top"] = max(1, math.ceil(leading * min(a.layer_sizes)))
    if layers is not None:
        options["layers"] = [layer % count for layer in layers]
    if a.convention.base == "nat":
        options["floor"] = math.log(float(np.finfo(np.dtype(a.dtype)).eps))
    return distance(a, b, **options)
