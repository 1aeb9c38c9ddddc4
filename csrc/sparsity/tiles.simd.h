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
// of a row-major (N, plan.units) matrix, whose rows are those tiles' lanes.
template <class T>
static void multiply_tiles(const PanelMatrix<T>& matrix, Range chunks, const LaneTiles& tiling, Range which,
                           const T* tiles, const T* bias, T* out) {
  const PanelPlan& plan = matrix.plan;
  ChunkSums<T> sums;
  for (int64_t tile = which.begin; tile < which.end; ++tile) {
    const T* x = tiles + (tile - which.begin) * plan.columns * tiling.lanes;
    const int64_t lanes = tiling.lanes_in(tile), used = tiling.used(tile), cached = cached_lanes<T>(plan.columns);
    for (int64_t begin = 0; begin < used; begin += cached) {
      const int64_t end = begin + cached < used ? begin + cached : used;
      for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        const int64_t first = chunk * plan.chunk_units;
        for_slabs_between<T>(begin, end, lanes, [&](const Slab& slab) {
          const int64_t here = used - slab.first < slab.width<T>() ? used - slab.first : slab.width<T>();
          const int64_t row = (tiling.first_step(tile) - tiling.first_step(which.begin)) * tiling.batch + slab.first;
          T* to = out + row * plan.units + first;
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

// Lays a sequence out as tiles: blocks of their channels are shared, as there may be fewer tiles than workers.
template <class T>
static void prepare_tiles(const LaneTiles& tiling, int64_t channels, const T* sequence, T* tiles,
                          const Worker& worker) {
  constexpr int64_t kBlock = 64;  // channels: whole vectors
  const int64_t blocks = (channels + kBlock - 1) / kBlock;
  const Range own = share(worker, tiling.tiles * blocks);
  for (int64_t at = own.begin; at < own.end;) {
    const int64_t tile = at / blocks, next = (tile + 1) * blocks, stop = next < own.end ? next : own.end;
    const int64_t begin = at % blocks * kBlock, end = stop == next ? channels : (stop - tile * blocks) * kBlock;
    sequence_to_tile(tiling, tile, channels, {begin, end}, sequence, tiles + tile * channels * tiling.lanes);
    at = stop;
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
