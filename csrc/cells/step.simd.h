// The numbers of one step of a batch: from rows to lanes, to tiles, and back.
#pragma once

#include "common/parallel.h"
#include "sparsity/lanes.simd.h"
#include "sparsity/lookup.h"

namespace lsh {
namespace LSH_LEVEL {

constexpr int64_t kFewLanes = round_to_four(kFewItems);

// Calls body(lane, width tag) over `lanes`, a multiple of 4, in full vectors, then in one of eight and one of four.
template <class T, class Body>
LSH_INLINE void for_lanes(int64_t lanes, const Body& body) {
  constexpr int W = kWidth<T>;
  int64_t lane = 0;
  for (; lane + W <= lanes; lane += W) body.template operator()<W>(lane);
  if constexpr (W > 8) {
    if (lane + 8 <= lanes) {
      body.template operator()<8>(lane);
      lane += 8;
    }
  }
  if constexpr (W > 4) {
    for (; lane < lanes; lane += 4) body.template operator()<4>(lane);
  }
}

// (H, P) lanes to (B, H) row-major for the units [begin, end), four by four.
template <class T>
static void lanes_to_rows(const T* in, int64_t batch, int64_t hidden, int64_t lanes, T* rows, Range units) {
  for (int64_t b = 0; b < batch; b += 4) {
    const int here = batch - b < 4 ? int(batch - b) : 4;
    int64_t u = units.begin;
    for (; u + 4 <= units.end; u += 4) {
      Vector<T, 4> block[4];
      for (int i = 0; i < 4; ++i) block[i] = load<T, 4>(in + (u + i) * lanes + b);
      transpose<T, 4>(block);
      for (int j = 0; j < here; ++j) store<T, 4>(rows + (b + j) * hidden + u, block[j]);
    }
    for (; u < units.end; ++u) {
      for (int j = 0; j < here; ++j) rows[(b + j) * hidden + u] = in[u * lanes + b + j];
    }
  }
}

// (B, H) row-major to (H, P) lanes for the units [begin, end), four by four: lanes without an item become zero; or
// added to what stands there.
template <bool kAdd = false, class T>
static void rows_to_lanes(const T* rows, int64_t batch, int64_t hidden, int64_t lanes, T* out, Range units) {
  for (int64_t b = 0; b < (kAdd ? batch : lanes); b += 4) {
    const int here = batch - b >= 4 ? 4 : batch > b ? int(batch - b) : 0;
    int64_t u = units.begin;
    for (; u + 4 <= units.end; u += 4) {
      Vector<T, 4> block[4];
      for (int j = 0; j < 4; ++j) block[j] = j < here ? load<T, 4>(rows + (b + j) * hidden + u) : Vector<T, 4>{};
      transpose<T, 4>(block);
      for (int i = 0; i < 4; ++i) {
        T* lane = out + (u + i) * lanes + b;
        store<T, 4>(lane, kAdd ? load<T, 4>(lane) + block[i] : block[i]);
      }
    }
    for (; u < units.end; ++u) {
      T* lane = out + u * lanes + b;
      for (int j = 0; j < 4; ++j) {
        const T number = j < here ? rows[(b + j) * hidden + u] : T(0);
        lane[j] = kAdd ? lane[j] + number : number;
      }
    }
  }
}

// How long before they are touched rows are asked for that have not been in a cache for many steps.
constexpr int64_t kRowsBefore = 16;

// Lanes 0 … batch - 1 of the channels `rows`, of which lane b stands at from(b), into a tile of `channels` channels and
// `tile_lanes` lanes from lane `first` on.
template <class T, class From>
static void step_to_tile(const T* step, const From& from, int64_t batch, Range rows, T* tile, int64_t channels,
                         int64_t tile_lanes, int64_t first) {
  if (batch % 4 == 0) {  // four lanes stay together wherever slabs begin
    for (int64_t b = 0; b < batch; b += 4) {
      const LanePlace in = from(b), out = lane_place<T>(first + b, tile_lanes, channels);
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        T* to = tile + out.offset + row * out.stride;
        __builtin_prefetch(to + kRowsBefore * out.stride, 1);
        store<T, 4>(to, load<T, 4>(step + in.offset + row * in.stride));
      }
    }
    return;
  }
  for (int64_t b = 0; b < batch; ++b) {
    const LanePlace in = from(b), out = lane_place<T>(first + b, tile_lanes, channels);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      tile[out.offset + row * out.stride] = step[in.offset + row * in.stride];
    }
  }
}

// Zeroes the lanes [begin, end) of the channels `rows` of a tile.
template <class T>
static void clear_lanes(T* tile, int64_t channels, int64_t tile_lanes, int64_t begin, int64_t end, Range rows) {
  for (int64_t lane = begin; lane < end; ++lane) {
    const LanePlace place = lane_place<T>(lane, tile_lanes, channels);
    for (int64_t row = rows.begin; row < rows.end; ++row) tile[place.offset + row * place.stride] = 0;
  }
}

// Zeroes the lanes that complete the last vector of channels in slabs: products read them and nobody writes them, and
// processors are slow with some of the numbers that bits left over may be.
template <class T>
static void clear_padding(T* slabs, int64_t channels, int64_t lanes, Range rows) {
  const Slab last = slab_at<T>(lanes / kSlabLanes<T> * kSlabLanes<T>, lanes);
  const int64_t width = last.full * kWidth<T>;
  for (int64_t lane = lanes - last.first; lane < width; ++lane) {
    for (int64_t row = rows.begin; row < rows.end; ++row) slabs[channels * last.first + row * width + lane] = 0;
  }
}

// Zeroes the channels `rows` of (C, lanes).
template <class T>
static void clear_channels(T* out, int64_t lanes, Range rows) {
  for (int64_t i = rows.begin * lanes; i < rows.end * lanes; ++i) out[i] = 0;
}

// Lanes from `moving` on, where `lane` is the first of v's, become those of `kept`.
template <class T, int N>
LSH_INLINE void keep_from(Vector<T, N>& v, const Vector<T, N>& kept, int64_t lane, int64_t moving) {
  if (lane + N <= moving) return;
  for (int i = 0; i < N; ++i) {
    if (lane + i >= moving) v[i] = kept[i];
  }
}

// Numbers of `lanes` items of a register of units, a vector an item, into `count` rows of lanes.
template <class T>
LSH_INLINE void vectors_to_lanes(const T* vectors, int64_t count, T* out, int64_t lanes) {
  constexpr int W = kWidth<T>;
  for (int64_t lane = 0; lane < lanes; lane += 4) {
    int64_t u = 0;
    if constexpr (W >= 4) {
      for (; u + 4 <= count; u += 4) {
        Vector<T, 4> block[4];
        for (int i = 0; i < 4; ++i) block[i] = load<T, 4>(vectors + (lane + i) * W + u);
        transpose<T, 4>(block);
        for (int j = 0; j < 4; ++j) store<T, 4>(out + (u + j) * lanes + lane, block[j]);
      }
    }
    for (; u < count; ++u) {
      for (int i = 0; i < 4; ++i) out[u * lanes + lane + i] = vectors[(lane + i) * W + u];
    }
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
