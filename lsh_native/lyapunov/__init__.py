"""Lyapunov spectra: how a recurrent network stretches its state space, and how two of them differ.

`lyapunov_spectrum` is the call for modules, `spectrum_of_jacobians` and `spectrum_of_map` are the
calls for everything else; `TangentFlow` is the algorithm beneath them.
"""

from lsh_native.lyapunov.accumulate import accumulate_spectrum
from lsh_native.lyapunov.compare import SpectrumComparison, compare_spectra
from lsh_native.lyapunov.convention import Convention
from lsh_native.lyapunov.covariant import CovariantVectors, covariant_vectors
from lsh_native.lyapunov.distance import (
    IncomparableSpectraError,
    SpectrumDifference,
    distance,
    distance_error,
    interpolated,
    l2,
    mean_shift,
    paired_difference,
    standardised_distance,
    wasserstein,
)
from lsh_native.lyapunov.finite import NonFiniteTangentError
from lsh_native.lyapunov.gradient import differentiable_exponents
from lsh_native.lyapunov.jacobian import JacobianSequence, MapJacobian
from lsh_native.lyapunov.lsh2022 import lsh2022_distance, lsh2022_spectrum
from lsh_native.lyapunov.memory import TooLittleMemoryError
from lsh_native.lyapunov.of_map import spectrum_of_jacobians, spectrum_of_map
from lsh_native.lyapunov.of_module import HasLSTMLayers, HasTangentMaps, lyapunov_spectrum
from lsh_native.lyapunov.qr_growth import QRGrowth, qr_growth, qr_growth_definition
from lsh_native.lyapunov.spectrum import Spectrum
from lsh_native.lyapunov.stack import DrivenMap, StackTangent
from lsh_native.lyapunov.tangent import (
    IntervalMap,
    TangentFlow,
    TangentMap,
    identity_tangent,
    random_tangent,
)

__all__ = [
    "Convention",
    "CovariantVectors",
    "DrivenMap",
    "HasLSTMLayers",
    "HasTangentMaps",
    "IncomparableSpectraError",
    "IntervalMap",
    "JacobianSequence",
    "MapJacobian",
    "NonFiniteTangentError",
    "QRGrowth",
    "Spectrum",
    "SpectrumComparison",
    "SpectrumDifference",
    "StackTangent",
    "TangentFlow",
    "TangentMap",
    "TooLittleMemoryError",
    "accumulate_spectrum",
    "compare_spectra",
    "covariant_vectors",
    "differentiable_exponents",
    "distance",
    "distance_error",
    "identity_tangent",
    "interpolated",
    "l2",
    "lsh2022_distance",
    "lsh2022_spectrum",
    "lyapunov_spectrum",
    "mean_shift",
    "paired_difference",
    "qr_growth",
    "qr_growth_definition",
    "random_tangent",
    "spectrum_of_jacobians",
    "spectrum_of_map",
    "standardised_distance",
    "wasserstein",
]
