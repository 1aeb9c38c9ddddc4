// Products of dense matrices, blocked for the caches.
//
//   C += sign · A B        A (M, D), B (D, N) with any strides, C (M, N) with rows of consecutive numbers
//
// A block of B is copied into panels of kTileColumns columns and stays in the second-level cache. For every kTileRows
// rows of A all its panels pass by, while the rows stay in the first-level cache: where they lie, or copied if their
// numbers are not consecutive. A tile of C stays in registers for kDepth products. Bound by arithmetic. Every number of
// C is one sum, in the order of the depth, over blocks of kDepth: the same whatever part of C is asked for, so workers
// may share C in any way. C may be wider than A and B: blocks of float products are then added up in double.
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

constexpr int64_t kDepth = 256;  // kTileRows of them stay in the first-level cache while panels of B pass by
template <class T>
constexpr int64_t kColumnBlock = 16 * kTileColumns<T>;  // kDepth rows of them stay in the second-level cache
constexpr int64_t kPanelAlignment = 64;

// Numbers of scratch memory that one worker needs.
template <class T>
constexpr int64_t kProductScratch = kDepth * (kTileRows + kColumnBlock<T>)+2 * kPanelAlignment;

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

// What to do with C's numbers before the sum is added.
enum class Start { from_zero, from_present };

template <class T>
static T* aligned(T* p) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  return reinterpret_cast<T*>((address + kPanelAlignment - 1) / kPanelAlignment * kPanelAlignment);
}

