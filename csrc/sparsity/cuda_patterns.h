// What the CUDA backend of every op knows of patterns: it cannot read them, so kernels guard each index themselves.
#pragma once

#include "common/stream.h"
#include "sparsity/check_pattern.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {

struct CudaPatterns {
  static constexpr bool kReadsPatterns = false;

  static PatternView view(const Tensor& pattern, int64_t rows, int64_t columns, const char* name) {
    return device_pattern(pattern, rows, columns, name);
  }
};

}  // namespace lsh
