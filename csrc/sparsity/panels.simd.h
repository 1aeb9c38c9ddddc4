// Packs panel matrices (panels.h) and multiplies them with slabs of lanes (lanes.simd.h).
//
//   sums[row][lane] += sum_k value[row][k] x[column[row][k]][lane]
//
// Bound by the loads of x: one vector per multiply-add. Sums run over ascending columns within a panel and then over
// panels, whatever the grouping and whoever computes them.
#pragma once

#include "common/parallel.h"
#include "sparsity/gather.simd.h"
#include "sparsity/lanes.simd.h"
#include "sparsity/matrix.h"
#include "sparsity/panels.h"

namespace lsh {
namespace LSH_LEVEL {

// The worker's share of chunks: of about equal cost, the cumulative cost being `cost` as in share_by_cost.
static inline Range share_chunks(const Worker& worker, const PanelPlan& plan, const int32_t* cost) {
  return share_blocks_by_cost(worker, plan.units, plan.chunk_units, cost, int(plan.gates));
}

// Packs the chunks [begin, end) of a matrix unless that was done before, rows of the product being rows of the matrix.
template <class T>
void pack_rows(const SparseMatrix<T>& matrix, const PanelMatrix<T>& out, Range chunks);

// How many non-zeros stand before each column in column order: (columns + 1).
static inline void count_columns(const PatternView& p, int32_t* before) {
  for (int64_t c = 0; c <= p.columns; ++c) before[c] = 0;
  for (int64_t k = 0; k < p.row_offsets[p.rows]; ++k) ++before[p.column_of[k] + 1];
  for (int64_t c = 0; c < p.columns; ++c) before[c + 1] += before[c];
}

// Packs chunks of the transposed matrix, rows of the product being columns of the matrix. Walks the matrix by rows, the
// way it lies in memory, and reads its values in row order: they must have been gathered (gather.simd.h). `before`: of
// count_columns; `next`: room for a number per row of the matrix.
template <class T>
void pack_columns(const SparseMatrix<T>& matrix, const PanelMatrix<T>& out, const int32_t* before, int32_t* next,
                  Range chunks);

// Sums of a chunk's rows over one slab: room for (kChunkRows + 1) rows of the widest slab, aligned.
template <class T>
struct ChunkSums {
  static constexpr int64_t kNumbers = (kChunkRows + 1) * (kSlabLanes<T> + 8);
  alignas(64) T numbers[kNumbers];

  // Where a lane of the slab's rows stands.
  LanePlace place(const Slab& slab, int64_t lane_in_slab) const {
    const int64_t full = slab.full * kWidth<T>;
    if (lane_in_slab < full) return {lane_in_slab, full};
    return {(kChunkRows + 1) * full + lane_in_slab - full, slab.tail};
  }
};

// The product of one chunk with one slab of `x`, whose channels are the matrix's columns.
template <class T>
void multiply_chunk(const PanelMatrix<T>& matrix, int64_t chunk, const T* x, const Slab& slab, ChunkSums<T>& sums);

}  // namespace LSH_LEVEL
}  // namespace lsh
