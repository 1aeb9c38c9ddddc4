// A sparse matrix as kernels see it: a pattern, and where its values come from.
#pragma once

#include "sparsity/pattern.h"

namespace lsh {

// The weight is given dense, (R, C), of which the pattern's entries are read, or packed, (N), in row order; or, where
// it stays as it is for many calls, as the bytes that lsh::pack_weight made of it (packed.h).
template <class T>
struct SparseMatrix {
  PatternView pattern;
  const T* weight;
  bool packed;
  T* row_workspace;     // (N): where a dense weight's values are gathered in row order
  const T* row_values;  // `weight` when packed, else row_workspace
  const char* bytes;    // or this alone, of which there are so many
  int64_t byte_count;
  const char* name;
};

}  // namespace lsh
