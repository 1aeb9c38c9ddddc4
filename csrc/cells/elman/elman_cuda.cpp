// lsh::elman_forward, lsh::elman_backward, lsh::elman_tangent on CUDA.
#include "cells/recurrent_cuda.h"

namespace lsh {

extern const CellDeviceTable elman_on_device;

namespace {

const CellDeviceTable& elman_device_table() { return elman_on_device; }

}  // namespace

using ElmanOps = CellOps<CudaBackend, elman_device_table>;

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) { LSH_CELL_IMPLEMENTATIONS(m, "elman", ElmanOps); }

}  // namespace lsh
