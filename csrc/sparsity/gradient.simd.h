// The gradient of a sparse weight from lanes: g xᵀ at the entries of its pattern, or at every entry.
//
//   out[row][c] = sum_lane g[row][lane] x[c][lane]
//
// A row's g is held in registers while the rows of x of a panel of columns pass by in the first-level cache; the sums
// of as many entries as a vector holds are reduced together. Bound by the loads of x.
#pragma once

#include "common/parallel.h"
#include "sparsity/lanes.simd.h"
#include "sparsity/matrix.h"
#include "sparsity/panels.h"

namespace lsh {
namespace LSH_LEVEL {

// Where the gradient of one weight goes.
template <class T>
struct WeightGradient {
  const SparseMatrix<T>* weight;
  T* out;      // (R, C), or (N) when the weight is packed and the gradient is not dense
  bool dense;  // at every entry instead of the pattern's
  SampledPanels sampled;

  int64_t panels() const { return (weight->pattern.columns + sampled.panel_columns - 1) / sampled.panel_columns; }
  T* sums() const { return dense || weight->packed ? out : weight->row_workspace; }

  // Before the first tile: zeroes rows [begin, end) and finds their panels.
  void start(int64_t begin, int64_t end) const;

  // Adds what one tile of `lanes` lanes gives: g (R, lanes) times x (C, lanes) for rows [begin, end).
  void add_tile(const T* g, const T* x, int64_t lanes, int64_t begin, int64_t end) const;

  // After the last tile: spreads the sums of a dense weight over its rows [begin, end).
  void finish(int64_t begin, int64_t end) const;
};

// The gradient of a bias: the sum over all lanes of each row in `range`, of one tile of `rows` channels. Adds to `out`.
template <class T>
void add_row_sums(const T* tile, int64_t rows, int64_t lanes, T* out, Range range);

}  // namespace LSH_LEVEL
}  // namespace lsh
