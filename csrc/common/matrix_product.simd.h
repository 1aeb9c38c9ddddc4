// Products of dense matrices, packed for the caches.
//
//   C += sign · A B        A (M, D), B (D, N) with any strides, C (M, N) with rows of consecutive numbers
//
// Both operands are copied into panels of kTileRows rows and kTileColumns columns, which the inner loop reads in order;
// a tile of C stays in registers for kDepth products. Bound by arithmetic. Every number of C is one sum, in the order
// of the depth, over blocks of kDepth: the same whatever part of C is asked for, so workers may share C in any way.
// C may be wider than A and B: blocks of float products are then added up in double.
#pragma once

#include "common/math.h"
#include "common/parallel.h"
#include "common/vector.h"

namespace lsh {
namespace LSH_LEVEL {

#if defined(__AVX512F__)
constexpr int kTileRows = 8;  // 8 · 3 sums, 3 operands and a broadcast in 32 registers
#else
constexpr int kTileRows = 4;  // 4 · 3 sums in 16
#endif
constexpr int kTileVectors = 3;
template <class T>
constexpr int kTileColumns = kTileVectors * kWidth<T>;

constexpr int64_t kDepth = 192;        // a panel of B, kDepth · kTileColumns, stays in the first-level cache
constexpr int64_t kRowBlock = 96;      // a block of A, kRowBlock · kDepth, in the second-level cache
constexpr int64_t kColumnBlock = 384;  // a block of B beside it; a multiple of kTileColumns at every level
constexpr int64_t kPanelAlignment = 64;

// Numbers of scratch memory that one worker needs.
constexpr int64_t kProductScratch = kDepth * (kRowBlock + kColumnBlock) + 2 * kPanelAlignment;

// A matrix as an operand: element (i, j) stands at data[i * row + j * column].
template <class T>
struct Operand {
  const T* data;
  int64_t row, column;

  const T* at(int64_t i, int64_t j) const { return data + i * row + j * column; }
};

template <class T>
static Operand<T> by_rows(const T* data, int64_t stride) {
  return {data, stride, 1};
}

template <class T>
static Operand<T> transposed(const T* data, int64_t stride) {
  return {data, 1, stride};
}

// Which part of C is wanted.
enum class Part { all, upper };

// What to do with C's numbers before the sum is added.
enum class Start { from_zero, from_present };

template <class T>
static T* aligned(T* p) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  return reinterpret_cast<T*>((address + kPanelAlignment - 1) / kPanelAlignment * kPanelAlignment);
}

// Panels of `Width` numbers side by side, one panel after the other, zeros beyond `count`: from a matrix that is
// (count, depth) seen with `step` from one of the count to the next and `deep` along the depth.
template <class T, int Width>
static void pack(const T* source, int64_t step, int64_t deep, int64_t count, int64_t depth, T* out) {
  for (int64_t first = 0; first < count; first += Width, out += Width * depth) {
    const int64_t here = count - first < Width ? count - first : Width;
    const T* from = source + first * step;
    if (here == Width && step == 1) {
      for (int64_t d = 0; d < depth; ++d) {
        for (int i = 0; i < Width; ++i) out[d * Width + i] = from[d * deep + i];
      }
    } else if (here == Width) {
      for (int64_t d = 0; d < depth; ++d) {
        for (int i = 0; i < Width; ++i) out[d * Width + i] = from[i * step + d * deep];
      }
    } else {
      for (int64_t d = 0; d < depth; ++d) {
        for (int64_t i = 0; i < here; ++i) out[d * Width + i] = from[i * step + d * deep];
        for (int64_t i = here; i < Width; ++i) out[d * Width + i] = 0;
      }
    }
  }
}

// One tile: kTileRows x V vectors of sums over `depth` products, added to (or written over) rows x columns of C.
template <class T, class C, int V>
static void multiply_tile(const T* a, const T* b, int64_t depth, T sign, Start start, C* c, int64_t stride,
                          int64_t rows, int64_t columns) {
  constexpr int W = kWidth<T>, R = kTileRows;
  for (int64_t r = 0; r < rows; ++r) {  // C comes from far away; the sums give it time
    for (int64_t j = 0; j < columns; j += 64 / int64_t(sizeof(C))) __builtin_prefetch(c + r * stride + j, 1);
  }
  Vector<T, W> sums[R][V] = {};
  for (int64_t d = 0; d < depth; ++d) {
    Vector<T, W> right[V];
    for (int v = 0; v < V; ++v) right[v] = load<T, W>(b + d * kTileColumns<T> + v * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const T left = a[d * R + r];
#pragma GCC unroll 3
      for (int v = 0; v < V; ++v) sums[r][v] += left * right[v];
    }
  }
  if (sizeof(C) == sizeof(T) && rows == R && columns == V * W) {
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) {
        T* place = reinterpret_cast<T*>(c + r * stride + v * W);
        const Vector<T, W> sum = sign * sums[r][v];
        store<T, W>(place, start == Start::from_zero ? sum : load<T, W>(place) + sum);
      }
    }
    return;
  }
  alignas(64) T tile[R * V * W];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) store<T, W>(tile + (r * V + v) * W, sign * sums[r][v]);
  }
  for (int64_t r = 0; r < rows; ++r) {
    C* row = c + r * stride;
    const T* sum = tile + r * V * W;
    if (start == Start::from_zero) {
      for (int64_t j = 0; j < columns; ++j) row[j] = sum[j];
    } else {
      for (int64_t j = 0; j < columns; ++j) row[j] += sum[j];
    }
  }
}

