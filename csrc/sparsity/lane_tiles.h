// Lane tiles: how a sequence (T, B, C) is laid out for sparse products.
//
// A sparse product gives each non-zero the same work for every time step and batch item, so these are the SIMD lanes:
// `steps_per_tile` time steps of B items side by side, padded with zeros to a multiple of 16 lanes. Tile i is a
// (C, lanes) matrix; time step t stands in tile t / steps_per_tile at lane (t % steps_per_tile) * B. A tile of
// 64 to 96 lanes fills the vector registers and a few hundred channels of it fit in the level-2 cache.
#pragma once

#include <cstdint>

namespace lsh {

struct LaneTiles {
  int64_t steps;
  int64_t batch;
  int64_t steps_per_tile;
  int64_t lanes;
  int64_t tiles;
};

// The tiling of T steps of B items with the least padding, at most 96 lanes unless B alone needs more.
LaneTiles lane_tiles(int64_t steps, int64_t batch);

}  // namespace lsh
