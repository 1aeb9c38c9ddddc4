// Memory for the duration of a call, on the device of a tensor. An op takes a dozen pieces of it, and a call of a
// single step is over in microseconds: on the CPU they come from the C library, as torch's dispatcher takes longer than
// the step.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "common/large_pages.h"

namespace lsh {

class Workspace {
 public:
  explicit Workspace(torch::stable::Tensor like) : like_(std::move(like)), on_cpu_(like_.is_cpu()) {}

  // Numbers of any content.
  template <class T>
  T* room(std::initializer_list<int64_t> sizes) {
    int64_t bytes = int64_t(sizeof(T));
    bool fits = true;
    for (const int64_t size : sizes) fits = !__builtin_mul_overflow(bytes, size, &bytes) && fits;
    STD_TORCH_CHECK(fits, "sizes of an operand must multiply to less than 2**63 bytes of workspace");
    return reinterpret_cast<T*>(bytes_from(bytes));
  }

  // Where so many bytes begin, at a multiple of 64.
  uintptr_t bytes_from(int64_t count) {
    if (!on_cpu_) {
      tensors_.push_back(torch::stable::new_empty(like_, {count}, torch::headeronly::ScalarType::Byte));
      return reinterpret_cast<uintptr_t>(tensors_.back().mutable_data_ptr());
    }
    void* block = nullptr;
    const bool given = count >= 0 && posix_memalign(&block, 64, size_t(count) + 1) == 0;
    STD_TORCH_CHECK(given, "there must be memory for a workspace of ", count, " bytes, got none");
    blocks_.emplace_back(block, &std::free);
    prefer_large_pages(block, count);
    return reinterpret_cast<uintptr_t>(block);
  }

 private:
  torch::stable::Tensor like_;
  bool on_cpu_;
  std::vector<torch::stable::Tensor> tensors_;
  std::vector<std::unique_ptr<void, void (*)(void*)>> blocks_;
};

}  // namespace lsh
