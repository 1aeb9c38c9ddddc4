// lsh::lstm_forward, lsh::lstm_backward, lsh::lstm_tangent and those of lsh::projected_lstm on the CPU.
#include "cells/recurrent_cpu.h"
#include "common/simd_level.h"

namespace lsh {

LSH_DISPATCH(CellTable, lstm)
LSH_DISPATCH(CellTable, projected_lstm)

using LstmOps = CellOps<CpuBackend, lstm_table>;
using ProjectedLstmOps = CellOps<CpuBackend, projected_lstm_table>;

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  LSH_CELL_SCHEMAS(m, "lstm");
  LSH_CELL_SCHEMAS(m, "projected_lstm");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) {
  LSH_CELL_IMPLEMENTATIONS(m, "lstm", LstmOps);
  LSH_CELL_IMPLEMENTATIONS(m, "projected_lstm", ProjectedLstmOps);
}

}  // namespace lsh
