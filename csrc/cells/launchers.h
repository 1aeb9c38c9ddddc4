// A cell's kernels on a device, as plain functions: what its .cu file defines and its ops call.
#pragma once

#include <cuda_runtime.h>

#include "cells/recurrence.h"

namespace lsh {

template <class T>
struct CellLaunchers {
  cudaError_t (*forward)(const ForwardPass<T>&, cudaStream_t);
  cudaError_t (*backward)(const BackwardPass<T>&, cudaStream_t);
  cudaError_t (*tangent)(const TangentPass<T>&, cudaStream_t);
};

struct CellDeviceTable {
  int gates, states, activations;
  bool separate_input, projects;
  CellLaunchers<float> float32;
  CellLaunchers<double> float64;
};

}  // namespace lsh
