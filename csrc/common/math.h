// sigmoid and tanh on whatever a cell's maps are compiled for: vectors of a SIMD level, or one number on a device.
//
// Both are written so that NaN stays NaN and both ends saturate without overflow. In float32 the largest error over
// all arguments with a normal result is 2.5 ulp (tests/cells/test_activation_accuracy.py); float64 goes through the C
// library.
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

#include "common/several.h"

namespace lsh {
namespace LSH_LEVEL {

// |x|, and |x| with the sign of another number, by the bits of vectors of float.
template <class V>
LSH_INLINE V magnitude(V x) {
  typedef unsigned Bits __attribute__((vector_size(sizeof(V))));
  return (V)((Bits)x & 0x7fffffffu);
}

template <class V>
LSH_INLINE V with_sign_of(V x, V magnitude) {
  typedef unsigned Bits __attribute__((vector_size(sizeof(V))));
  return (V)((Bits)magnitude | ((Bits)x & 0x80000000u));
}

// 2^n where n stands in the lowest bits.
template <class V>
LSH_INLINE V power_of_two(V n) {
  typedef unsigned Bits __attribute__((vector_size(sizeof(V))));
  return (V)(((Bits)n << 23) + 0x3f800000u);
}

template <class V, int K>
LSH_INLINE Several<V, K> magnitude(const Several<V, K>& x) {
  return Several<V, K>::of([&](int k) { return magnitude(x.part[k]); });
}

template <class V, int K>
LSH_INLINE Several<V, K> with_sign_of(const Several<V, K>& x, const Several<V, K>& magnitude) {
  return Several<V, K>::of([&](int k) { return with_sign_of(x.part[k], magnitude.part[k]); });
}

template <class V, int K>
LSH_INLINE Several<V, K> power_of_two(const Several<V, K>& n) {
  return Several<V, K>::of([&](int k) { return power_of_two(n.part[k]); });
}

// exp(x) = power (1 + q) for vectors of float: x = n ln 2 + r with |r| <= ln 2 / 2, power = 2^n, and q = exp(r) - 1 by
// a polynomial, exact to its own last place however small r is. For x from -87 to 88; a NaN goes through q.
template <class V>
struct ExpParts {
  V power, q;
};

template <class V>
LSH_INLINE ExpParts<V> exp_parts(const V& x) {
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
  return {power_of_two(shifted), p * (r * r) + r};
}

template <class V>
LSH_INLINE V sigmoid_float(const V& x) {
  const ExpParts<V> e = exp_parts<V>(larger(V{} - 87.0f, smaller(V{} + 88.0f, -x)));
  return 1.0f / (e.q * e.power + (e.power + 1.0f));
}

// (exp(2 x) - 1) / (exp(2 x) + 1) of the magnitude, with the sign of x: odd, and as exact near zero as anywhere.
template <class V>
LSH_INLINE V tanh_float(const V& x) {
  const V absolute = magnitude(x);
  const ExpParts<V> e = exp_parts<V>(smaller(V{} + 40.0f, absolute + absolute));
  const V above = e.q * e.power + (e.power - 1.0f);  // exp(2 |x|) - 1
  return with_sign_of(x, above / (above + 2.0f));
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

#define LSH_SEVERAL_VECTORS(map)                                       \
  template <class V, int K>                                            \
  LSH_INLINE Several<V, K> map(const Several<V, K>& x) {               \
    if constexpr (sizeof(x.part[0][0]) == sizeof(float)) {             \
      return map##_float(x);                                           \
    } else {                                                           \
      return Several<V, K>::of([&](int k) { return map(x.part[k]); }); \
    }                                                                  \
  }
LSH_SEVERAL_VECTORS(sigmoid)
LSH_SEVERAL_VECTORS(tanh)
#undef LSH_SEVERAL_VECTORS

}  // namespace LSH_LEVEL
}  // namespace lsh

#endif
