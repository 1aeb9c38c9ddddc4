#include "sparsity/sampled.h"

#include <algorithm>

#include "sparsity/panels.h"

namespace lsh {

int64_t sampled_panel_columns(int64_t columns, int64_t lane_bytes, double density) {
  constexpr double kEnough = 24;  // non-zeros of a row in a panel that repay finding them
  const int64_t widest = std::min(cached_columns(lane_bytes, density, kEnough, 3), kSampledEntries / 8);
  const int64_t panels = std::max<int64_t>(1, (columns + widest - 1) / widest);
  return std::max<int64_t>(1, (columns + panels - 1) / panels);
}

int64_t sampled_block_rows(int64_t lane_bytes) {
  constexpr int64_t kCacheBytes = 1 << 20;
  return std::clamp<int64_t>(kCacheBytes / std::max<int64_t>(lane_bytes, 1), 1, kSampledRows);
}

}  // namespace lsh
