// lsh::rhn_forward, lsh::rhn_backward, lsh::rhn_tangent and those of lsh::free_rhn on the CPU.
#include "cells/recurrent_cpu.h"
#include "common/simd_level.h"

namespace lsh {

LSH_DISPATCH(CellTable, rhn)
LSH_DISPATCH(CellTable, free_rhn)

using RhnOps = CellOps<CpuBackend, rhn_table>;
using FreeRhnOps = CellOps<CpuBackend, free_rhn_table>;

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  LSH_CELL_SCHEMAS(m, "rhn");
  LSH_CELL_SCHEMAS(m, "free_rhn");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) {
  LSH_CELL_IMPLEMENTATIONS(m, "rhn", RhnOps);
  LSH_CELL_IMPLEMENTATIONS(m, "free_rhn", FreeRhnOps);
}

}  // namespace lsh
