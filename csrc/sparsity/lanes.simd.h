// How lanes lie in memory: C channels of P lanes, cut into slabs that a product takes at once.
//
// A slab is a few full vectors of lanes; where the lanes end it may be fewer, and a tail of a quarter or half vector.
// All channels of a slab stand together, first their full vectors, then their tails, so that every load is aligned and
// what a panel of channels takes in the first-level cache is nothing but itself:
//
//   slab 0: (C, full vectors)   …   last slab: (C, full vectors) (C, tail)
//
// Lanes beyond P that complete the last vector hold zeros or nothing of interest; no sum ever mixes lanes.
#pragma once

#include <utility>  // integer_sequence: types, no code

#include "common/math.h"
#include "common/vector.h"
#include "sparsity/lane_tiles.h"

namespace lsh {
namespace LSH_LEVEL {

// Four rows of sums of a slab fill the registers that there are: 32, or 16 below AVX-512. Always a multiple of 4 lanes.
template <class T>
constexpr int kSlabVectors = kVectorBytes == 64 || kWidth<T> == 2 ? 2 : 3;

template <class T>
constexpr int kSlabLanes = kSlabVectors<T> * kWidth<T>;

struct Slab {
  int64_t first;  // lane
  int full;       // vectors
  int tail;       // lanes beside them: 0, 4 or 8

  template <class T>
  int64_t width() const {
    return full * kWidth<T> + tail;
  }
};

// The slab of `lanes` lanes that starts at lane `first`, a multiple of kSlabLanes.
template <class T>
LSH_INLINE Slab slab_at(int64_t first, int64_t lanes) {
  constexpr int W = kWidth<T>;
  constexpr int kWidestTail = W > 4 ? W / 2 : 0;
  const int64_t left = lanes - first;
  if (left >= kSlabLanes<T>) return {first, kSlabVectors<T>, 0};
  const int full = int(left / W), rest = int(left % W);
  return rest > kWidestTail ? Slab{first, full + 1, 0} : Slab{first, full, rest};
}

// Lanes of `channels` channels that stay in the second-level cache while chunk after chunk is multiplied with them.
template <class T>
LSH_INLINE int64_t cached_lanes(int64_t channels) {
  constexpr int64_t kCacheBytes = 1 << 20;
  const int64_t slabs = kCacheBytes / (kSlabLanes<T> * int64_t(sizeof(T)) * (channels > 0 ? channels : 1));
  return (slabs > 1 ? slabs : 1) * kSlabLanes<T>;
}

// Calls body(slab) for those from lane `begin` to `end` of `lanes` lanes.
template <class T, class Body>
LSH_INLINE void for_slabs_between(int64_t begin, int64_t end, int64_t lanes, const Body& body) {
  for (int64_t first = begin; first < end && first < lanes; first += kSlabLanes<T>) body(slab_at<T>(first, lanes));
}

template <class T, class Body>
LSH_INLINE void for_slabs(int64_t lanes, const Body& body) {
  for (int64_t first = 0; first < lanes; first += kSlabLanes<T>) body(slab_at<T>(first, lanes));
}

// Where a lane stands: that of channel c at `offset` + c * `stride`, and the rest of its vector after it.
struct LanePlace {
  int64_t offset;
  int64_t stride;
};

template <class T>
LSH_INLINE LanePlace lane_place(int64_t lane, int64_t lanes, int64_t channels) {
  const Slab slab = slab_at<T>(lane / kSlabLanes<T> * kSlabLanes<T>, lanes);
  const int64_t in_slab = lane - slab.first, full = slab.full * kWidth<T>;
  if (in_slab < full) return {channels * slab.first + in_slab, full};
  return {channels * (slab.first + full) + in_slab - full, slab.tail};
}

// N x N numbers: out[i][j] = in[j][i], in log2(N) rounds of exchanging blocks.
template <int H, int N, int... I>
LSH_INLINE void exchange_blocks(auto& a, auto& b, std::integer_sequence<int, I...>) {
  const auto upper = __builtin_shufflevector(a, b, ((I & H) ? N + I - H : I)...);
  const auto lower = __builtin_shufflevector(a, b, ((I & H) ? N + I : I + H)...);
  a = upper;
  b = lower;
}

template <class T, int N, int H = N / 2>
LSH_INLINE void transpose(Vector<T, N> (&v)[N]) {
  for (int i = 0; i < N; ++i) {
    if (!(i & H)) exchange_blocks<H, N>(v[i], v[i + H], std::make_integer_sequence<int, N>());
  }
  if constexpr (H > 1) transpose<T, N, H / 2>(v);
}

// Channels, whole vectors of them or the last ones, of (T, B, C) row-major into the lane tile `tile`; padding lanes
// become zero.
template <class T>
static void sequence_to_tile(const LaneTiles& tiling, int64_t tile, int64_t channels, Range which, const T* sequence,
                             T* out) {
  constexpr int W = kWidth<T>;
  const int64_t lanes = tiling.lanes_in(tile), used = tiling.used(tile);
  sequence += tiling.first_step(tile) * tiling.batch * channels;
  for (int64_t lane = 0; lane < lanes; lane += W) {
    const LanePlace place = lane_place<T>(lane, lanes, channels);
    const int here = used - lane >= W ? W : used - lane > 0 ? int(used - lane) : 0;
    for (int64_t c = which.begin; c < which.end; c += W) {
      const int wide = which.end - c >= W ? W : int(which.end - c);
      Vector<T, W> block[W];
      for (int i = 0; i < W; ++i) {
        const T* row = sequence + (lane + i) * channels + c;
        block[i] = i >= here ? Vector<T, W>{} : wide == W ? load<T, W>(row) : load_first<T, W>(row, wide);
      }
      transpose<T, W>(block);
      for (int j = 0; j < wide; ++j) store<T, W>(out + place.offset + (c + j) * place.stride, block[j]);
    }
  }
}

// `count` channels of lanes, as `place` says, into columns of a row-major matrix of `columns` columns: lane i of
// channel j, plus bias[j] if there is a bias, to out[i * columns + j] for the first `used` lanes.
template <class T>
static void lanes_to_rows(const T* lanes, LanePlace place, int64_t count, int64_t used, const T* bias, int64_t columns,
                          T* out) {
  constexpr int W = kWidth<T>;
  const int here = used < W ? int(used) : W;
  for (int64_t c = 0; c < count; c += W) {
    const int wide = count - c >= W ? W : int(count - c);
    Vector<T, W> block[W];
    for (int j = 0; j < W; ++j) {
      block[j] = j < wide ? load<T, W>(lanes + place.offset + (c + j) * place.stride) : Vector<T, W>{};
      if (bias && j < wide) block[j] += bias[c + j];
    }
    transpose<T, W>(block);
    for (int i = 0; i < here; ++i) {
      T* row = out + i * columns + c;
      if (wide == W) {
        store<T, W>(row, block[i]);
      } else {
        store_first<T, W>(row, block[i], wide);
      }
    }
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
