// sigmoid and tanh on whatever a cell's maps are compiled for: vectors of a SIMD level, or one number on a device.
//
// Both are written so that NaN stays NaN and both ends saturate without overflow. In float32 the largest error over
// all arguments with a normal result is 2.5 ulp for sigmoid and 1.5 ulp for tanh
// (tests/cells/test_activation_accuracy.py); float64 goes through the C library.
#pragma once

#if defined(__CUDACC__)
#define LSH_INLINE __host__ __device__ inline
#define LSH_LEVEL device

namespace lsh {
namespace LSH_LEVEL {

LSH_INLINE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
LSH_INLINE double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
LSH_INLINE float tanh(float x) { return ::tanhf(x); }
LSH_INLINE double tanh(double x) { return ::tanh(x); }

}  // namespace LSH_LEVEL
}  // namespace lsh

#else
#define LSH_INLINE static inline __attribute__((always_inline))

#include <math.h>

#include "common/vector.h"

namespace lsh {
namespace LSH_LEVEL {

// exp(x) for vectors of float: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, and n added to the exponent.
template <class V>
LSH_INLINE V exp_float(V x) {
  typedef unsigned Bits __attribute__((vector_size(sizeof(V))));
  const V highest = V{} + 88.0f, lowest = V{} - 87.0f;
  x = x > highest ? highest : x;
  x = x < lowest ? lowest : x;
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer in the low bits
  const V shifted = x * 1.44269504f + shift;
  const V n = shifted - shift;
  V r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  V p = V{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const V result = (V)((Bits)p + ((Bits)shifted << 23));
  return x == x ? result : x;  // the bits of a NaN are not to be counted with
}

template <class V>
LSH_INLINE V sigmoid_float(V x) {
  return 1.0f / (1.0f + exp_float(-x));
}

// Near zero an odd polynomial keeps the relative accuracy that 1 - 2 / (exp(2 x) + 1) loses.
template <class V>
LSH_INLINE V tanh_float(V x) {
  const V magnitude = x < 0.0f ? -x : x;
  const V large = 1.0f - 2.0f / (exp_float(magnitude + magnitude) + 1.0f);
  const V s = x * x;
  V p = V{} - 5.70498872745e-3f;
  p = p * s + 2.06390887954e-2f;
  p = p * s - 5.37397155531e-2f;
  p = p * s + 1.33314422036e-1f;
  p = p * s - 3.33332819422e-1f;
  const V small = x + x * s * p;
  const V signed_large = x < 0.0f ? -large : large;
  return magnitude > 0.625f ? signed_large : small;
}

#define LSH_FLOAT_VECTOR(N)                                                            \
  LSH_INLINE Vector<float, N> sigmoid(Vector<float, N> x) { return sigmoid_float(x); } \
  LSH_INLINE Vector<float, N> tanh(Vector<float, N> x) { return tanh_float(x); }
LSH_FLOAT_VECTOR(4)
LSH_FLOAT_VECTOR(8)
LSH_FLOAT_VECTOR(16)
#undef LSH_FLOAT_VECTOR

#define LSH_DOUBLE_VECTOR(N)                                       \
  LSH_INLINE Vector<double, N> sigmoid(Vector<double, N> x) {      \
    for (int i = 0; i < N; ++i) x[i] = 1.0 / (1.0 + ::exp(-x[i])); \
    return x;                                                      \
  }                                                                \
  LSH_INLINE Vector<double, N> tanh(Vector<double, N> x) {         \
    for (int i = 0; i < N; ++i) x[i] = ::tanh(x[i]);               \
    return x;                                                      \
  }
LSH_DOUBLE_VECTOR(2)
LSH_DOUBLE_VECTOR(4)
LSH_DOUBLE_VECTOR(8)
#undef LSH_DOUBLE_VECTOR

}  // namespace LSH_LEVEL
}  // namespace lsh

#endif
