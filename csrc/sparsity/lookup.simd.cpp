// Packing of look-up matrices and their products with a few vectors, at one SIMD level.
#include "sparsity/lookup.simd.h"

namespace lsh {
namespace LSH_LEVEL {

constexpr int64_t kBlock = 32;    // groups whose products are summed up before they are added to the rest
constexpr int64_t kAhead = 2048;  // bytes of values asked for before they are needed
constexpr int64_t kMostRows = 4 * kVectorBytes / int64_t(sizeof(float));  // of a slice with four gates

// ------------------------------------------------------------------------------------------------------- looking up

#if defined(__AVX512F__)
// The window's columns, in two or four registers, of which the last lane is zero.
template <class T, int Parts>
struct Window {
  Vector<T, kWidth<T>> part[Parts];

  static constexpr int64_t kColumns = Parts * kWidth<T> - 1, kStep = Parts == 2 ? 1 : kWidth<T>;
  static constexpr uint32_t kNothing = kColumns;  // the index of a row that skips the group
  explicit Window(const T* x) {
    LSH_UNROLL for (int i = 0; i < Parts - 1; ++i) part[i] = load<T, kWidth<T>>(x + i * kWidth<T>);
    part[Parts - 1] = load_but_last(x + (Parts - 1) * kWidth<T>);
  }

  static Vector<float, 16> load_but_last(const float* x) { return (Vector<float, 16>)_mm512_maskz_loadu_ps(0x7fff, x); }
  static Vector<double, 8> load_but_last(const double* x) { return (Vector<double, 8>)_mm512_maskz_loadu_pd(0x7f, x); }
};

LSH_INLINE __m512i read_words(const uint32_t* words, float) { return _mm512_loadu_si512(words); }
LSH_INLINE __m512i read_words(const uint32_t* words, double) {
  return _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
}

// Byte b of the words leads each lane to a column of the window.
template <int Parts>
LSH_INLINE void add_products(const Window<float, Parts>& x, __m512i words, int b, Vector<float, 16> values,
                             Vector<float, 16>& sum) {
  const __m512i place = (__m512i)((Vector<uint32_t, 16>)words >> uint32_t(8 * b));  // a permutation reads five bits
  __m512 found = _mm512_permutex2var_ps((__m512)x.part[0], place, (__m512)x.part[1]);
  if constexpr (Parts == 4) {
    const __m512 high = _mm512_permutex2var_ps((__m512)x.part[2], place, (__m512)x.part[3]);
    found = _mm512_mask_blend_ps(_mm512_test_epi32_mask(words, _mm512_set1_epi32(32 << 8 * b)), found, high);
  }
  sum += values * (Vector<float, 16>)found;
}

template <int Parts>
LSH_INLINE void add_products(const Window<double, Parts>& x, __m512i words, int b, Vector<double, 8> values,
                             Vector<double, 8>& sum) {
  const __m512i place = (__m512i)((Vector<uint64_t, 8>)words >> uint64_t(8 * b));  // four bits
  __m512d found = _mm512_permutex2var_pd((__m512d)x.part[0], place, (__m512d)x.part[1]);
  if constexpr (Parts == 4) {
    const __m512d high = _mm512_permutex2var_pd((__m512d)x.part[2], place, (__m512d)x.part[3]);
    found = _mm512_mask_blend_pd(_mm512_test_epi64_mask(words, _mm512_set1_epi64(16 << 8 * b)), found, high);
  }
  sum += values * (Vector<double, 8>)found;
}
#else
// The window's columns, in the first-level cache.
template <class T, int>
struct Window {
  const T* x;

  static constexpr int64_t kColumns = kWidestWindow, kStep = kWidth<T>;
  static constexpr uint32_t kNothing = 0x80;  // the index of a row that skips the group
  explicit Window(const T* x) : x(x) {}
};

template <class T>
LSH_INLINE const uint32_t* read_words(const uint32_t* words, T) {
  return words;
}

// Byte b of the words leads each lane to a column of the window.
template <class T, int Parts>
LSH_INLINE void add_products(const Window<T, Parts>& x, const uint32_t* words, int b, Vector<T, kWidth<T>> values,
                             Vector<T, kWidth<T>>& sum) {
  Vector<T, kWidth<T>> found;
  for (int i = 0; i < kWidth<T>; ++i) {
    const uint32_t place = words[i] >> 8 * b & 0xff;
    found[i] = place & Window<T, Parts>::kNothing ? T(0) : x.x[place];
  }
  sum += values * found;
}

#if defined(__AVX2__)
// The window's columns, in a register of which the last lane is zero. More of them would take fewer places, and a
// choice and a permutation, which are two and a half cycles, for each.
template <>
struct Window<float, 1> {
  __m256 part;

