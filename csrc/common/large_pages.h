// Fresh memory in large pages: what a call allocates is touched once, and a fault for every 4 KiB of it is a tenth of a
// training step.
#pragma once

#include <sys/mman.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>

namespace lsh {

// Asks the system to back host memory by large pages, if there is much of it; a wish, without effect where it cannot be
// met.
inline void prefer_large_pages(void* memory, int64_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kPage = uintptr_t(1) << 21;
  if (bytes < int64_t(2 * kPage)) return;
  const auto begin = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<uintptr_t>(memory) + uintptr_t(bytes)) / kPage * kPage;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

inline torch::stable::Tensor in_large_pages(torch::stable::Tensor tensor) {
  if (tensor.is_cpu()) prefer_large_pages(tensor.mutable_data_ptr(), tensor.numel() * int64_t(tensor.element_size()));
  return tensor;
}

}  // namespace lsh
