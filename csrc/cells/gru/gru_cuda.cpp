// lsh::gru_forward, lsh::gru_backward, lsh::gru_tangent on CUDA.
#include "cells/recurrent_cuda.h"

namespace lsh {

extern const CellDeviceTable gru_on_device;

namespace {

const CellDeviceTable& gru_device_table() { return gru_on_device; }

}  // namespace

using GruOps = CellOps<CudaBackend, gru_device_table>;

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) { LSH_CELL_IMPLEMENTATIONS(m, "gru", GruOps); }

}  // namespace lsh
