// Vectors of a few numbers, the same source at every SIMD level (GCC and Clang vector extensions).
// Only for `.simd.cpp` files: everything here lives in the namespace of the level being compiled.
#pragma once

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

}  // namespace LSH_LEVEL
}  // namespace lsh
