// lsh::lstm_forward, lsh::lstm_backward, lsh::lstm_tangent on CUDA.
#include "cells/recurrent_cuda.h"

namespace lsh {

extern const CellDeviceTable lstm_on_device;

namespace {

const CellDeviceTable& lstm_device_table() { return lstm_on_device; }

}  // namespace

using LstmOps = CellOps<CudaBackend, lstm_device_table>;

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) { LSH_CELL_IMPLEMENTATIONS(m, "lstm", LstmOps); }

}  // namespace lsh
