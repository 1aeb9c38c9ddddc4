// The pybind11 module `_native`: build facts and order theory, for code that needs no torch.
#include <pybind11/pybind11.h>

#include "common/simd_level.h"
#include "lattice/bind.h"

namespace py = pybind11;

PYBIND11_MODULE(_native, m) {
  m.doc() = "Build facts of the native libraries, and order theory on arrays.";
  m.def(
      "simd_level", [] { return lsh::simd_level_name(lsh::simd_level()); },
      "The SIMD level that kernels run at: baseline, v3 or v4.");
  m.def(
      "detected_simd_level", [] { return lsh::simd_level_name(lsh::detected_simd_level()); },
      "The highest SIMD level this processor has.");
  lsh::bind_lattice(m);
  m.attr("cuda_architectures") = LSH_CUDA_ARCHITECTURES;
}
