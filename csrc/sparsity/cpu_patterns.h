// What the CPU backend of every op knows of patterns: it can read them, so it checks them. It reads the part by rows
// only, and turns the matrix itself where it needs the columns.
#pragma once

#include <torch/csrc/stable/ops.h>

#include "sparsity/check_pattern.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {

struct CpuPatterns {
  static constexpr bool kReadsPatterns = true;

  static PatternView view(const Tensor& pattern, int64_t rows, int64_t columns, const char* name) {
    return checked_pattern(pattern, rows, columns, name);
  }

  static PatternView view_rows(const Tensor& pattern, int64_t rows, int64_t columns, const char* name) {
    return checked_rows(pattern, rows, columns, name);
  }

  // Workers that a team has at most.
  static int64_t team_size() { return torch::stable::get_num_threads(); }
};

}  // namespace lsh
