// lsh::gru_forward, lsh::gru_backward, lsh::gru_tangent on the CPU.
#include "cells/recurrent_cpu.h"
#include "common/simd_level.h"

namespace lsh {

LSH_DISPATCH(CellTable, gru)

using GruOps = CellOps<CpuBackend, gru_table>;

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) { LSH_CELL_SCHEMAS(m, "gru"); }
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { LSH_CELL_IMPLEMENTATIONS(m, "gru", GruOps); }

}  // namespace lsh
