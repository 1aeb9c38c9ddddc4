// Packs look-up matrices (lookup.h) and multiplies slices of them with a few vectors.
//
//   sums[item][row] = sum_k value[row][k] x[item][column[row][k]]
//
// Bound by reading the matrix: five bytes a place. Sums run over ascending columns, in blocks of a few groups that are
// added up in order.
#pragma once

#include "common/math.h"
#include "common/parallel.h"
#include "common/vector.h"
#include "sparsity/lookup.h"
#include "sparsity/matrix.h"

namespace lsh {
namespace LSH_LEVEL {

// The worker's share of slices: of about equal cost, the cumulative cost being `cost` as in share_by_cost.
static inline Range share_slices(const Worker& worker, const LookupPlan& plan, const int32_t* cost) {
  return share_blocks_by_cost(worker, plan.units, plan.width, cost, int(plan.gates));
}

// Packs the slices [begin, end) of a matrix unless that was done before.
template <class T>
void pack_slices(const SparseMatrix<T>& matrix, const LookupMatrix<T>& out, Range slices);

// The product of one slice with `items` vectors, at most kFewItems, that stand plan.stored_columns() apart. `sums`:
// (items, gates, width), aligned.
template <class T>
void multiply_slice(const LookupMatrix<T>& matrix, int64_t slice, const T* x, int64_t items, T* sums);

// The product of slices with a few vectors and a bias that may be null, out (items, rows of the matrix).
template <class T>
static void multiply_few(const LookupMatrix<T>& matrix, Range slices, const T* x, int64_t items, const T* bias,
                         T* out) {
  constexpr int W = kWidth<T>;
  const LookupPlan& plan = matrix.plan;
  alignas(64) T sums[kFewItems * 4 * W];
  for (int64_t slice = slices.begin; slice < slices.end; ++slice) {
    multiply_slice(matrix, slice, x, items, sums);
    for (int64_t i = 0; i < items * plan.gates; ++i) {
      const int64_t row = i % plan.gates * plan.units + slice * W;
      T* to = out + i / plan.gates * plan.gates * plan.units + row;
      for (int64_t u = 0; u < plan.units_in(slice); ++u) to[u] = sums[i * W + u] + (bias ? bias[row + u] : T(0));
    }
  }
}

// The worker's share of `items` rows of as many columns as the matrix has, to where a product reads them.
template <class T>
static void store_few(const LookupPlan& plan, const T* rows, int64_t items, T* out, const Worker& worker) {
  const Range own = share(worker, items);
  for (int64_t i = own.begin; i < own.end; ++i) {
    for (int64_t c = 0; c < plan.columns; ++c) out[i * plan.stored_columns() + c] = rows[i * plan.columns + c];
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
