// Packing of look-up matrices and their products with a few vectors, at one SIMD level.
#include "sparsity/lookup.simd.h"

namespace lsh {
namespace LSH_LEVEL {

constexpr int64_t kBlock = 32;    // groups whose products are summed up before they are added to the rest
constexpr int64_t kAhead = 2048;  // bytes of values asked for before they are needed
constexpr int64_t kMostRows = 4 * kVectorBytes / int64_t(sizeof(float));  // of a slice with four gates

// ------------------------------------------------------------------------------------------------------- looking up

#if defined(__AVX512F__)
// The window's columns, in four registers.
template <class T>
struct Window {
  Vector<T, kWidth<T>> part[4];

  static constexpr int64_t kColumns = 4 * kWidth<T>;
  explicit Window(const T* x) {
    for (int i = 0; i < 4; ++i) part[i] = load<T, kWidth<T>>(x + i * kWidth<T>);
  }
};

// The indices of a register of rows, widened once for all vectors.
struct Index {
  __m512i place;
  __mmask16 upper, used;
};

LSH_INLINE Index read_index(const uint8_t* index, float) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(index));
  return {_mm512_cvtepu8_epi32(bytes), _mm_test_epi8_mask(bytes, _mm_set1_epi8(32)),
          __mmask16(~_mm_movepi8_mask(bytes))};
}

LSH_INLINE Index read_index(const uint8_t* index, double) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(index));
  return {_mm512_cvtepu8_epi64(bytes), _mm_test_epi8_mask(bytes, _mm_set1_epi8(16)),
          __mmask16(~_mm_movepi8_mask(bytes))};
}

LSH_INLINE void add_products(const Window<float>& x, const Index& index, Vector<float, 16> values,
                             Vector<float, 16>& sum) {
  const __m512 low = _mm512_permutex2var_ps((__m512)x.part[0], index.place, (__m512)x.part[1]);
  const __m512 high = _mm512_permutex2var_ps((__m512)x.part[2], index.place, (__m512)x.part[3]);
  const __m512 found = _mm512_mask_blend_ps(index.upper, low, high);
  sum = (Vector<float, 16>)_mm512_mask3_fmadd_ps((__m512)values, found, (__m512)sum, index.used);
}

LSH_INLINE void add_products(const Window<double>& x, const Index& index, Vector<double, 8> values,
                             Vector<double, 8>& sum) {
  const __m512d low = _mm512_permutex2var_pd((__m512d)x.part[0], index.place, (__m512d)x.part[1]);
  const __m512d high = _mm512_permutex2var_pd((__m512d)x.part[2], index.place, (__m512d)x.part[3]);
  const __m512d found = _mm512_mask_blend_pd(__mmask8(index.upper), low, high);
  sum = (Vector<double, 8>)_mm512_mask3_fmadd_pd((__m512d)values, found, (__m512d)sum, __mmask8(index.used));
}
#else
// The window's columns, in the first-level cache.
template <class T>
struct Window {
  const T* x;

  static constexpr int64_t kColumns = kWidestWindow;
  explicit Window(const T* x) : x(x) {}
};

using Index = const uint8_t*;

template <class T>
LSH_INLINE Index read_index(const uint8_t* index, T) {
  return index;
}

template <class T>
LSH_INLINE void add_products(const Window<T>& x, Index index, Vector<T, kWidth<T>> values, Vector<T, kWidth<T>>& sum) {
  Vector<T, kWidth<T>> found;
  for (int i = 0; i < kWidth<T>; ++i) found[i] = index[i] & kNothing ? T(0) : x.x[index[i]];
  sum += values * found;
}

#if defined(__AVX2__)
LSH_INLINE void add_products(const Window<float>& x, Index index, Vector<float, 8> values, Vector<float, 8>& sum) {
  const __m256i place = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(index)));
  const __m256i used = _mm256_xor_si256(place, _mm256_set1_epi32(-1));  // the sign says so
  const __m256 found = _mm256_mask_i32gather_ps(_mm256_setzero_ps(), x.x, place, _mm256_castsi256_ps(used), 4);
  sum = (Vector<float, 8>)_mm256_fmadd_ps((__m256)values, found, (__m256)sum);
}
#endif
#endif

// ---------------------------------------------------------------------------------------------------------- packing

