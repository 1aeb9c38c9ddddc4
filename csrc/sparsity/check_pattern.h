// Checks of pattern tensors and of the weights that go with them: written once, used by every op.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <string>

#include "sparsity/pattern.h"

namespace lsh {

using torch::stable::Tensor;

// What the length of a pattern tensor says.
struct PatternRoom {
  int64_t capacity;
  bool by_columns;  // whether there is a part by columns
};

// That of a pattern tensor for a matrix of this shape; throws when there is none.
PatternRoom pattern_room(const Tensor& pattern, int64_t rows, int64_t columns, const char* name);

// Views of a pattern on the CPU after a check, in O(rows + non-zeros), of all that a product by rows reads: header,
// ascending offsets, columns in range, ascending and unique. `name` says whose pattern it is.
PatternView checked_pattern(const Tensor& pattern, int64_t rows, int64_t columns, const char* name);

// The same without a look at the columns, for ops that do not read them.
PatternView checked_rows(const Tensor& pattern, int64_t rows, int64_t columns, const char* name);

// Views of a pattern on a device, whose content cannot be read here: device kernels guard each index.
PatternView device_pattern(const Tensor& pattern, int64_t rows, int64_t columns, const char* name);

}  // namespace lsh
