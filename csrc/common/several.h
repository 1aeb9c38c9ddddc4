// A few vectors side by side, for maps that are one long chain of operations: each operation is done for all of them
// before the next one, so that chains run beside each other. A processor arranges that by itself only as far as it
// looks ahead, which for a cell's maps is hardly one vector.
#pragma once

#include <type_traits>

#include "common/vector.h"

namespace lsh {
namespace LSH_LEVEL {

#define LSH_SEVERAL         \
  template <class V, int K> \
  static inline __attribute__((always_inline))

// How many vectors of T cells map at a time; maps of double are calls of the C library.
template <class T>
constexpr int kAbreast = sizeof(T) == sizeof(float) ? 4 : 1;

template <class V, int K>
struct Several {
  V part[K];

  // part(k) for each of them.
  template <class Part>
  static inline __attribute__((always_inline)) Several of(const Part& part) {
    Several all;
    LSH_UNROLL for (int k = 0; k < K; ++k) all.part[k] = part(k);
    return all;
  }
};

// What a vector holds.
template <class V>
using Number = std::decay_t<decltype(V{}[0])>;

LSH_SEVERAL Several<V, K> operator-(const Several<V, K>& a) {
  return Several<V, K>::of([&](int k) { return -a.part[k]; });
}

#define LSH_OPERATION(op)                                                                               \
  LSH_SEVERAL Several<V, K> operator op(const Several<V, K>& a, const Several<V, K>& b) {               \
    return Several<V, K>::of([&](int k) { return a.part[k] op b.part[k]; });                            \
  }                                                                                                     \
  template <class V, int K, class S>                                                                    \
    requires std::is_arithmetic_v<S>                                                                    \
  static inline __attribute__((always_inline)) Several<V, K> operator op(const Several<V, K>& a, S b) { \
    return Several<V, K>::of([&](int k) { return a.part[k] op Number<V>(b); });                         \
  }                                                                                                     \
  template <class V, int K, class S>                                                                    \
    requires std::is_arithmetic_v<S>                                                                    \
  static inline __attribute__((always_inline)) Several<V, K> operator op(S a, const Several<V, K>& b) { \
    return Several<V, K>::of([&](int k) { return Number<V>(a) op b.part[k]; });                         \
  }
LSH_OPERATION(+)
LSH_OPERATION(-)
LSH_OPERATION(*)
LSH_OPERATION(/)
#undef LSH_OPERATION

LSH_SEVERAL Several<V, K> smaller(const Several<V, K>& a, const Several<V, K>& b) {
  return Several<V, K>::of([&](int k) { return smaller(a.part[k], b.part[k]); });
}

LSH_SEVERAL Several<V, K> larger(const Several<V, K>& a, const Several<V, K>& b) {
  return Several<V, K>::of([&](int k) { return larger(a.part[k], b.part[k]); });
}

#undef LSH_SEVERAL

}  // namespace LSH_LEVEL
}  // namespace lsh
