// Where a CUDA op runs: the device of its tensors and torch's current stream there; launch errors as exceptions.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

namespace lsh {

using torch::stable::accelerator::DeviceGuard;

inline cudaStream_t current_stream(const torch::stable::Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

inline void check_launch(cudaError_t error) {
  STD_TORCH_CHECK(error == cudaSuccess, "a CUDA kernel must launch without error, got ", cudaGetErrorString(error));
}

// Runs launch(stream) on the device and the stream of a tensor.
template <class Launch>
void launch_on(const torch::stable::Tensor& tensor, const Launch& launch) {
  const DeviceGuard guard(tensor.get_device_index());
  check_launch(launch(current_stream(tensor)));
}

}  // namespace lsh
