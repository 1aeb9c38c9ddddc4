// The maps that kernels and launches share, for tests to call: plans, tiles, digits.
#include <cuda_runtime.h>

#include "cells/persistent_plan.h"
#include "lyapunov/qr_growth_launch.h"
#include "sparsity/selection_launch.h"

// The plan of a layer; returns its reason. `out`: possible, units, blocks, threads, staged, room, shared bytes, and
// where gates, values, starts and columns lie.
extern "C" const char* simt_plan(const int64_t* shape, const int64_t* limits, int64_t* out) {
  const lsh::LayerShape layer{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5] != 0};
  const lsh::PersistentPlan plan = plan_persistent(layer, {limits[0], limits[1], limits[2] != 0});
  const lsh::SharedLayout at = shared_layout(layer, plan.units, plan.staged, plan.room);
  const int64_t facts[] = {plan.possible,     plan.units, plan.blocks, plan.threads, plan.staged, plan.room,
                           plan.shared_bytes, at.gates,   at.values,   at.starts,    at.columns};
  for (int i = 0; i < 11; ++i) out[i] = facts[i];
  return plan.why;
}

extern "C" void simt_tile_pair(int64_t index, int64_t* out) {
  const lsh::TilePair pair = lsh::tile_pair(index);
  out[0] = pair.row;
  out[1] = pair.column;
}

extern "C" void simt_digit(int64_t place, int64_t bits, int64_t* out) {
  const lsh::Digit digit = lsh::digit_at(int(place), int(bits));
  out[0] = digit.shift;
  out[1] = digit.bits;
  out[2] = lsh::digit_count(int(bits));
}
