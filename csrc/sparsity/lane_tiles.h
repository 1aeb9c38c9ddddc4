// Lane tiles: how a sequence (T, B, C) is laid out for sparse products.
//
// A sparse product gives each non-zero the same work for every time step and batch item, so these are the SIMD lanes.
// A tile holds the lanes of a few time steps side by side: step t stands in tile t / steps_per_tile from lane
// (t % steps_per_tile) * B on. Lanes are padded with zeros to a multiple of 16; the last tile may hold fewer. What a
// tile looks like in memory is said in lanes.simd.h.
#pragma once

#include <cstdint>

#include "common/parallel.h"

namespace lsh {

// Rounded up to what the vectors of every SIMD level can take.
constexpr int64_t round_to_four(int64_t lanes) { return (lanes + 3) / 4 * 4; }

// Rounded up to whole cache lines of float32, which are whole vectors at every SIMD level.
inline int64_t padded_lanes(int64_t lanes) { return (lanes + 15) / 16 * 16; }

struct LaneTiles {
  int64_t steps;
  int64_t batch;
  int64_t steps_per_tile;
  int64_t lanes;  // of a full tile, padded; every tile has room for as many
  int64_t tiles;

  Range all() const { return {0, tiles}; }
  int64_t first_step(int64_t tile) const { return tile * steps_per_tile; }
  int64_t steps_in(int64_t tile) const {
    const int64_t left = steps - first_step(tile);
    return left < steps_per_tile ? left : steps_per_tile;
  }
  int64_t used(int64_t tile) const { return steps_in(tile) * batch; }
  int64_t lanes_in(int64_t tile) const { return padded_lanes(used(tile)); }
};

// The tiling of T steps of B items with the least padding, at most 256 lanes a tile unless B alone needs more.
LaneTiles lane_tiles(int64_t steps, int64_t batch);

}  // namespace lsh
