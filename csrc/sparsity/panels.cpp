#include "sparsity/panels.h"

#include <algorithm>

namespace lsh {

PanelPlan plan_panels(int64_t units, int64_t gates, int64_t columns, int64_t lane_bytes, double density) {
  constexpr double kCacheBytes = 32768, kEnough = 16;  // non-zeros of a row in a panel that repay its sums' traffic
  const double fits = kCacheBytes / double(std::max<int64_t>(lane_bytes, 1));
  const double wanted = std::clamp(kEnough / std::max(density, 1e-6), fits, 1.5 * fits);
  const int64_t widest = std::clamp<int64_t>(int64_t(wanted), 1, kMostPanelColumns);
  PanelPlan plan{};
  plan.units = units;
  plan.gates = gates;
  plan.columns = columns;
  // As few chunks as there can be, but enough of equal size for a few workers to share them evenly.
  const int64_t most = std::max<int64_t>(1, kChunkRows / gates), fewest = (units + most - 1) / most;
  const int64_t wished = fewest < 4 ? fewest : (fewest + 3) / 4 * 4;
  plan.chunk_units = std::clamp<int64_t>((units + wished - 1) / std::max<int64_t>(wished, 1), 1, most);
  plan.chunks = (units + plan.chunk_units - 1) / plan.chunk_units;
  plan.panels = std::max<int64_t>(1, (columns + widest - 1) / widest);
  plan.panel_columns = (columns + plan.panels - 1) / plan.panels;
  return plan;
}

int64_t sampled_panel_columns(int64_t columns, int64_t lane_bytes, double density) {
  constexpr double kCacheBytes = 24576, kEnough = 36;  // non-zeros of a row in a panel that repay reading its lanes
  const double fits = kCacheBytes / double(std::max<int64_t>(lane_bytes, 1));
  const double wanted = std::clamp(kEnough / std::max(density, 1e-6), fits, 10 * fits);
  return std::clamp<int64_t>(int64_t(wanted), 1, std::max<int64_t>(columns, 1));
}

}  // namespace lsh
