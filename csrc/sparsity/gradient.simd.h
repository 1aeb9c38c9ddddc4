// The gradient of a sparse weight from lanes: g xᵀ at the entries of its pattern, or at every entry.
//
//   out[row][c] = sum_lane g[row][lane] x[c][lane]
//
// Entries of a row are taken by fours, each number of g being loaded once for four of them. A block of rows and a panel
// of columns (sampled.h) are a list of such fours, walked from end to end without a branch for every few slabs of
// lanes, while the panel's x stays in the first-level cache and the block's g in the second. Bound by the loads of x.
#pragma once

#include "common/parallel.h"
#include "sparsity/lanes.simd.h"
#include "sparsity/matrix.h"
#include "sparsity/sampled.h"

namespace lsh {
namespace LSH_LEVEL {

// Where the gradient of one weight goes, and the caller's room.
template <class T>
struct WeightGradient {
  const SparseMatrix<T>* weight;
  T* out;      // (R, C), or (N) when the weight is packed and the gradient is not dense
  bool dense;  // at every entry instead of the pattern's
  SampleRoom<T> room;

  // What some tiles give the given rows, or add to them: of g with R channels, of x with C, the first of them at
  // `g_tiles` and `x_tiles`.
  void compute(const LaneTiles& tiling, Range tiles, const T* g_tiles, const T* x_tiles, Range rows, bool add) const;
};

// The gradient of a bias: the sum over all lanes of each row in `range`, of one tile of `rows` channels. Adds to `out`.
template <class T>
void add_row_sums(const T* tile, int64_t rows, int64_t lanes, T* out, Range range);

}  // namespace LSH_LEVEL
}  // namespace lsh
