// Products of a sparse matrix with lanes, and its gradient; the inner loops of every sparse op on the CPU.
//
//   multiply_row      out[lane]   = sum_k value[k] x[index[k]][lane]          bound by loads: one vector per FMA
//   sample_row        out[k]     += sum_lane g[lane] x[index[k]][lane]        the same product seen from the values
//
// `lanes` is a multiple of 4. Sums run in one fixed order, whatever the number of workers.
#pragma once

#include "common/math.h"
#include "common/parallel.h"
#include "common/vector.h"
#include "sparsity/lane_tiles.h"
#include "sparsity/matrix.h"

namespace lsh {
namespace LSH_LEVEL {

// Full vectors held in registers at once; wider tiles are done in slices.
constexpr int kMostVectors = 6;

// M full vectors and Q quarter vectors (4 numbers) of lanes. Short tiles take several non-zeros at a time, so that
// enough independent sums are under way to hide the latency of an FMA.
template <class T, int M, int Q>
static void multiply_row_slice(const T* value, const int32_t* index, int64_t count, const T* x, int64_t stride,
                               T* out) {
  constexpr int W = kWidth<T>;
  constexpr int U = M + Q >= 4 ? 1 : (M + Q >= 2 ? 2 : 4);
  Vector<T, W> full[U][M + !M] = {};
  Vector<T, 4> quarter[U][Q + !Q] = {};
  int64_t k = 0;
  for (; k + U <= count; k += U) {
    for (int u = 0; u < U; ++u) {
      const T* row = x + index[k + u] * stride;
      const T v = value[k + u];
      for (int m = 0; m < M; ++m) full[u][m] += v * load<T, W>(row + m * W);
      for (int q = 0; q < Q; ++q) quarter[u][q] += v * load<T, 4>(row + M * W + q * 4);
    }
  }
  for (; k < count; ++k) {
    const T* row = x + index[k] * stride;
    for (int m = 0; m < M; ++m) full[0][m] += value[k] * load<T, W>(row + m * W);
    for (int q = 0; q < Q; ++q) quarter[0][q] += value[k] * load<T, 4>(row + M * W + q * 4);
  }
  for (int u = 1; u < U; ++u) {
    for (int m = 0; m < M; ++m) full[0][m] += full[u][m];
    for (int q = 0; q < Q; ++q) quarter[0][q] += quarter[u][q];
  }
  for (int m = 0; m < M; ++m) store<T, W>(out + m * W, full[0][m]);
  for (int q = 0; q < Q; ++q) store<T, 4>(out + M * W + q * 4, quarter[0][q]);
}

template <class T, int Q>
static void multiply_row_vectors(int vectors, const T* value, const int32_t* index, int64_t count, const T* x,
                                 int64_t stride, T* out) {
  switch (vectors) {
    case 0:
      if constexpr (Q > 0) multiply_row_slice<T, 0, Q>(value, index, count, x, stride, out);
      return;
    case 1:
      return multiply_row_slice<T, 1, Q>(value, index, count, x, stride, out);
    case 2:
      return multiply_row_slice<T, 2, Q>(value, index, count, x, stride, out);
    case 3:
      return multiply_row_slice<T, 3, Q>(value, index, count, x, stride, out);
    case 4:
      return multiply_row_slice<T, 4, Q>(value, index, count, x, stride, out);
    case 5:
      return multiply_row_slice<T, 5, Q>(value, index, count, x, stride, out);
    default:
      return multiply_row_slice<T, 6, Q>(value, index, count, x, stride, out);
  }
}

template <class T>
static void multiply_row(const T* value, const int32_t* index, int64_t count, const T* x, int64_t stride, int64_t lanes,
                         T* out) {
  constexpr int W = kWidth<T>;
  int64_t vectors = lanes / W;
  for (; vectors > kMostVectors; vectors -= kMostVectors) {
    multiply_row_slice<T, kMostVectors, 0>(value, index, count, x, stride, out);
    x += kMostVectors * W;
    out += kMostVectors * W;
  }
  switch (W > 4 ? lanes % W / 4 : 0) {
    case 1:
      return multiply_row_vectors<T, 1>(int(vectors), value, index, count, x, stride, out);
    case 2:
      return multiply_row_vectors<T, 2>(int(vectors), value, index, count, x, stride, out);
    case 3:
      return multiply_row_vectors<T, 3>(int(vectors), value, index, count, x, stride, out);
    default:
      return multiply_row_vectors<T, 0>(int(vectors), value, index, count, x, stride, out);
  }
}

// [a0 + a1, a2 + a3, …, b0 + b1, …]: one level of the tree that sums N vectors into one.
template <class T>
static inline Vector<T, 2> add_pairs(Vector<T, 2> a, Vector<T, 2> b) {
  return __builtin_shufflevector(a, b, 0, 2) + __builtin_shufflevector(a, b, 1, 3);
}
template <class T>
static inline Vector<T, 4> add_pairs(Vector<T, 4> a, Vector<T, 4> b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
}
template <class T>
static inline Vector<T, 8> add_pairs(Vector<T, 8> a, Vector<T, 8> b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}
template <class T>
static inline Vector<T, 16> add_pairs(Vector<T, 16> a, Vector<T, 16> b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

// The sums of N vectors of N numbers, as one vector.
template <class T, int N>
static inline Vector<T, N> sum_each(Vector<T, N> (&v)[N]) {
  for (int level = N / 2; level >= 1; level /= 2) {
    for (int i = 0; i < level; ++i) v[i] = add_pairs<T>(v[2 * i], v[2 * i + 1]);
  }
  return v[0];
}

// M vectors of lanes; as many dot products at a time as a vector holds, so that they are summed together.
template <class T, int M>
static void sample_row_slice(const T* g, const int32_t* index, int64_t count, const T* x, int64_t stride, T* out) {
  constexpr int W = kWidth<T>;
  Vector<T, W> lanes[M];
  for (int m = 0; m < M; ++m) lanes[m] = load<T, W>(g + m * W);
  for (int64_t k = 0; k < count; k += W) {
    const int here = int(count - k < W ? count - k : W);
    Vector<T, W> sums[W] = {};
    for (int j = 0; j < here; ++j) {
      const T* row = x + index[k + j] * stride;
      for (int m = 0; m < M; ++m) sums[j] += lanes[m] * load<T, W>(row + m * W);
    }
    const Vector<T, W> total = sum_each<T, W>(sums);
    if (here == W) {
      store<T, W>(out + k, load<T, W>(out + k) + total);
    } else {
      for (int j = 0; j < here; ++j) out[k + j] += total[j];
    }
  }
}

// `lanes` is a multiple of 16 here.
template <class T>
static void sample_row(const T* g, const int32_t* index, int64_t count, const T* x, int64_t stride, int64_t lanes,
                       T* out) {
  constexpr int W = kWidth<T>;
  int64_t vectors = lanes / W;
  for (; vectors > 4; vectors -= 4) {
    sample_row_slice<T, 4>(g, index, count, x, stride, out);
    g += 4 * W;
    x += 4 * W;
  }
  switch (vectors) {
    case 1:
      return sample_row_slice<T, 1>(g, index, count, x, stride, out);
    case 2:
      return sample_row_slice<T, 2>(g, index, count, x, stride, out);
    case 3:
      return sample_row_slice<T, 3>(g, index, count, x, stride, out);
    default:
      return sample_row_slice<T, 4>(g, index, count, x, stride, out);
  }
}

// Row `row` of the matrix times lanes of x, whose rows are `stride` apart.
template <class T>
static void multiply(const SparseMatrix<T>& matrix, int64_t row, const T* x, int64_t stride, int64_t lanes, T* out) {
  const int32_t begin = matrix.pattern.row_offsets[row];
  multiply_row<T>(matrix.row_values + begin, matrix.pattern.column_of + begin,
                  matrix.pattern.row_offsets[row + 1] - begin, x, stride, lanes, out);
}

// The same for a row of the transposed matrix.
template <class T>
static void multiply_transposed(const SparseMatrix<T>& matrix, int64_t column, const T* x, int64_t stride,
                                int64_t lanes, T* out) {
  const int32_t begin = matrix.pattern.column_offsets[column];
  multiply_row<T>(matrix.column_values + begin, matrix.pattern.row_of + begin,
                  matrix.pattern.column_offsets[column + 1] - begin, x, stride, lanes, out);
}

// Gathers a dense weight's values of the rows [begin, end).
template <class T>
static void gather_rows(const SparseMatrix<T>& matrix, int64_t begin, int64_t end) {
  if (matrix.packed) return;
  const PatternView& p = matrix.pattern;
  for (int64_t row = begin; row < end; ++row) {
    const T* dense = matrix.weight + row * p.columns;
    for (int64_t k = p.row_offsets[row]; k < p.row_offsets[row + 1]; ++k) {
      matrix.row_workspace[k] = dense[p.column_of[k]];
    }
  }
}

// Values of the columns [begin, end) in column order.
template <class T>
static void gather_columns(const SparseMatrix<T>& matrix, int64_t begin, int64_t end) {
  const PatternView& p = matrix.pattern;
  for (int64_t column = begin; column < end; ++column) {
    for (int64_t k = p.column_offsets[column]; k < p.column_offsets[column + 1]; ++k) {
      matrix.column_values[k] =
          matrix.packed ? matrix.weight[p.source[k]] : matrix.weight[p.row_of[k] * p.columns + column];
    }
  }
}

// (T, B, C) row-major into the lane tiles [begin, end); padding lanes become zero.
template <class T>
static void sequence_to_tiles(const LaneTiles& tiling, int64_t channels, const T* sequence, T* tiles, int64_t begin,
                              int64_t end) {
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t first = tile * tiling.steps_per_tile * tiling.batch;
    const int64_t last = (tile + 1) * tiling.steps_per_tile * tiling.batch;
    const int64_t total = tiling.steps * tiling.batch;
    const int64_t used = (last < total ? last : total) - first;
    T* out = tiles + tile * channels * tiling.lanes;
    constexpr int64_t kBlock = 16;  // channels written together: a cache line of each source row
    for (int64_t c = 0; c < channels; c += kBlock) {
      const int64_t block_end = c + kBlock < channels ? c + kBlock : channels;
      for (int64_t lane = 0; lane < used; ++lane) {
        const T* source = sequence + (first + lane) * channels;
        for (int64_t j = c; j < block_end; ++j) out[j * tiling.lanes + lane] = source[j];
      }
      for (int64_t j = c; j < block_end; ++j) {
        for (int64_t lane = used; lane < tiling.lanes; ++lane) out[j * tiling.lanes + lane] = 0;
      }
    }
  }
}

// Lanes [first, first + count) of one channel of one tile into column `channel` of a (T, B, C) row-major sequence.
template <class T>
static void lanes_to_sequence(const LaneTiles& tiling, int64_t tile, int64_t first, int64_t count, const T* lanes,
                              int64_t channels, int64_t channel, T* sequence) {
  const int64_t begin = tile * tiling.steps_per_tile * tiling.batch + first;
  const int64_t last = (tile + 1) * tiling.steps_per_tile * tiling.batch;
  const int64_t total = tiling.steps * tiling.batch;
  const int64_t end = last < total ? last : total;
  for (int64_t i = begin; i < end && i < begin + count; ++i) sequence[i * channels + channel] = lanes[i - begin];
}

}  // namespace LSH_LEVEL
}  // namespace lsh
