"""Lyapunov spectra: how a recurrent network stretches its state space, and how two of them differ.

`lyapunov_spectrum` is the call for modules, `spectrum_of_jacobians` and `spectrum_of_map` are the
calls for everything else; `TangentFlow` is the algorithm beneath them.
"""

from lsh_native.lyapunov.accumulate import accumulate_spectrum
from lsh_native.lyapunov.convention import Convention
from lsh_native.lyapunov.distance import (
    IncomparableSpectraError,
    SpectrumDifference,
    distance,
    distance_error,
    l2,
    mean_shift,
    paired_difference,
    wasserstein,
)
from lsh_native.lyapunov.finite import NonFiniteTangentError
from lsh_native.lyapunov.jacobian import JacobianSequence, MapJacobian
from lsh_native.lyapunov.lsh2022 import lsh2022_distance, lsh2022_spectrum
from lsh_native.lyapunov.memory import TooLittleMemoryError
from lsh_native.lyapunov.of_map import spectrum_of_jacobians, spectrum_of_map
from lsh_native.lyapunov.of_module import HasLSTMLayers, HasTangentMaps, lyapunov_spectrum
from lsh_native.lyapunov.qr_growth import QRGrowth, qr_growth, qr_growth_definition
from lsh_native.lyapunov.spectrum import Spectrum
from lsh_native.lyapunov.tangent import (
    IntervalMap,
    TangentFlow,
    TangentMap,
    identity_tangent,
    random_tangent,
)

__all__ = [
    "Convention",
    "HasLSTMLayers",
    "HasTangentMaps",
    "IncomparableSpectraError",
    "IntervalMap",
    "JacobianSequence",
    "MapJacobian",
    "NonFiniteTangentError",
    "QRGrowth",
    "Spectrum",
    "SpectrumDifference",
    "TangentFlow",
    "TangentMap",
    "TooLittleMemoryError",
    "accumulate_spectrum",
    "distance",
    "distance_error",
    "identity_tangent",
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
    "wasserstein",
]
