// Fresh memory in large pages: what a call allocates is touched once, and a fault for every 4 KiB of it is a tenth of a
// training step.
#pragma once

#include <sys/mman.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>

namespace lsh {

// Asks the system to back a large tensor in host memory by large pages; a wish, without effect where it cannot be met.
inline torch::stable::Tensor in_large_pages(torch::stable::Tensor tensor) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kPage = uintptr_t(1) << 21;
  const int64_t bytes = tensor.numel() * int64_t(tensor.element_size());
  if (tensor.is_cpu() && bytes >= int64_t(2 * kPage)) {
    const auto begin = (reinterpret_cast<uintptr_t>(tensor.mutable_data_ptr()) + kPage - 1) / kPage * kPage;
    const auto end = (reinterpret_cast<uintptr_t>(tensor.mutable_data_ptr()) + uintptr_t(bytes)) / kPage * kPage;
    if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  }
#endif
  return tensor;
}

}  // namespace lsh
