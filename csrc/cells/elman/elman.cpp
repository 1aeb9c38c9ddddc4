// lsh::elman_forward, lsh::elman_backward, lsh::elman_tangent on the CPU.
#include "cells/recurrent_cpu.h"
#include "common/simd_level.h"

namespace lsh {

LSH_DISPATCH(CellTable, elman)

using ElmanOps = CellOps<CpuBackend, elman_table>;

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) { LSH_CELL_SCHEMAS(m, "elman"); }
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { LSH_CELL_IMPLEMENTATIONS(m, "elman", ElmanOps); }

}  // namespace lsh
