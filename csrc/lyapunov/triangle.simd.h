// Upper triangular matrices in double, stored by rows: Cholesky factors and inverses, in blocks.
#pragma once

#include "common/matrix_product.simd.h"

namespace lsh {
namespace LSH_LEVEL {

constexpr int64_t kTriangleBlock = 48;

// The inverse of an upper triangle (n, n) that fits in a block, one row after the other from the last one up.
static void invert_block(const double* r, int64_t n, int64_t stride, double* out, int64_t out_stride) {
  for (int64_t i = n - 1; i >= 0; --i) {
    double* row = out + i * out_stride;
    const double inverse = 1.0 / r[i * stride + i];
    for (int64_t j = 0; j < n; ++j) row[j] = j == i ? inverse : 0.0;
    for (int64_t k = i + 1; k < n; ++k) {
      const double factor = -inverse * r[i * stride + k];
      const double* below = out + k * out_stride;
      for (int64_t j = k; j < n; ++j) row[j] += factor * below[j];
    }
  }
}

// The inverse of an upper triangle: [[A, B], [0, D]]⁻¹ = [[A⁻¹, -A⁻¹ B D⁻¹], [0, D⁻¹]]. `out` is zero below its
// diagonal on return; `between` holds n · n / 4 + n numbers.
static void invert_triangle(const double* r, int64_t n, int64_t stride, double* out, int64_t out_stride,
                            double* between, double* scratch) {
  if (n <= kTriangleBlock) return invert_block(r, n, stride, out, out_stride);
  const int64_t half = n / 2, rest = n - half;
  double* corner = out + half * out_stride + half;
  invert_triangle(r, half, stride, out, out_stride, between, scratch);
  invert_triangle(r + half * stride + half, rest, stride, corner, out_stride, between, scratch);
  multiply_dense<double, double>(by_rows(r + half, stride), by_rows<double>(corner, out_stride), between, rest, half,
                                 rest, rest, 1.0, Start::from_zero, scratch, true);
  multiply_dense<double, double>(by_rows<double>(out, out_stride), by_rows<double>(between, rest), out + half,
                                 out_stride, half, rest, half, -1.0, Start::from_zero, scratch);
  for (int64_t i = half; i < n; ++i) {
    for (int64_t j = 0; j < half; ++j) out[i * out_stride + j] = 0.0;
  }
}

// Overwrites the upper part of a symmetric matrix with unit diagonal by its factor C, g = Cᵀ C. Returns false when a
// pivot is not safely positive: `least` is what rounding alone may leave of 1. `between` holds kTriangleBlock · (n +
// 2 kTriangleBlock) numbers.
static bool factor_cholesky(double* g, int64_t n, double least, double* between, double* scratch) {
  constexpr int64_t nb = kTriangleBlock;
  for (int64_t p = 0; p < n; p += nb) {
    const int64_t b = n - p < nb ? n - p : nb, after = n - p - b;
    double* block = g + p * n + p;
    for (int64_t i = 0; i < b; ++i) {
      double* row = block + i * n;
      if (!(row[i] > least)) return false;
      const double pivot = __builtin_sqrt(row[i]);
      for (int64_t j = i; j < b; ++j) row[j] /= pivot;
      for (int64_t k = i + 1; k < b; ++k) {
        for (int64_t j = k; j < b; ++j) block[k * n + j] -= row[k] * row[j];
      }
    }
    if (after == 0) break;
    double* inverse = between;
    double* panel = between + nb * nb;
    invert_block(block, b, n, inverse, b);
    multiply_dense<double, double>(transposed<double>(inverse, b), by_rows<double>(block + b, n), panel, after, b,
                                   after, b, 1.0, Start::from_zero, scratch);
    for (int64_t i = 0; i < b; ++i) {
      for (int64_t j = 0; j < after; ++j) block[i * n + b + j] = panel[i * after + j];
    }
    multiply_gram<double, double>(panel, after, block + b * n + b, n, 0, after, b, -1.0, Start::from_present, scratch);
  }
  return true;
}

}  // namespace LSH_LEVEL
}  // namespace lsh
