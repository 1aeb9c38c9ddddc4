// Whole sequences as lane tiles: laid out, multiplied, and written back row by row.
#pragma once

#include "sparsity/panels.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// Asks for a block of a matrix that is about to be written: its rows lie pages apart, so that no prefetcher guesses
// them, and a store that waits for its line from main memory holds up all that follow.
template <class T>
LSH_INLINE void prefetch_rows(const T* block, int64_t rows, int64_t stride, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row) prefetch(block + row * stride, columns * int64_t(sizeof(T)));
}

// Rows of the product of the matrix's chunks with some tiles, the first of which stands at `tiles`, written to columns
// of a row-major (N, plan.units) matrix, to the rows that are those tiles' lanes.
template <class T>
static void multiply_tiles(const PanelMatrix<T>& matrix, Range chunks, const LaneTiles& tiling, Range which,
                           const T* tiles, const T* bias, T* out) {
  const PanelPlan& plan = matrix.plan;
  ChunkSums<T> sums;
  for (int64_t tile = which.begin; tile < which.end; ++tile) {
    const T* x = tiles + (tile - which.begin) * plan.columns * tiling.lanes;
    const int64_t lanes = tiling.lanes_in(tile), used = tiling.used(tile), cached = cached_lanes<T>(plan.columns);
    for (int64_t begin = 0; begin < lanes; begin += cached) {
      for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        const int64_t first = chunk * plan.chunk_units;
        for_slabs_between<T>(begin, begin + cached, lanes, [&](const Slab& slab) {
          const int64_t here = used - slab.first < slab.width<T>() ? used - slab.first : slab.width<T>();
          T* to = out + (tiling.first_step(tile) * tiling.batch + slab.first) * plan.units + first;
          prefetch_rows(to, here, plan.units, plan.units_in(chunk));
          multiply_chunk(matrix, chunk, x, slab, sums);
          for (int64_t at = 0; at < here; at += kWidth<T>) {
            lanes_to_rows(sums.numbers, sums.place(slab, at), plan.units_in(chunk), here - at,
                          bias ? bias + first : nullptr, plan.units, to + at * plan.units);
          }
        });
      }
    }
  }
}

template <class T>
static void prepare_tiles(const LaneTiles& tiling, int64_t channels, const T* sequence, T* tiles,
                          const Worker& worker) {
  const Range own = share(worker, tiling.tiles);
  for (int64_t tile = own.begin; tile < own.end; ++tile) {
    sequence_to_tile(tiling, tile, channels, sequence, tiles + tile * channels * tiling.lanes);
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