  static constexpr int64_t kColumns = 7, kStep = 1;
  static constexpr uint32_t kNothing = kColumns;
  explicit Window(const float* x) : part(_mm256_blend_ps(_mm256_setzero_ps(), _mm256_loadu_ps(x), 0x7f)) {}
};

LSH_INLINE __m256i read_words(const uint32_t* words, float) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
}

LSH_INLINE void add_products(const Window<float, 1>& x, __m256i words, int b, Vector<float, 8> values,
                             Vector<float, 8>& sum) {
  const __m256i place = (__m256i)((Vector<uint32_t, 8>)words >> uint32_t(8 * b));  // a permutation reads three bits
  const __m256 found = _mm256_permutevar8x32_ps(x.part, place);
  sum = (Vector<float, 8>)_mm256_fmadd_ps((__m256)values, found, (__m256)sum);
}
#endif
#endif

// ---------------------------------------------------------------------------------------------------------- packing

template <class T, int Parts>
static void pack_windows(const SparseMatrix<T>& matrix, const LookupMatrix<T>& out, Range lists) {
  using Columns = Window<T, Parts>;
  constexpr int W = kWidth<T>;
  constexpr int32_t kNone = INT32_MAX;
  const PatternView& p = matrix.pattern;
  const LookupPlan& plan = out.plan;
  const int64_t gates = plan.sharing(), rows = gates * W;
  for (int64_t l = lists.begin; l < lists.end; ++l) {
    const int64_t slice = l / plan.lists(), first = slice * W, units = plan.units_in(slice);
    const int64_t first_gate = l % plan.lists() * gates;
    int32_t left[kMostRows];                // non-zeros still to be taken
    alignas(64) int32_t column[kMostRows];  // of the next one
    const int32_t* columns[kMostRows];
    const T* values[kMostRows];
    for (int64_t i = 0; i < rows; ++i) {
      const bool exists = i % W < units;
      const int64_t row = exists ? (first_gate + i / W) * plan.units + first + i % W : 0;
      const int32_t begin = p.row_offsets[row];
      left[i] = exists ? p.row_offsets[row + 1] - begin : 0;
      columns[i] = p.column_of + begin;
      values[i] = matrix.packed ? matrix.weight + begin : matrix.weight + row * p.columns;
      column[i] = left[i] > 0 ? columns[i][0] : kNone;
    }
    out.starts[l] = l * plan.groups();
    T* value = out.values + out.starts[l] * rows;
    uint32_t* word = out.indices + out.starts[l] / plan.together() * W;
    int32_t* bases = out.bases + out.starts[l];
    int32_t count = 0;
    for (;; ++count, value += rows) {
      int32_t nearest = kNone;
      for (int64_t i = 0; i < rows; ++i) nearest = column[i] < nearest ? column[i] : nearest;
      const int64_t byte = count % plan.together() * gates;
      if (nearest == kNone) {
        if (byte == 0) break;
        nearest = 0;  // a group of nothing fills up the word
      }
      if (byte == 0) {
        if (count > 0) word += W;
        for (int i = 0; i < W; ++i) word[i] = 0;
      }
      const int32_t base = nearest / int32_t(Columns::kStep) * int32_t(Columns::kStep);
      const int32_t end = base + int32_t(Columns::kColumns);
      bases[count] = base;
      for (int64_t i = 0; i < rows; ++i) {
        const int32_t here = column[i];
        uint32_t place = Columns::kNothing;
        value[i] = 0;
        if (here < end) {
          value[i] = *(matrix.packed ? values[i]++ : values[i] + here);
          place = uint32_t(here - base);
          column[i] = --left[i] > 0 ? *++columns[i] : kNone;
          // Rows of a dense weight lie pages apart, and each of their values on a line of its own.
          if (!matrix.packed && left[i] > 0) __builtin_prefetch(values[i] + column[i]);
        }
        word[i % W] |= place << 8 * (byte + i / W);
      }
    }
    out.counts[l] = count;
  }
}

// --------------------------------------------------------------------------------------------------------- products

// How far a list's sums of one item stand from those of the next.
template <class T>
static int64_t item_stride(const LookupPlan& plan) {
  return plan.gates * kWidth<T>;
}

// A list of G gates, `Items` vectors. The groups of a word have sums of their own, enough under way to hide an FMA.
template <class T, int G, int Items, int Parts>
static void multiply_items(const LookupMatrix<T>& matrix, int64_t list, const T* x, T* sums) {
  constexpr int W = kWidth<T>, U = 4 / G;
  constexpr int kLine = 64 / int(sizeof(T));
  const LookupPlan& plan = matrix.plan;
  const int64_t stride = plan.stored_columns(), count = matrix.counts[list], start = matrix.starts[list];
  const T* value = matrix.values + start * G * W;
  const uint32_t* words = matrix.indices + start / U * W;
  const int32_t* bases = matrix.bases + start;
  Vector<T, W> total[Items][G] = {};
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = begin + kBlock < count ? begin + kBlock : count;
    Vector<T, W> sum[U][Items][G] = {};
    for (int64_t k = begin; k < end; k += U) {
      const auto word = read_words(words + k / U * W, T());
      __builtin_prefetch(reinterpret_cast<const char*>(words + k / U * W) + kAhead / 4);
      LSH_UNROLL for (int i = 0; i < U * G * W; i += kLine) {
        __builtin_prefetch(reinterpret_cast<const char*>(value + k * G * W + i) + kAhead);
      }
      LSH_UNROLL for (int u = 0; u < U; ++u) {
        const T* values = value + (k + u) * G * W;
        LSH_UNROLL for (int item = 0; item < Items; ++item) {
          const Window<T, Parts> window(x + item * stride + bases[k + u]);
          LSH_UNROLL for (int g = 0; g < G; ++g) {
            add_products(window, word, u * G + g, load<T, W>(values + g * W), sum[u][item][g]);
          }
        }
      }
    }
    LSH_UNROLL for (int item = 0; item < Items; ++item) {
      LSH_UNROLL for (int g = 0; g < G; ++g) {
        LSH_UNROLL for (int u = 1; u < U; ++u) sum[0][item][g] += sum[u][item][g];
        total[item][g] += sum[0][item][g];
      }
    }
  }
  LSH_UNROLL for (int item = 0; item < Items; ++item) {
    LSH_UNROLL for (int g = 0; g < G; ++g) store<T, W>(sums + item * item_stride<T>(plan) + g * W, total[item][g]);
  }
}