template <class T>
void pack_slices(const SparseMatrix<T>& matrix, const LookupMatrix<T>& out, Range slices) {
  constexpr int W = kWidth<T>;
  constexpr int32_t kNone = INT32_MAX;
  if (out.ready) return;
  const PatternView& p = matrix.pattern;
  const LookupPlan& plan = out.plan;
  const int64_t rows = plan.gates * W;
  for (int64_t s = slices.begin; s < slices.end; ++s) {
    const int64_t first = s * W, units = plan.units_in(s);
    int32_t left[kMostRows];                // non-zeros still to be taken
    alignas(64) int32_t column[kMostRows];  // of the next one
    const int32_t* columns[kMostRows];
    const T* values[kMostRows];
    for (int64_t i = 0; i < rows; ++i) {
      const bool exists = i % W < units;
      const int64_t row = exists ? i / W * plan.units + first + i % W : 0;
      const int32_t begin = p.row_offsets[row];
      left[i] = exists ? p.row_offsets[row + 1] - begin : 0;
      columns[i] = p.column_of + begin;
      values[i] = matrix.packed ? matrix.weight + begin : matrix.weight + row * p.columns;
      column[i] = left[i] > 0 ? columns[i][0] : kNone;
    }
    out.starts[s] = s * plan.groups();
    T* value = out.values + out.starts[s] * rows;
    uint8_t* index = out.indices + out.starts[s] * rows;
    int32_t* bases = out.bases + out.starts[s];
    int32_t count = 0;
    for (;; ++count, value += rows, index += rows) {
      int32_t nearest = kNone;
      for (int64_t i = 0; i < rows; ++i) nearest = column[i] < nearest ? column[i] : nearest;
      if (nearest == kNone) break;
      bases[count] = nearest / W;
      const int32_t base = nearest / W * W, end = base + int32_t(Window<T>::kColumns);
      for (int64_t i = 0; i < rows; ++i) {
        const int32_t here = column[i];
        if (here >= end) {
          value[i] = 0;
          index[i] = kNothing;
          continue;
        }
        value[i] = *(matrix.packed ? values[i]++ : values[i] + here);
        index[i] = uint8_t(here - base);
        column[i] = --left[i] > 0 ? *++columns[i] : kNone;
      }
    }
    out.counts[s] = count;
  }
}

// --------------------------------------------------------------------------------------------------------- products

// G gates of a slice, `Items` vectors.
template <class T, int G, int Items>
static void multiply_items(const LookupMatrix<T>& matrix, int64_t slice, const T* x, T* sums) {
  constexpr int W = kWidth<T>, U = G * Items >= 4 ? 1 : 4 / (G * Items);  // enough sums under way to hide an FMA
  const LookupPlan& plan = matrix.plan;
  const int64_t stride = plan.stored_columns(), count = matrix.counts[slice], start = matrix.starts[slice];
  const T* value = matrix.values + start * G * W;
  const uint8_t* index = matrix.indices + start * G * W;
  const int32_t* bases = matrix.bases + start;
  for (int64_t i = 0; i < Items * G * W; ++i) sums[i] = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = begin + kBlock < count ? begin + kBlock : count;
    Vector<T, W> sum[U][Items][G] = {};
    const auto add_group = [&](int64_t k, Vector<T, W>(&to)[Items][G]) __attribute__((always_inline)) {
      Index places[G];
      for (int g = 0; g < G; ++g) {
        __builtin_prefetch(reinterpret_cast<const char*>(value + (k * G + g) * W) + kAhead);
        places[g] = read_index(index + (k * G + g) * W, T());
      }
      __builtin_prefetch(reinterpret_cast<const char*>(index + k * G * W) + kAhead / 4);
      for (int item = 0; item < Items; ++item) {
        const Window<T> window(x + item * stride + int64_t(bases[k]) * W);
        for (int g = 0; g < G; ++g) {
          add_products(window, places[g], load<T, W>(value + (k * G + g) * W), to[item][g]);
        }
      }
    };
    int64_t k = begin;
    for (; k + U <= end; k += U) {
      for (int u = 0; u < U; ++u) add_group(k + u, sum[u]);
    }
    for (; k < end; ++k) add_group(k, sum[0]);
    for (int item = 0; item < Items; ++item) {
      for (int g = 0; g < G; ++g) {
        for (int u = 1; u < U; ++u) sum[0][item][g] += sum[u][item][g];
        T* to = sums + (item * G + g) * W;
        store<T, W>(to, load<T, W>(to) + sum[0][item][g]);
      }
    }
  }
}

template <class T, int G>
static void multiply_gates(const LookupMatrix<T>& matrix, int64_t slice, const T* x, int64_t items, T* sums) {
  constexpr int64_t kAtOnce = kVectorBytes == 64 ? 4 : 2;
  for (; items > 0; items -= kAtOnce) {
    switch (items < kAtOnce ? items : kAtOnce) {
      case 1:
        return multiply_items<T, G, 1>(matrix, slice, x, sums);
      case 2:
        multiply_items<T, G, 2>(matrix, slice, x, sums);
        break;
      case 3:
        if constexpr (kAtOnce > 2) multiply_items<T, G, 3>(matrix, slice, x, sums);
        break;
      default:
        if constexpr (kAtOnce > 2) multiply_items<T, G, 4>(matrix, slice, x, sums);
    }
    x += kAtOnce * matrix.plan.stored_columns();
    sums += kAtOnce * G * kWidth<T>;
  }
}

template <class T>
void multiply_slice(const LookupMatrix<T>& matrix, int64_t slice, const T* x, int64_t items, T* sums) {
  switch (matrix.plan.gates) {
    case 1:
      return multiply_gates<T, 1>(matrix, slice, x, items, sums);
    case 2:
      return multiply_gates<T, 2>(matrix, slice, x, items, sums);
    case 3:
      return multiply_gates<T, 3>(matrix, slice, x, items, sums);
    default:
      return multiply_gates<T, 4>(matrix, slice, x, items, sums);
  }
}

#define LSH_INSTANTIATE(T)                                                             \
  template void pack_slices<T>(const SparseMatrix<T>&, const LookupMatrix<T>&, Range); \
  template void multiply_slice<T>(const LookupMatrix<T>&, int64_t, const T*, int64_t, T*);
LSH_INSTANTIATE(float)
LSH_INSTANTIATE(double)

}  // namespace LSH_LEVEL
}  // namespace lsh
