// A dense weight's values in row order, as everything that reads them more than once wants them.
#pragma once

#include "sparsity/matrix.h"

namespace lsh {
namespace LSH_LEVEL {

// Gathers a dense weight's values of the rows [begin, end), the way they lie in memory.
template <class T>
static void gather_rows(const SparseMatrix<T>& matrix, int64_t begin, int64_t end) {
  if (matrix.packed || matrix.bytes) return;
  const PatternView& p = matrix.pattern;
  for (int64_t row = begin; row < end; ++row) {
    const T* dense = matrix.weight + row * p.columns;
    for (int64_t k = p.row_offsets[row]; k < p.row_offsets[row + 1]; ++k) {
      matrix.row_workspace[k] = dense[p.column_of[k]];
    }
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