template <class T, int G, int Parts>
static void multiply_list(const LookupMatrix<T>& matrix, int64_t list, const T* x, int64_t items, T* sums) {
  constexpr int64_t kAtOnce = kVectorBytes == 64 ? 4 : 2;
  for (; items > 0; items -= kAtOnce) {
    switch (items < kAtOnce ? items : kAtOnce) {
      case 1:
        return multiply_items<T, G, 1, Parts>(matrix, list, x, sums);
      case 2:
        multiply_items<T, G, 2, Parts>(matrix, list, x, sums);
        break;
      case 3:
        if constexpr (kAtOnce > 2) multiply_items<T, G, 3, Parts>(matrix, list, x, sums);
        break;
      default:
        if constexpr (kAtOnce > 2) multiply_items<T, G, 4, Parts>(matrix, list, x, sums);
    }
    x += kAtOnce * matrix.plan.stored_columns();
    sums += kAtOnce * item_stride<T>(matrix.plan);
  }
}

template <class T, int Parts>
static void multiply_windows(const LookupMatrix<T>& matrix, int64_t slice, const T* x, int64_t items, T* sums) {
  const LookupPlan& plan = matrix.plan;
  if constexpr (Parts == 1) {
    for (int64_t g = 0; g < plan.gates; ++g) {
      multiply_list<T, 1, Parts>(matrix, slice * plan.gates + g, x, items, sums + g * kWidth<T>);
    }
  } else {
    switch (plan.gates) {
      case 1:
        return multiply_list<T, 1, Parts>(matrix, slice, x, items, sums);
      case 2:
        return multiply_list<T, 2, Parts>(matrix, slice, x, items, sums);
      case 3:
        return multiply_list<T, 3, Parts>(matrix, slice, x, items, sums);
      default:
        return multiply_list<T, 4, Parts>(matrix, slice, x, items, sums);
    }
  }
}

// ------------------------------------------------------------------------------------------- by a window's registers

// Windows of as many registers as lookup_plan says for this level.
#if defined(__AVX512F__)
#define LSH_BY_REGISTERS(plan, function, T, ...) \
  (plan).registers == 4 ? function<T, 4>(__VA_ARGS__) : function<T, 2>(__VA_ARGS__)
#elif defined(__AVX2__)
#define LSH_BY_REGISTERS(plan, function, T, ...) function<T, sizeof(T) == 4 ? 1 : 2>(__VA_ARGS__)
#else
#define LSH_BY_REGISTERS(plan, function, T, ...) function<T, 2>(__VA_ARGS__)
#endif

template <class T>
void pack_slices(const SparseMatrix<T>& matrix, const LookupMatrix<T>& out, Range slices) {
  if (out.ready) return;
  const Range lists{slices.begin * out.plan.lists(), slices.end * out.plan.lists()};
  LSH_BY_REGISTERS(out.plan, pack_windows, T, matrix, out, lists);
}

template <class T>
void multiply_slice(const LookupMatrix<T>& matrix, int64_t slice, const T* x, int64_t items, T* sums) {
  LSH_BY_REGISTERS(matrix.plan, multiply_windows, T, matrix, slice, x, items, sums);
}

#define LSH_INSTANTIATE(T)                                                             \
  template void pack_slices<T>(const SparseMatrix<T>&, const LookupMatrix<T>&, Range); \
  template void multiply_slice<T>(const LookupMatrix<T>&, int64_t, const T*, int64_t, T*);
LSH_INSTANTIATE(float)
LSH_INSTANTIATE(double)

}  // namespace LSH_LEVEL
}  // namespace lsh
