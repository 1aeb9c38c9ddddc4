#include "sparsity/panels.h"

#include <algorithm>

#include "common/simd_level.h"

namespace lsh {

int64_t most_group_rows() { return simd_vector_bytes() == 64 ? 8 : 4; }

int64_t cached_columns(int64_t lane_bytes, double density, double enough, double times) {
  constexpr double kCacheBytes = 32768;
  const double fits = kCacheBytes / double(std::max<int64_t>(lane_bytes, 1));
  return std::max<int64_t>(1, int64_t(std::clamp(enough / std::max(density, 1e-6), fits, times * fits)));
}

PanelPlan plan_panels(int64_t units, int64_t gates, int64_t columns, int64_t lane_bytes, double density,
                      Bundles bundles) {
  constexpr double kEnough = 16;  // non-zeros of a row in a panel that repay its sums' traffic
  const int64_t widest = std::min(cached_columns(lane_bytes, density, kEnough, 1.5), kMostPanelColumns);
  PanelPlan plan{};
  plan.units = units;
  plan.gates = gates;
  plan.columns = columns;
  plan.bundle_rows = bundles.rows;
  plan.bundles = most_group_rows() / bundles.rows;
  plan.gate_bundles = bundles.of_gates;
  // As few chunks as there can be, but enough of equal size for a few workers to share them evenly. Of whole bundles,
  // of whatever rows: the matrices of a layer are cut alike, whether or not their rows come in bundles.
  const int64_t whole = most_group_rows();
  const int64_t most = std::max<int64_t>(1, kChunkRows / gates / whole) * whole, fewest = (units + most - 1) / most;
  const int64_t wished = fewest < 4 ? fewest : (fewest + 3) / 4 * 4;
  const int64_t even = (units + wished - 1) / std::max<int64_t>(wished, 1);
  plan.chunk_units = std::clamp<int64_t>((even + whole - 1) / whole * whole, 1, most);
  plan.chunks = (units + plan.chunk_units - 1) / plan.chunk_units;
  plan.panels = std::max<int64_t>(1, (columns + widest - 1) / widest);
  plan.panel_columns = (columns + plan.panels - 1) / plan.panels;
  return plan;
}

}  // namespace lsh
