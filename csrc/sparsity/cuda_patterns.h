// What the CUDA backend of every op shares: patterns that kernels guard themselves, the stream, launch errors.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include <vector>

#include "sparsity/check_pattern.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {

using torch::stable::accelerator::DeviceGuard;

inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

inline void check_launch(cudaError_t error) {
  STD_TORCH_CHECK(error == cudaSuccess, "a CUDA kernel must launch without error, got ", cudaGetErrorString(error));
}

struct CudaPatterns {
  static constexpr bool kReadsPatterns = false;

  static PatternView view(const Tensor& pattern, int64_t rows, int64_t columns, const char* name) {
    return device_pattern(pattern, rows, columns, name);
  }
};

}  // namespace lsh
