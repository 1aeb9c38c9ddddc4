// The sparse linear layer at one SIMD level: whole tiles of inputs against rows of the weight.
#include "sparsity/linear.h"
#include "sparsity/gradient.simd.h"

namespace lsh {
namespace LSH_LEVEL {
namespace {

constexpr int64_t kRowBlock = 16;  // output rows written together: a cache line of each (N, R) row

template <class T>
void forward(const LinearForward<T>& pass, const Worker& worker) {
  const PatternView& p = pass.weight.pattern;
  const int64_t L = pass.tiling.lanes;
  const Range rows = share_by_cost(worker, p.rows, p.row_offsets, 1);
  const Range tiles = share(worker, pass.tiling.tiles);
  gather_rows(pass.weight, rows.begin, rows.end);
  sequence_to_tiles(pass.tiling, p.columns, pass.input, pass.input_tiles, tiles.begin, tiles.end);
  wait_for_team(worker);
  constexpr int64_t kMostLanes = 96;  // lane_tiles() makes no wider tile for a batch of one
  alignas(64) T block[kRowBlock * kMostLanes];
  for (int64_t tile = 0; tile < pass.tiling.tiles; ++tile) {
    const T* x = pass.input_tiles + tile * p.columns * L;
    const int64_t first = tile * pass.tiling.steps_per_tile;
    const int64_t left = pass.tiling.steps - first;
    const int64_t used = left < pass.tiling.steps_per_tile ? left : pass.tiling.steps_per_tile;
    for (int64_t row = rows.begin; row < rows.end; row += kRowBlock) {
      const int64_t count = rows.end - row < kRowBlock ? rows.end - row : kRowBlock;
      for (int64_t r = 0; r < count; ++r) multiply<T>(pass.weight, row + r, x, L, L, block + r * L);
      for (int64_t lane = 0; lane < used; ++lane) {
        T* out = pass.output + (first + lane) * p.rows + row;
        for (int64_t r = 0; r < count; ++r) out[r] = block[r * L + lane] + (pass.bias ? pass.bias[row + r] : T(0));
      }
    }
  }
}

template <class T>
void backward(const LinearBackward<T>& pass, const Worker& worker) {
  const PatternView& p = pass.weight.pattern;
  const int64_t L = pass.tiling.lanes;
  const Range rows = share_by_cost(worker, p.rows, p.row_offsets, 1);
  const Range columns = share_by_cost(worker, p.columns, p.column_offsets, 1);
  const Range tiles = share(worker, pass.tiling.tiles);
  sequence_to_tiles(pass.tiling, p.columns, pass.input, pass.input_tiles, tiles.begin, tiles.end);
  sequence_to_tiles(pass.tiling, p.rows, pass.grad_output, pass.output_tiles, tiles.begin, tiles.end);
  if (pass.grad_input) gather_columns(pass.weight, columns.begin, columns.end);
  wait_for_team(worker);

  const WeightGradient<T> gradient{&pass.weight, pass.grad_weight, pass.dense_gradient ? pass.every_column : nullptr};
  gradient.start(rows.begin, rows.end);
  constexpr int64_t kMostLanes = 96;
  alignas(64) T lanes[kMostLanes];
  for (int64_t tile = 0; tile < pass.tiling.tiles; ++tile) {
    const T* x = pass.input_tiles + tile * p.columns * L;
    const T* g = pass.output_tiles + tile * p.rows * L;
    gradient.add_tile(g, x, L, rows.begin, rows.end);
    for (int64_t column = columns.begin; pass.grad_input && column < columns.end; ++column) {
      multiply_transposed<T>(pass.weight, column, g, L, L, lanes);
      lanes_to_sequence(pass.tiling, tile, 0, L, lanes, p.columns, column, pass.grad_input);
    }
  }
  gradient.finish(rows.begin, rows.end);
  if (pass.grad_bias) sum_rows(pass.tiling, pass.output_tiles, p.rows, pass.grad_bias, rows);
}

}  // namespace

extern const LinearTable linear;
const LinearTable linear = {{forward<float>, backward<float>}, {forward<double>, backward<double>}};

}  // namespace LSH_LEVEL
}  // namespace lsh
