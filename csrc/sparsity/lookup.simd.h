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

// Packs the slices [begin, end) of a matrix.
template <class T>
void pack_slices(const SparseMatrix<T>& matrix, const LookupMatrix<T>& out, Range slices);

// The product of one slice with `items` vectors, at most kFewItems, that stand plan.stored_columns() apart. `sums`:
// (items, gates, width), aligned.
template <class T>
void multiply_slice(const LookupMatrix<T>& matrix, int64_t slice, const T* x, int64_t items, T* sums);

}  // namespace LSH_LEVEL
}  // namespace lsh
