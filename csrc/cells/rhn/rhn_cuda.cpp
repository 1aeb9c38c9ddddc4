// lsh::rhn_forward, lsh::rhn_backward, lsh::rhn_tangent and those of lsh::free_rhn on CUDA.
#include "cells/recurrent_cuda.h"

namespace lsh {

extern const CellDeviceTable rhn_on_device, free_rhn_on_device;

namespace {

const CellDeviceTable& coupled_table() { return rhn_on_device; }
const CellDeviceTable& free_table() { return free_rhn_on_device; }

}  // namespace

using RhnOps = CellOps<CudaBackend, coupled_table>;
using FreeRhnOps = CellOps<CudaBackend, free_table>;

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) {
  LSH_CELL_IMPLEMENTATIONS(m, "rhn", RhnOps);
  LSH_CELL_IMPLEMENTATIONS(m, "free_rhn", FreeRhnOps);
}

}  // namespace lsh
