// The product of one row of a sparse matrix with lanes, at one SIMD level.
#include "sparsity/product.simd.h"

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

template <class T>
void multiply(const SparseMatrix<T>& matrix, int64_t row, const T* x, int64_t stride, int64_t lanes, T* out) {
  const int32_t begin = matrix.pattern.row_offsets[row];
  multiply_row<T>(matrix.row_values + begin, matrix.pattern.column_of + begin,
                  matrix.pattern.row_offsets[row + 1] - begin, x, stride, lanes, out);
}

template void multiply<float>(const SparseMatrix<float>&, int64_t, const float*, int64_t, int64_t, float*);
template void multiply<double>(const SparseMatrix<double>&, int64_t, const double*, int64_t, int64_t, double*);

}  // namespace LSH_LEVEL
}  // namespace lsh
