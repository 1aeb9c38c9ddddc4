#include "sparsity/lane_tiles.h"

#include <algorithm>

namespace lsh {

LaneTiles lane_tiles(int64_t steps, int64_t batch) {
  const auto padded = [](int64_t lanes) { return std::max<int64_t>(16, (lanes + 15) / 16 * 16); };
  LaneTiles best{steps, batch, 1, padded(batch), steps};
  if (batch == 0) return best;
  int64_t fewest = best.lanes * best.tiles;
  for (int64_t per_tile = 2; per_tile <= steps && per_tile * batch <= 96; ++per_tile) {
    const LaneTiles tiling{steps, batch, per_tile, padded(per_tile * batch), (steps + per_tile - 1) / per_tile};
    const int64_t total = tiling.lanes * tiling.tiles;
    if (total <= fewest) {  // of equal totals the wider tile reads the weights less often
      best = tiling;
      fewest = total;
    }
  }
  return best;
}

}  // namespace lsh
