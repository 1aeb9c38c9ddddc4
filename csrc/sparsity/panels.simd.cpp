// Packing of panel matrices and their products with slabs, at one SIMD level.
#include "sparsity/panels.simd.h"

namespace lsh {
namespace LSH_LEVEL {

constexpr int64_t kAhead = 4096;  // bytes asked for before they are needed, when they come from far away
constexpr int64_t kStretch =
    8;  // steps of a group whose numbers are asked for at once: a processor has few lines under way
constexpr int kUnusedSlot = int(kChunkRows);  // the row of sums that nobody reads

// Rows 0 … rows - 1 in the order of descending counts, ties in ascending order.
static inline void sort_by_count(const int32_t* count, int64_t rows, uint8_t* order) {
  int32_t most = 0, least = count[0];
  for (int64_t i = 0; i < rows; ++i) {
    most = count[i] > most ? count[i] : most;
    least = count[i] < least ? count[i] : least;
  }
  int16_t place[kMostPanelColumns + 2];
  const int64_t range = most - least;
  for (int64_t c = 0; c <= range + 1; ++c) place[c] = 0;
  for (int64_t i = 0; i < rows; ++i) ++place[most - count[i] + 1];
  for (int64_t c = 1; c <= range; ++c) place[c] = int16_t(place[c] + place[c - 1]);
  for (int64_t i = 0; i < rows; ++i) order[place[most - count[i]]++] = uint8_t(i);
}

// The group table of one chunk of `units` units and a panel from the counts of its bundles. Returns where the next
// panel's columns begin.
template <class T>
static int32_t lay_out_groups(const PanelMatrix<T>& out, int64_t chunk, int64_t panel, const int32_t* count,
                              int64_t units, int32_t at, uint8_t* order) {
  const PanelPlan& plan = out.plan;
  const int64_t groups = plan.groups(), R = plan.bundle_rows, B = plan.bundles, bundles = plan.gates * units / R;
  int32_t* starts = out.starts + chunk * (plan.panels * groups + 1) + panel * groups;
  uint8_t* slot = out.slots + (chunk * plan.panels + panel) * plan.groups() * plan.group_rows();
  sort_by_count(count, bundles, order);
  for (int64_t g = 0; g < groups; ++g) {
    starts[g] = at;
    for (int64_t b = B * g; b < B * (g + 1); ++b) {
      const bool any = b < bundles && count[order[b]] > 0;
      for (int64_t r = 0; r < R; ++r) *slot++ = uint8_t(any ? plan.row_of_bundle(order[b], r, units) : kUnusedSlot);
    }
    if (B * g < bundles) at += count[order[B * g]];
  }
  starts[groups] = at;  // of the next panel, or the end of the chunk
  return at;
}

constexpr int64_t kRowsAhead = 8;  // whose shares are asked for: where they begin no prefetcher guesses

// Asks for entries of a row from `begin` on.
template <class T>
LSH_INLINE void prefetch_entries(const SparseMatrix<T>& matrix, int64_t begin) {
  prefetch(matrix.pattern.column_of + begin, 256);
  prefetch(matrix.row_values + begin, 256);
}

template <class T>
void pack_rows(const SparseMatrix<T>& matrix, const PanelMatrix<T>& out, Range chunks) {
  if (out.ready) return;
  const PatternView& p = matrix.pattern;
  const PanelPlan& plan = out.plan;
  const int64_t R = plan.bundle_rows, B = plan.bundles, G = plan.group_rows();
  int64_t base = 0;
  for (int64_t c = 0; c < chunks.end; ++c) {
    const int64_t first = c * plan.chunk_units, units = plan.units_in(c), rows = plan.gates * units;
    const int64_t here = base, bundles = rows / R;
    base += G * plan.columns;
    for (int64_t g = 0; g < plan.gates; ++g) {
      const int64_t row = g * plan.units + first;
      base += p.row_offsets[row + units] - p.row_offsets[row];
    }
    if (c < chunks.begin) continue;
    out.bases[c] = here;
    int64_t row_of[kChunkRows];  // by bundles: the r-th row of bundle b at b * R + r
    int32_t next[kChunkRows], count[kChunkRows];
    uint8_t order[kChunkRows];
    for (int64_t g = 0; g < plan.gates; ++g) {
      gather_rows(matrix, g * plan.units + first, g * plan.units + first + units);
    }
    for (int64_t b = 0; b < bundles; ++b) {
      for (int64_t r = 0; r < R; ++r) {
        const int64_t i = plan.row_of_bundle(b, r, units);
        row_of[b * R + r] = i / units * plan.units + first + i % units;
        next[b * R + r] = p.row_offsets[row_of[b * R + r]];
      }
    }
    int32_t at = 0;
    for (int64_t panel = 0; panel < plan.panels; ++panel) {
      const int64_t left = panel * plan.panel_columns, right = left + plan.panel_columns;
      for (int64_t b = 0; b < bundles; ++b) {
        if ((b + 1) * R + kRowsAhead <= rows) prefetch_entries(matrix, next[b * R + kRowsAhead]);
        const int32_t stop = p.row_offsets[row_of[b * R] + 1];
        int32_t k = next[b * R];
        while (k < stop && p.column_of[k] < right) ++k;
        count[b] = k - next[b * R];
      }
      const int32_t start = at;
      at = lay_out_groups(out, c, panel, count, units, at, order);
      T* group_values = out.values + here + G * int64_t(start);
      uint16_t* group_offsets = out.offsets + here / R + B * int64_t(start);
      for (int64_t g = 0; g < (bundles + B - 1) / B; ++g) {
        const int64_t longest = count[order[B * g]];
        for (int64_t b = 0; b < B; ++b) {
          const int64_t bundle = B * g + b < bundles ? order[B * g + b] : -1, mine = bundle < 0 ? 0 : count[bundle];
          const int32_t* column_of = bundle < 0 ? nullptr : p.column_of + next[bundle * R];
          uint16_t* offsets = group_offsets + b;
          uint16_t offset = 0;
          for (int64_t k = 0; k < mine; ++k) offsets[B * k] = offset = uint16_t((column_of[k] - left) * 8);
          for (int64_t k = mine; k < longest; ++k) offsets[B * k] = offset;
          for (int64_t r = 0; r < R; ++r) {
            T* values = group_values + b * R + r;
            if (mine > 0) {
              const int64_t row = bundle * R + r;
              const T* weight = matrix.row_values + next[row];
              for (int64_t k = 0; k < mine; ++k) values[G * k] = weight[k];
            }
            for (int64_t k = mine; k < longest; ++k) values[G * k] = 0;
          }
        }
        group_values += G * longest;
        group_offsets += B * longest;
      }
      for (int64_t row = 0; row < rows; ++row) next[row] += count[row / R];
    }
  }
}

template <class T>
void pack_columns(const SparseMatrix<T>& matrix, const PanelMatrix<T>& out, const int32_t* before, int32_t* next,
                  Range chunks) {
  const PatternView& p = matrix.pattern;
  const PanelPlan& plan = out.plan;
  const int64_t B = plan.bundles;  // of a row each
  if (chunks.begin == chunks.end) return;
  const int32_t first_column = int32_t(chunks.begin * plan.chunk_units);
  for (int64_t row = 0; row < p.rows; ++row) {
    int32_t low = p.row_offsets[row], high = p.row_offsets[row + 1];
    while (low < high) {
      const int32_t middle = low + (high - low) / 2;
      if (p.column_of[middle] < first_column) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    next[row] = low;
  }
  for (int64_t c = chunks.begin; c < chunks.end; ++c) {
    const int32_t left = int32_t(c * plan.chunk_units), rows = int32_t(plan.units_in(c)), right = left + rows;
    out.bases[c] = before[left] + B * plan.columns * c;
    T* values = out.values + out.bases[c];
    uint16_t* offsets = out.offsets + out.bases[c];
    int32_t at = 0;
    for (int64_t panel = 0; panel < plan.panels; ++panel) {
      const int64_t top = panel * plan.panel_columns;
      const int64_t bottom = top + plan.panel_columns < p.rows ? top + plan.panel_columns : p.rows;
      int32_t count[kChunkRows] = {}, filled[kChunkRows];
      uint8_t order[kChunkRows];
      for (int64_t row = top; row < bottom; ++row) {
        if (row + kRowsAhead < bottom) prefetch_entries(matrix, next[row + kRowsAhead]);
        const int32_t stop = p.row_offsets[row + 1];
        for (int32_t k = next[row]; k < stop && p.column_of[k] < right; ++k) ++count[p.column_of[k] - left];
      }
      const int32_t* starts = out.starts + c * (plan.panels * plan.groups() + 1) + panel * plan.groups();
      at = lay_out_groups(out, c, panel, count, rows, at, order);
      for (int32_t r = 0; r < rows; ++r) filled[order[r]] = int32_t(B * starts[r / B] + r % B);
      for (int64_t row = top; row < bottom; ++row) {
        const int32_t stop = p.row_offsets[row + 1];
        const uint16_t offset = uint16_t((row - top) * 8);
        int32_t k = next[row];
        for (; k < stop && p.column_of[k] < right; ++k) {
          const int32_t column = p.column_of[k] - left;
          const int32_t at_column = filled[column];
          values[at_column] = matrix.row_values[k];
          offsets[at_column] = offset;
          __builtin_prefetch(values + at_column + 32, 1);  // each column fills a stream of its own
          __builtin_prefetch(offsets + at_column + 64, 1);
          filled[column] = at_column + int32_t(B);
        }
        next[row] = k;
      }
      for (int64_t r = 0; r < (rows + B - 1) / B * B; ++r) {
        const int64_t end = B * (starts[r / B] + count[order[r / B * B]]) + r % B;
        int64_t e = r < rows ? filled[order[r]] : B * starts[r / B] + r % B;
        const uint16_t offset = r < rows && count[order[r]] > 0 ? offsets[e - B] : uint16_t(0);
        for (; e < end; e += B) {
          values[e] = 0;
          offsets[e] = offset;
        }
      }
    }
  }
}

// The R-th of every four numbers in all four places: a shuffle within quarters, the cheapest there is.
template <int R, int... I>
LSH_INLINE auto repeat_one(auto fours, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(fours, fours, (I / 4 * 4 + R)...);
}

// Each of N / Q numbers Q times in a row.
template <class T, int Q, int N, int... I>
LSH_INLINE Vector<T, N> repeat_each(const T* p, std::integer_sequence<int, I...>) {
  return Vector<T, N>{p[I / Q]...};
}

// Q numbers, again and again.
template <class T, int Q, int N, int... I>
LSH_INLINE Vector<T, N> load_again(const T* p, std::integer_sequence<int, I...>) {
  if constexpr (Q == N) {
    return load<T, N>(p);
  } else if constexpr (Q == 4) {
    return load_fours<T, N>(p);
  } else {
    const Vector<T, Q> v = load<T, Q>(p);
    return __builtin_shufflevector(v, v, (I % Q)...);
  }
}

// Asks for what stands kAhead bytes behind: so many values and offsets.
template <class T>
LSH_INLINE void prefetch_ahead(const T* value, const uint16_t* offset, int64_t values, int64_t offsets) {
  prefetch(reinterpret_cast<const char*>(value) + kAhead, values * int64_t(sizeof(T)));
  prefetch(reinterpret_cast<const char*>(offset) + kAhead, offsets * int64_t(sizeof(uint16_t)));
}

// One group of B bundles of one row each: M full vectors and a tail of Q lanes.
template <class T, int M, int Q, int B>
LSH_INLINE void multiply_rows(const T* value, const uint16_t* offset, int64_t count, const char* full, const char* tail,
                              const uint8_t* slot, T* full_sums, T* tail_sums) {
  constexpr int W = kWidth<T>, N = M > 0 ? W : Q;
  Vector<T, W> sums[B][M + !M] = {};
  Vector<T, Q + 4 * !Q> rest[B] = {};
  for (int64_t k = 0; k < count; ++k) {
    if (k % kStretch == 0) prefetch_ahead(value + B * k, offset + B * k, B * kStretch, B * kStretch);
    const auto four = [&]<int F>() __attribute__((always_inline)) {
      const T* value_here = value + B * k + 4 * F;
      Vector<T, N> values{};
      if constexpr (N >= 4) values = load_fours<T, N>(value_here);
      uint32_t offsets[2];  // two places in a number: one load and two steps for both
      __builtin_memcpy(offsets, offset + B * k + 4 * F, 8);
      const auto row = [&]<int R>() __attribute__((always_inline)) {
        const uint64_t at = R % 2 ? offsets[R / 2] >> 16 : offsets[R / 2] & 0xffff;
        constexpr int I = 4 * F + R;
        Vector<T, N> v;
        if constexpr (N >= 4) {
          v = repeat_one<R>(values, std::make_integer_sequence<int, N>());
        } else {
          v = splat<T, N>(value_here[R]);
        }
        if constexpr (M > 0) {
          const T* x = reinterpret_cast<const T*>(full + at * (M * W * sizeof(T) / 8));
          for (int m = 0; m < M; ++m) sums[I][m] += v * load<T, W>(x + m * W);
        }
        if constexpr (Q > 0) {
          const T* x = reinterpret_cast<const T*>(tail + at * (Q * sizeof(T) / 8));
          if constexpr (M > 0) {
            rest[I] += first_lanes<T, W, Q>(v) * load<T, Q>(x);
          } else {
            rest[I] += v * load<T, Q>(x);
          }
        }
      };
      row.template operator()<0>();
      row.template operator()<1>();
      row.template operator()<2>();
      row.template operator()<3>();
    };
    four.template operator()<0>();
    if constexpr (B > 4) four.template operator()<1>();
  }
  for (int i = 0; i < B; ++i) {
    T* out = full_sums + slot[i] * M * W;
    for (int m = 0; m < M; ++m) store<T, W>(out + m * W, load<T, W>(out + m * W) + sums[i][m]);
    if constexpr (Q > 0) {
      T* last = tail_sums + slot[i] * Q;
      store<T, Q>(last, load<T, Q>(last) + rest[i]);
    }
  }
}

// One group of B bundles of R rows each, which read the same lanes. Tails of as many rows as there is room for are one
// vector.
template <class T, int M, int Q, int B, int R>
LSH_INLINE void multiply_bundles(const T* value, const uint16_t* offset, int64_t count, const char* full,
                                 const char* tail, const uint8_t* slot, T* full_sums, T* tail_sums) {
  constexpr int W = kWidth<T>, kRoom = Q > 0 && W / (Q + !Q) > 0 ? W / (Q + !Q) : 1;
  constexpr int kTogether = R % kRoom == 0 ? kRoom : 1, N = Q > 0 ? Q * kTogether : 4;
  constexpr auto lanes = std::make_integer_sequence<int, N>();
  Vector<T, W> sums[B * R][M + !M] = {};
  Vector<T, N> rest[B * R / kTogether] = {};
  for (int64_t k = 0; k < count; ++k) {
    if (k % kStretch == 0) prefetch_ahead(value + B * R * k, offset + B * k, B * R * kStretch, B * kStretch);
    const auto bundle = [&]<int I>() __attribute__((always_inline)) {
      const uint64_t at = offset[B * k + I];
      const T* own = value + (B * k + I) * R;
      if constexpr (M > 0) {
        const T* x = reinterpret_cast<const T*>(full + at * (M * W * sizeof(T) / 8));
        Vector<T, W> there[M];
        for (int m = 0; m < M; ++m) there[m] = load<T, W>(x + m * W);
        for (int r = 0; r < R; ++r) {
          const Vector<T, W> v = load_one<T, W>(own + r);
          for (int m = 0; m < M; ++m) sums[I * R + r][m] += v * there[m];
        }
      }
      if constexpr (Q > 0) {
        const auto there = load_again<T, Q, N>(reinterpret_cast<const T*>(tail + at * (Q * sizeof(T) / 8)), lanes);
        for (int r = 0; r < R / kTogether; ++r) {
          rest[I * R / kTogether + r] += repeat_each<T, Q, N>(own + r * kTogether, lanes) * there;
        }
      }
    };
    bundle.template operator()<0>();
    if constexpr (B > 1) bundle.template operator()<1>();
    if constexpr (B > 2) bundle.template operator()<2>();
    if constexpr (B > 3) bundle.template operator()<3>();
  }
  for (int i = 0; i < B * R; ++i) {
    T* out = full_sums + slot[i] * M * W;
    for (int m = 0; m < M; ++m) store<T, W>(out + m * W, load<T, W>(out + m * W) + sums[i][m]);
    if constexpr (Q > 0) {
      T numbers[N];
      store<T, N>(numbers, rest[i / kTogether]);
      T* last = tail_sums + slot[i] * Q;
      store<T, Q>(last, load<T, Q>(last) + load<T, Q>(numbers + i % kTogether * Q));
    }
  }
}

template <class T, int M, int Q, int B, int R>
static void multiply_chunk_slab(const PanelMatrix<T>& matrix, int64_t chunk, const T* full, const T* tail, T* full_sums,
                                T* tail_sums) {
  constexpr int W = kWidth<T>, G = B * R;
  const PanelPlan& plan = matrix.plan;
  const int64_t groups = plan.groups();
  const int32_t* starts = matrix.starts + chunk * (plan.panels * groups + 1);
  const uint8_t* slots = matrix.slots + chunk * plan.panels * groups * G;
  const T* values = matrix.values + matrix.bases[chunk];
  const uint16_t* offsets = matrix.offsets + matrix.bases[chunk] / R;
  for (int64_t i = 0; i < (kChunkRows + 1) * M * W; ++i) full_sums[i] = 0;
  for (int64_t i = 0; i < (kChunkRows + 1) * Q; ++i) tail_sums[i] = 0;
  for (int64_t panel = 0; panel < plan.panels; ++panel) {
    const char* full_lanes = reinterpret_cast<const char*>(full + panel * plan.panel_columns * M * W);
    const char* tail_lanes = reinterpret_cast<const char*>(tail + panel * plan.panel_columns * Q);
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t at = starts[panel * groups + g];
      const int64_t count = starts[panel * groups + g + 1] - at;
      if (count == 0) break;  // groups are sorted: nothing but empty ones follows
      const uint8_t* slot = slots + (panel * groups + g) * G;
      if constexpr (R == 1) {
        multiply_rows<T, M, Q, B>(values + G * at, offsets + B * at, count, full_lanes, tail_lanes, slot, full_sums,
                                  tail_sums);
      } else {
        multiply_bundles<T, M, Q, B, R>(values + G * at, offsets + B * at, count, full_lanes, tail_lanes, slot,
                                        full_sums, tail_sums);
      }
    }
  }
}

// With groups of B bundles of R rows.
template <int B, int R, class T>
static void multiply_chunk_by(const PanelMatrix<T>& matrix, int64_t chunk, const T* x, const Slab& slab,
                              ChunkSums<T>& sums) {
  constexpr int W = kWidth<T>;
  const T* full = x + matrix.plan.columns * slab.first;
  const T* tail = full + matrix.plan.columns * slab.full * W;
  T* full_sums = sums.numbers;
  T* tail_sums = sums.numbers + (kChunkRows + 1) * slab.full * W;
  const auto run = [&]<int Q>() {
    switch (slab.full) {
      case 0:
        if constexpr (Q > 0) multiply_chunk_slab<T, 0, Q, B, R>(matrix, chunk, full, tail, full_sums, tail_sums);
        return;
      case 1:
        return multiply_chunk_slab<T, 1, Q, B, R>(matrix, chunk, full, tail, full_sums, tail_sums);
      case 2:
        return multiply_chunk_slab<T, 2, Q, B, R>(matrix, chunk, full, tail, full_sums, tail_sums);
      default:
        if constexpr (kSlabVectors<T> > 2) {
          return multiply_chunk_slab<T, 3, Q, B, R>(matrix, chunk, full, tail, full_sums, tail_sums);
        }
    }
  };
  if constexpr (W > 4) {
    if (slab.tail == 4) return run.template operator()<4>();
  }
  if constexpr (W > 8) {
    if (slab.tail == 8) return run.template operator()<8>();
  }
  run.template operator()<0>();
}

template <class T>
void multiply_chunk(const PanelMatrix<T>& matrix, int64_t chunk, const T* x, const Slab& slab, ChunkSums<T>& sums) {
  constexpr int kMost = kVectorBytes == 64 ? 8 : 4;  // most_group_rows() of this level
  switch (matrix.plan.bundle_rows) {
    case 1:
      return multiply_chunk_by<kMost, 1>(matrix, chunk, x, slab, sums);
    case 2:
      return multiply_chunk_by<kMost / 2, 2>(matrix, chunk, x, slab, sums);
    case 3:
      return multiply_chunk_by<kMost / 3, 3>(matrix, chunk, x, slab, sums);
    case 4:
      return multiply_chunk_by<kMost / 4, 4>(matrix, chunk, x, slab, sums);
    default:
      if constexpr (kMost >= 8) return multiply_chunk_by<1, 8>(matrix, chunk, x, slab, sums);
  }
}

#define LSH_INSTANTIATE(T)                                                                                       \
  template void pack_rows<T>(const SparseMatrix<T>&, const PanelMatrix<T>&, Range);                              \
  template void pack_columns<T>(const SparseMatrix<T>&, const PanelMatrix<T>&, const int32_t*, int32_t*, Range); \
  template void multiply_chunk<T>(const PanelMatrix<T>&, int64_t, const T*, const Slab&, ChunkSums<T>&);
LSH_INSTANTIATE(float)
LSH_INSTANTIATE(double)

}  // namespace LSH_LEVEL
}  // namespace lsh
