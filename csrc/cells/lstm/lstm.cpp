// lsh::lstm_forward, lsh::lstm_backward, lsh::lstm_tangent on the CPU.
#include "cells/recurrent_cpu.h"
#include "common/simd_level.h"

namespace lsh {

LSH_DISPATCH(CellTable, lstm)

using LstmOps = CellOps<CpuBackend, lstm_table>;

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) { LSH_CELL_SCHEMAS(m, "lstm"); }
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { LSH_CELL_IMPLEMENTATIONS(m, "lstm", LstmOps); }

}  // namespace lsh
