#include "sparsity/lane_tiles.h"

#include <algorithm>

namespace lsh {

LaneTiles lane_tiles(int64_t steps, int64_t batch) {
  constexpr int64_t kMostLanes = 256;
  constexpr int64_t kWhole = 32;  // lanes that a product takes at once at the widest level
  const auto cost = [&](int64_t lanes) { return (lanes + kWhole - 1) / kWhole; };
  const auto tiling = [&](int64_t per_tile) {
    return LaneTiles{steps, batch, per_tile, std::max<int64_t>(16, padded_lanes(per_tile * batch)),
                     (steps + per_tile - 1) / per_tile};
  };
  LaneTiles best = tiling(1);
  if (batch == 0) return best;
  int64_t least = steps * cost(batch);
  for (int64_t per_tile = 2; per_tile <= steps && per_tile * batch <= kMostLanes; ++per_tile) {
    const LaneTiles next = tiling(per_tile);
    const int64_t total = (next.tiles - 1) * cost(per_tile * batch) + cost(next.used(next.tiles - 1));
    if (total < least || (total == least && batch == 1)) {  // a lone lane a step: fewer, larger tiles
      best = next;
      least = total;
    }
  }
  return best;
}

}  // namespace lsh