// A tile of as many vectors as its columns fill.
template <class T, class C>
static void multiply_columns(const T* a, const T* b, int64_t depth, T sign, Start start, C* c, int64_t stride,
                             int64_t rows, int64_t columns) {
  if (columns > 2 * kWidth<T>) return multiply_tile<T, C, 3>(a, b, depth, sign, start, c, stride, rows, columns);
  if (columns > kWidth<T>) return multiply_tile<T, C, 2>(a, b, depth, sign, start, c, stride, rows, columns);
  multiply_tile<T, C, 1>(a, b, depth, sign, start, c, stride, rows, columns);
}

// A is asked for in blocks: pack_left(row, rows, at, depth, out) makes the panels of A's rows [row, row + rows) and
// depth [at, at + depth). `scratch` holds kProductScratch numbers. The depth ends early for the columns of an upper
// triangular B (`triangular`), whose numbers below the diagonal are not read.
template <class T, class C, class PackLeft>
static void multiply_packed(const PackLeft& pack_left, const Operand<T>& b, C* c, int64_t stride, int64_t rows,
                            int64_t columns, int64_t depth, T sign, Start start, Part part, bool triangular,
                            T* scratch) {
  constexpr int R = kTileRows, N = kTileColumns<T>;
  T* left = aligned(scratch);
  T* right = aligned(left + kRowBlock * kDepth);
  for (int64_t j = 0; j < columns; j += kColumnBlock) {
    const int64_t width = columns - j < kColumnBlock ? columns - j : kColumnBlock;
    const int64_t deepest = triangular && j + width < depth ? j + width : depth;
    for (int64_t d = 0; d < deepest; d += kDepth) {
      const int64_t deep = deepest - d < kDepth ? deepest - d : kDepth;
      pack<T, N>(b.at(d, j), b.column, b.row, width, deep, right);
      const Start here = d == 0 ? start : Start::from_present;
      for (int64_t i = 0; i < rows && !(part == Part::upper && i >= j + width); i += kRowBlock) {
        const int64_t height = rows - i < kRowBlock ? rows - i : kRowBlock;
        pack_left(i, height, d, deep, left);
        for (int64_t jj = 0; jj < width; jj += N) {
          const int64_t tile_columns = width - jj < N ? width - jj : N;
          const int64_t below = j + jj + tile_columns - d;  // how deep a triangle goes here
          const int64_t used = triangular && below < deep ? below : deep;
          if (used <= 0) continue;
          for (int64_t ii = 0; ii < height; ii += R) {
            if (part == Part::upper && i + ii >= j + jj + tile_columns) break;
            multiply_columns<T, C>(left + ii * deep, right + jj * deep, used, sign, here,
                                   c + (i + ii) * stride + j + jj, stride, height - ii < R ? height - ii : R,
                                   tile_columns);
          }
        }
      }
    }
  }
}

template <class T, class C>
static void multiply_dense(const Operand<T>& a, const Operand<T>& b, C* c, int64_t stride, int64_t rows,
                           int64_t columns, int64_t depth, T sign, Start start, T* scratch, Part part = Part::all,
                           bool triangular = false) {
  const auto pack_left = [&](int64_t row, int64_t height, int64_t at, int64_t deep, T* out) {
    pack<T, kTileRows>(a.at(row, at), a.row, a.column, height, deep, out);
  };
  multiply_packed<T, C>(pack_left, b, c, stride, rows, columns, depth, sign, start, part, triangular, scratch);
}

// The worker's share of `total` rows or columns, in whole tiles of `tile`.
static Range share_of_tiles(const Worker& worker, int64_t total, int64_t tile) {
  const Range tiles = share(worker, (total + tile - 1) / tile);
  const int64_t end = tiles.end * tile;
  return {tiles.begin * tile, end < total ? end : total};
}

}  // namespace LSH_LEVEL
}  // namespace lsh
