// The product of one row of a sparse matrix with lanes that lie side by side, for tangent vectors.
//
//   out[lane] = sum_k value[k] x[index[k]][lane]          bound by loads: one vector per multiply-add
//
// `lanes` is a multiple of 4. Sums run in one fixed order, whatever the number of workers.
#pragma once

#include "common/math.h"
#include "common/vector.h"
#include "sparsity/gather.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// Row `row` of the matrix times lanes of x, whose rows are `stride` apart.
template <class T>
void multiply(const SparseMatrix<T>& matrix, int64_t row, const T* x, int64_t stride, int64_t lanes, T* out);

}  // namespace LSH_LEVEL
}  // namespace lsh