// Panels of `Width` numbers side by side, one panel after the other, zeros up to the vector that `count` ends in: from
// a matrix that is (count, depth) seen with `step` from one of the count to the next and `deep` along the depth.
template <class T, int Width>
static void pack(const T* source, int64_t step, int64_t deep, int64_t count, int64_t depth, T* out) {
  constexpr int W = kWidth<T> < Width ? kWidth<T> : Width;
  for (int64_t first = 0; first < count; first += Width, out += Width * depth) {
    const int64_t here = count - first < Width ? count - first : Width;
    const T* from = source + first * step;
    if (step == 1) {
      const int64_t whole = here / W * W;
      for (int64_t d = 0; d < depth; ++d) {
        for (int64_t i = 0; i < whole; i += W) store<T, W>(out + d * Width + i, load<T, W>(from + d * deep + i));
        if (whole < here) {
          store<T, W>(out + d * Width + whole, load_first<T, W>(from + d * deep + whole, int(here - whole)));
        }
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

// Where kTileRows rows of A begin; `step` from a number to the next along the depth is known to whoever reads them.
template <class T>
struct TileRows {
  const T* row[kTileRows];
};

// One tile: kTileRows x V vectors of sums over `depth` products, added to (or written over) rows x columns of C.
template <class T, class C, int V, int Step>
static void multiply_tile(const TileRows<T>& a, const T* b, int64_t depth, T sign, Start start, C* c, int64_t stride,
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
      const T left = a.row[r][d * Step];
#pragma GCC unroll 3
      for (int v = 0; v < V; ++v) sums[r][v] += left * right[v];
    }
  }
  if (rows == R && columns == V * W) {
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) {
        C* place = c + r * stride + v * W;
        const Vector<C, W> sum = __builtin_convertvector(sign * sums[r][v], Vector<C, W>);
        store<C, W>(place, start == Start::from_zero ? sum : load<C, W>(place) + sum);
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
template <class T, class C, int Step>
static void multiply_columns(const TileRows<T>& a, const T* b, int64_t depth, T sign, Start start, C* c, int64_t stride,
                             int64_t rows, int64_t columns) {
  if (columns > 2 * kWidth<T>) return multiply_tile<T, C, 3, Step>(a, b, depth, sign, start, c, stride, rows, columns);
  if (columns > kWidth<T>) return multiply_tile<T, C, 2, Step>(a, b, depth, sign, start, c, stride, rows, columns);
  multiply_tile<T, C, 1, Step>(a, b, depth, sign, start, c, stride, rows, columns);
}

// A row of tiles: the rows of A times panels of B, from about column `first` on. Beyond the columns of an upper
// triangular B (`triangular`, seen from row `at` on) the depth ends early; what stands there below the diagonal must be
// zero.
template <class T, class C, int Step>
static void multiply_panels(const TileRows<T>& a, const T* panels, int64_t first, int64_t columns, int64_t at,
                            int64_t depth, bool triangular, T sign, Start start, C* c, int64_t stride, int64_t rows) {
  constexpr int64_t N = kTileColumns<T>, W = kWidth<T>;
  for (int64_t j = first / N * N; j < columns; j += N) {
    const int64_t skipped = j < first ? (first - j) / W * W : 0, end = columns - j < N ? columns : j + N;
    const int64_t used = triangular && end - at < depth ? end - at : depth;
    if (used <= 0) continue;
    multiply_columns<T, C, Step>(a, panels + j * depth + skipped, used, sign, start, c + j + skipped, stride, rows,
                                 end - j - skipped);
  }
}

// Rows `stride` apart from `first` on; what is beyond the last of them is read as that one and never written.
template <class T>
static TileRows<T> rows_from(const T* first, int64_t stride, int64_t rows) {
  TileRows<T> tile;
  for (int64_t r = 0; r < kTileRows; ++r) tile.row[r] = first + (r < rows ? r : rows - 1) * stride;
  return tile;
}

// A is asked for in rows: left(row, rows, at, depth, out) says where the numbers [at, at + depth) of up to kTileRows
// rows from `row` on are, Step apart; it may put them into `out`, room for kTileRows · kDepth. `scratch` holds
// kProductScratch numbers.
template <class T, class C, int Step, class Left>
static void multiply_rows(const Left& left, const Operand<T>& b, C* c, int64_t stride, int64_t rows, int64_t columns,
                          int64_t depth, T sign, Start start, bool triangular, T* scratch) {
  constexpr int64_t R = kTileRows, block = kColumnBlock<T>;
  T* few = aligned(scratch);
  T* panels = aligned(few + R * kDepth);
  for (int64_t j = 0; j < columns; j += block) {
    const int64_t width = columns - j < block ? columns - j : block;
    const int64_t deepest = triangular && j + width < depth ? j + width : depth;
    for (int64_t d = 0; d < deepest; d += kDepth) {
      const int64_t deep = deepest - d < kDepth ? deepest - d : kDepth;
      pack<T, kTileColumns<T>>(b.at(d, j), b.column, b.row, width, deep, panels);
      for (int64_t i = 0; i < rows; i += R) {
        const int64_t height = rows - i < R ? rows - i : R;
        multiply_panels<T, C, Step>(left(i, height, d, deep, few), panels, 0, width, d - j, deep, triangular, sign,
                                    d == 0 ? start : Start::from_present, c + i * stride + j, stride, height);
      }
    }
  }
}

template <class T, class C>
static void multiply_dense(const Operand<T>& a, const Operand<T>& b, C* c, int64_t stride, int64_t rows,
                           int64_t columns, int64_t depth, T sign, Start start, T* scratch, bool triangular = false) {
  if (a.column == 1) {
    const auto left = [&](int64_t row, int64_t height, int64_t at, int64_t, T*) {
      return rows_from(a.at(row, at), a.row, height);
    };
    return multiply_rows<T, C, 1>(left, b, c, stride, rows, columns, depth, sign, start, triangular, scratch);
  }
  const auto left = [&](int64_t row, int64_t height, int64_t at, int64_t deep, T* out) {
    pack<T, kTileRows>(a.at(row, at), a.row, a.column, height, deep, out);
    return rows_from<T>(out, 1, height);
  };
  multiply_rows<T, C, kTileRows>(left, b, c, stride, rows, columns, depth, sign, start, triangular, scratch);
}

// The columns [begin, end) of the upper triangle of C += sign · Aᵀ A, for A (depth, at least `end` columns) with rows
// of consecutive numbers. What is written below the diagonal, within a tile, is of no interest.
template <class T, class C>
static void multiply_gram(const T* a, int64_t row, C* c, int64_t stride, int64_t begin, int64_t end, int64_t depth,
                          T sign, Start start, T* scratch) {
  constexpr int64_t R = kTileRows, N = kTileColumns<T>, block = kColumnBlock<T>;
  T* few = aligned(scratch);
  T* panels = aligned(few + R * kDepth);
  for (int64_t j = begin; j < end; j += block) {
    const int64_t width = end - j < block ? end - j : block;
    for (int64_t d = 0; d < depth; d += kDepth) {
      const int64_t deep = depth - d < kDepth ? depth - d : kDepth;
      const Start here = d == 0 ? start : Start::from_present;
      pack<T, N>(a + d * row + j, 1, row, width, deep, panels);
      for (int64_t i = 0; i < j; i += R) {
        const int64_t height = j - i < R ? j - i : R;
        pack<T, kTileRows>(a + d * row + i, 1, row, height, deep, few);
        multiply_panels<T, C, kTileRows>(rows_from<T>(few, 1, height), panels, 0, width, 0, deep, false, sign, here,
                                         c + i * stride + j, stride, height);
      }
      for (int64_t i = 0; i < width; i += R) {  // both operands are the same panels
        const int64_t height = width - i < R ? width - i : R;
        multiply_panels<T, C, N>(rows_from<T>(panels + i / N * N * deep + i % N, 1, height), panels, i, width, 0, deep,
                                 false, sign, here, c + (j + i) * stride + j, stride, height);
      }
    }
  }
}

// The worker's share of `total` rows or columns, in whole tiles of `tile`.
static Range share_of_tiles(const Worker& worker, int64_t total, int64_t tile) {
  const Range tiles = share(worker, (total + tile - 1) / tile);
  const int64_t end = tiles.end * tile;
  return {tiles.begin * tile, end < total ? end : total};
}

}  // namespace LSH_LEVEL
}  // namespace lsh
