// lsh::zero_dead_ for any device: checks, and the call of the kernel for each tensor.
#pragma once

#include <torch/csrc/stable/library.h>

#include <vector>

#include "common/check.h"

namespace lsh {

inline int64_t floating_bytes(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Half:
    case ScalarType::BFloat16:
      return 2;
    case ScalarType::Float:
      return 4;
    case ScalarType::Double:
      return 8;
    default:
      STD_TORCH_CHECK(false, "tensors must be floating point, got ", dtype_name(tensor.scalar_type()));
  }
}

// Calls zero(values, bytes of a number, mask, size, tensor) for each tensor.
template <class Zero>
void zero_dead_with(std::vector<Tensor>& tensors, const Tensor& mask, const Zero& zero) {
  STD_TORCH_CHECK(mask.scalar_type() == ScalarType::Bool, "mask must be bool, got ", dtype_name(mask.scalar_type()));
  STD_TORCH_CHECK(mask.is_contiguous(), "mask must be contiguous");
  const int64_t size = mask.numel();
  const auto* live = static_cast<const uint8_t*>(mask.const_data_ptr());
  for (Tensor& tensor : tensors) {
    const int64_t bytes = floating_bytes(tensor);
    STD_TORCH_CHECK(tensor.numel() == size, "tensors must have the size of the mask, ", size, ", got ", tensor.numel());
    STD_TORCH_CHECK(tensor.is_contiguous() && tensor.device() == mask.device(),
                    "tensors must be contiguous and on the mask's device");
    zero(tensor.mutable_data_ptr(), bytes, live, size, tensor);
  }
}

}  // namespace lsh
