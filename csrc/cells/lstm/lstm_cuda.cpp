// lsh::lstm_forward, lsh::lstm_backward, lsh::lstm_tangent and those of lsh::projected_lstm on CUDA.
#include "cells/recurrent_cuda.h"

namespace lsh {

extern const CellDeviceTable lstm_on_device, projected_lstm_on_device;

namespace {

const CellDeviceTable& lstm_device_table() { return lstm_on_device; }
const CellDeviceTable& projected_lstm_device_table() { return projected_lstm_on_device; }

}  // namespace

using LstmOps = CellOps<CudaBackend, lstm_device_table>;
using ProjectedLstmOps = CellOps<CudaBackend, projected_lstm_device_table>;

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) {
  LSH_CELL_IMPLEMENTATIONS(m, "lstm", LstmOps);
  LSH_CELL_IMPLEMENTATIONS(m, "projected_lstm", ProjectedLstmOps);
}

}  // namespace lsh
