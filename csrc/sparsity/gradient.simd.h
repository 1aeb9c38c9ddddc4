// The gradient of a sparse weight from lane tiles: at the entries of its pattern, or at every entry.
#pragma once

#include "sparsity/product.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// Where the gradient of one weight goes.
template <class T>
struct WeightGradient {
  const SparseMatrix<T>* weight;
  T* out;                       // (R, C), or (N) when the weight is packed and `every_column` null
  const int32_t* every_column;  // 0, 1, 2, …: gradient at every entry; null: at the pattern's entries

  // Before the first tile: zeroes rows [begin, end).
  void start(int64_t begin, int64_t end) const {
    const PatternView& p = weight->pattern;
    if (every_column || !weight->packed) {
      for (int64_t i = begin * p.columns; i < end * p.columns; ++i) out[i] = 0;
    }
    if (every_column) return;
    T* sums = weight->packed ? out : weight->row_workspace;
    for (int64_t k = p.row_offsets[begin]; k < p.row_offsets[end]; ++k) sums[k] = 0;
  }

  // Adds what one tile gives: g (R, lanes) times x (C, lanes) for rows [begin, end).
  void add_tile(const T* g, const T* x, int64_t lanes, int64_t begin, int64_t end) const {
    const PatternView& p = weight->pattern;
    for (int64_t row = begin; row < end; ++row) {
      if (every_column) {
        sample_row<T>(g + row * lanes, every_column, p.columns, x, lanes, lanes, out + row * p.columns);
      } else {
        T* sums = weight->packed ? out : weight->row_workspace;
        const int32_t first = p.row_offsets[row];
        sample_row<T>(g + row * lanes, p.column_of + first, p.row_offsets[row + 1] - first, x, lanes, lanes,
                      sums + first);
      }
    }
  }

  // After the last tile: spreads the sums of a dense weight over its rows [begin, end).
  void finish(int64_t begin, int64_t end) const {
    if (every_column || weight->packed) return;
    const PatternView& p = weight->pattern;
    for (int64_t row = begin; row < end; ++row) {
      T* dense = out + row * p.columns;
      for (int64_t k = p.row_offsets[row]; k < p.row_offsets[row + 1]; ++k) {
        dense[p.column_of[k]] = weight->row_workspace[k];
      }
    }
  }
};

// The gradient of a bias: the sum over all lanes of each row, for rows `range` of tiles (tiles, rows, lanes).
template <class T>
static void sum_rows(const LaneTiles& tiling, const T* tiles, int64_t rows, T* out, Range range) {
  for (int64_t row = range.begin; row < range.end; ++row) {
    T sum = 0;
    for (int64_t tile = 0; tile < tiling.tiles; ++tile) {
      const T* lanes = tiles + (tile * rows + row) * tiling.lanes;
      Vector<T, 4> four{};
      for (int64_t lane = 0; lane < tiling.lanes; lane += 4) four += load<T, 4>(lanes + lane);
      sum += (four[0] + four[1]) + (four[2] + four[3]);
    }
    out[row] = sum;
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
