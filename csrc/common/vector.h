// Vectors of a few numbers, the same source at every SIMD level (GCC and Clang vector extensions).
// Only for `.simd.cpp` files: everything here lives in the namespace of the level being compiled.
#pragma once

#include <immintrin.h>

#include <cstdint>

#ifndef LSH_LEVEL
#error "vector.h is for kernel files, which are compiled once per SIMD level with LSH_LEVEL set"
#endif

namespace lsh {
namespace LSH_LEVEL {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

// Before a loop of a few turns over arrays of vectors: written out, they stay in registers.
#define LSH_UNROLL _Pragma("GCC unroll 16")

// Numbers in the widest vector of this level.
template <class T>
constexpr int kWidth = kVectorBytes / int(sizeof(T));

template <class T, int N>
struct VectorOf {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
  typedef T unaligned __attribute__((vector_size(N * sizeof(T)), aligned(alignof(T)), may_alias));
};

template <class T, int N>
using Vector = typename VectorOf<T, N>::type;

template <class T, int N>
static inline __attribute__((always_inline)) Vector<T, N> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T, N>::unaligned*>(p);
}

template <class T, int N>
static inline __attribute__((always_inline)) void store(T* p, Vector<T, N> v) {
  *reinterpret_cast<typename VectorOf<T, N>::unaligned*>(p) = v;
}

template <class T, int N>
static inline __attribute__((always_inline)) Vector<T, N> splat(T x) {
  return Vector<T, N>{} + x;
}

// Asks for the lines of `bytes` bytes before they are touched, wherever they lie.
static inline __attribute__((always_inline)) void prefetch(const void* begin, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(begin) + at);
}

// The first `count` of N numbers; the others are zero. For lanes at the end of a row.
template <class T, int N>
static inline Vector<T, N> load_first(const T* p, int count) {
  Vector<T, N> v{};
  for (int i = 0; i < N; ++i) {
    if (i < count) v[i] = p[i];
  }
  return v;
}

template <class T, int N>
static inline void store_first(T* p, Vector<T, N> v, int count) {
  for (int i = 0; i < N; ++i) {
    if (i < count) p[i] = v[i];
  }
}

// The number at p in every lane: one load, which copies of `splat` are not.
template <class T, int N>
static inline __attribute__((always_inline)) Vector<T, N> load_one(const T* p) {
#if defined(__AVX512F__)
  if constexpr (N == 16 && sizeof(T) == 4) return (Vector<T, N>)_mm512_set1_ps(*p);
  if constexpr (N == 8 && sizeof(T) == 8) return (Vector<T, N>)_mm512_set1_pd(*p);
#endif
#if defined(__AVX__)
  if constexpr (N == 8 && sizeof(T) == 4) return (Vector<T, N>)_mm256_set1_ps(*p);
  if constexpr (N == 4 && sizeof(T) == 8) return (Vector<T, N>)_mm256_set1_pd(*p);
#endif
  if constexpr (N == 4 && sizeof(T) == 4) return (Vector<T, N>)_mm_set1_ps(*p);
  if constexpr (N == 2 && sizeof(T) == 8) return (Vector<T, N>)_mm_set1_pd(*p);
  Vector<T, N> v;
  for (int i = 0; i < N; ++i) v[i] = *p;
  return v;
}

// Four numbers, again in every four of N lanes: one load where the level has it.
template <class T, int N>
static inline __attribute__((always_inline)) Vector<T, N> load_fours(const T* p) {
  if constexpr (N == 4) {
    return load<T, 4>(p);
#if defined(__AVX512F__)
  } else if constexpr (N == 16 && sizeof(T) == 4) {
    return (Vector<T, N>)_mm512_broadcast_f32x4(_mm_loadu_ps(p));
  } else if constexpr (N == 8 && sizeof(T) == 8) {
    return (Vector<T, N>)_mm512_broadcast_f64x4(_mm256_loadu_pd(p));
#endif
#if defined(__AVX__)
  } else if constexpr (N == 8 && sizeof(T) == 4) {
    return (Vector<T, N>)_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
#endif
  } else {
    Vector<T, N> v;
    for (int i = 0; i < N; ++i) v[i] = p[i % 4];
    return v;
  }
}

// The smaller of a and b, of float32, number by number, and b where either is NaN: one instruction, which a comparison
// is not.
template <class V>
static inline __attribute__((always_inline)) V smaller(V a, V b) {
  static_assert(sizeof(a[0]) == 4);
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return (V)_mm512_min_ps((__m512)a, (__m512)b);
#endif
#if defined(__AVX__)
  if constexpr (sizeof(V) == 32) return (V)_mm256_min_ps((__m256)a, (__m256)b);
#endif
  if constexpr (sizeof(V) == 16) return (V)_mm_min_ps((__m128)a, (__m128)b);
  return a < b ? a : b;
}

// Likewise the larger.
template <class V>
static inline __attribute__((always_inline)) V larger(V a, V b) {
  static_assert(sizeof(a[0]) == 4);
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return (V)_mm512_max_ps((__m512)a, (__m512)b);
#endif
#if defined(__AVX__)
  if constexpr (sizeof(V) == 32) return (V)_mm256_max_ps((__m256)a, (__m256)b);
#endif
  if constexpr (sizeof(V) == 16) return (V)_mm_max_ps((__m128)a, (__m128)b);
  return a > b ? a : b;
}

// The first M of N numbers.
template <class T, int N, int M>
static inline __attribute__((always_inline)) Vector<T, M> first_lanes(Vector<T, N> v) {
  if constexpr (M == N) {
    return v;
  } else if constexpr (M == 4) {
    return __builtin_shufflevector(v, v, 0, 1, 2, 3);
  } else {
    static_assert(M == 8);
    return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
