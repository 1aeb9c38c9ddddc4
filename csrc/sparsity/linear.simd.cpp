// The sparse linear layer at one SIMD level: chunks of the weight's rows against slabs of inputs.
#include "sparsity/linear.h"
#include "sparsity/gradient.simd.h"
#include "sparsity/lookup.simd.h"
#include "sparsity/tiles.simd.h"

namespace lsh {
namespace LSH_LEVEL {
namespace {

template <class T>
void forward(const LinearForward<T>& pass, const Worker& worker) {
  const PatternView& p = pass.weight.pattern;
  if (pass.lookup.plan.gates > 0) {
    const Range slices = share_slices(worker, pass.lookup.plan, p.row_offsets);
    pack_slices(pass.weight, pass.lookup, slices);
    store_few(pass.lookup.plan, pass.input, pass.tiling.steps, pass.input_tiles, worker);
    wait_for_team(worker);
    return multiply_few(pass.lookup, slices, pass.input_tiles, pass.tiling.steps, pass.bias, pass.output);
  }
  const Range chunks = share_chunks(worker, pass.panels.plan, p.row_offsets);
  pack_rows(pass.weight, pass.panels, chunks);
  prepare_tiles(pass.tiling, p.columns, pass.input, pass.input_tiles, worker);
  wait_for_team(worker);
  multiply_tiles(pass.panels, chunks, pass.tiling, pass.tiling.all(), pass.input_tiles, pass.bias, pass.output);
}

template <class T>
void backward(const LinearBackward<T>& pass, const Worker& worker) {
  const PatternView& p = pass.weight.pattern;
  const LaneTiles& tiling = pass.tiling;
  const Range rows = share_by_cost(worker, p.rows, p.row_offsets, 1);
  prepare_tiles(tiling, p.columns, pass.input, pass.input_tiles, worker);
  prepare_tiles(tiling, p.rows, pass.grad_output, pass.output_tiles, worker);
  Range chunks{};
  if (pass.grad_input) {
    gather_rows(pass.weight, rows.begin, rows.end);
    wait_for_team(worker);
    int32_t* before = pass.scratch + worker.index * (p.columns + 1 + p.rows);
    count_columns(p, before);
    chunks = share_chunks(worker, pass.panels.plan, before);
    pack_columns(pass.weight, pass.panels, before, before + p.columns + 1, chunks);
  }
  wait_for_team(worker);

  const WeightGradient<T> gradient{&pass.weight, pass.grad_weight, pass.dense_gradient, pass.rooms.of(worker.index)};
  gradient.compute(tiling, tiling.all(), pass.output_tiles, pass.input_tiles, rows, false);
  for (int64_t row = rows.begin; pass.grad_bias && row < rows.end; ++row) pass.grad_bias[row] = 0;
  for (int64_t tile = 0; pass.grad_bias && tile < tiling.tiles; ++tile) {
    const T* g = pass.output_tiles + tile * p.rows * tiling.lanes;
    add_row_sums(g, p.rows, tiling.lanes_in(tile), pass.grad_bias, rows);
  }
  if (pass.grad_input)
    multiply_tiles<T>(pass.panels, chunks, tiling, tiling.all(), pass.output_tiles, nullptr, pass.grad_input);
}

}  // namespace

extern const LinearTable linear;
const LinearTable linear = {{forward<float>, backward<float>}, {forward<double>, backward<double>}};

}  // namespace LSH_LEVEL
}  // namespace lsh
