// The CUDA backend of the recurrent ops: kernels on torch's current stream.
#pragma once

#include "cells/launchers.h"
#include "cells/recurrent_op.h"
#include "sparsity/cuda_patterns.h"

namespace lsh {

struct CudaBackend : CudaPatterns {
  static const CellLaunchers<float>& launchers(const CellDeviceTable& cell, float) { return cell.float32; }
  static const CellLaunchers<double>& launchers(const CellDeviceTable& cell, double) { return cell.float64; }

  template <class T>
  static void run(const CellDeviceTable& cell, const ForwardPass<T>& pass, const Tensor& like) {
    launch_on(like, [&](cudaStream_t stream) { return launchers(cell, T()).forward(pass, stream); });
  }
  template <class T>
  static void run(const CellDeviceTable& cell, const BackwardPass<T>& pass, const Tensor& like) {
    launch_on(like, [&](cudaStream_t stream) { return launchers(cell, T()).backward(pass, stream); });
  }
  template <class T>
  static void run(const CellDeviceTable& cell, const TangentPass<T>& pass, const Tensor& like) {
    launch_on(like, [&](cudaStream_t stream) { return launchers(cell, T()).tangent(pass, stream); });
  }
};

}  // namespace lsh
