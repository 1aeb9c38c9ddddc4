// In place of csrc/common/stream.h: tensors are on the CPU, and a launch returns when its kernel has run.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

namespace lsh {

inline void check_launch(cudaError_t error) {
  STD_TORCH_CHECK(error == cudaSuccess, "a CUDA kernel must launch without error, got ", cudaGetErrorString(error));
}

template <class Launch>
void launch_on(const torch::stable::Tensor&, const Launch& launch) {
  check_launch(launch(cudaStream_t(nullptr)));
}

}  // namespace lsh
