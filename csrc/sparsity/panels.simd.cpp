// Packing of panel matrices and their products with slabs, at one SIMD level.
#include "sparsity/panels.simd.h"

namespace lsh {
namespace LSH_LEVEL {

constexpr int64_t kAhead = 2048;  // bytes of values asked for before they are needed, when they come from far away
constexpr int kUnusedSlot = int(kChunkRows);  // the row of sums that nobody reads

// Rows 0 … rows - 1 in the order of descending counts, ties in ascending order. Returns nothing of rows without any.
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

// The group table of one chunk and panel from the counts of its rows. Returns where the next panel's entries begin.
template <class T>
static int32_t lay_out_groups(const PanelMatrix<T>& out, int64_t chunk, int64_t panel, const int32_t* count,
                              int64_t rows, int32_t at, uint8_t* order) {
  const int64_t groups = out.plan.groups();
  int32_t* starts = out.starts + chunk * (out.plan.panels * groups + 1) + panel * groups;
  uint8_t* slots = out.slots + (chunk * out.plan.panels + panel) * groups * 4;
  sort_by_count(count, rows, order);
  for (int64_t g = 0; g < groups; ++g) {
    starts[g] = at;
    for (int64_t r = 4 * g; r < 4 * g + 4; ++r) {
      slots[r] = r < rows && count[order[r]] > 0 ? order[r] : uint8_t(kUnusedSlot);
    }
    if (4 * g < rows) at += count[order[4 * g]];
  }
  starts[groups] = at;  // of the next panel, or the end of the chunk
  return at;
}

template <class T>
void pack_rows(const SparseMatrix<T>& matrix, const PanelMatrix<T>& out, Range chunks) {
  if (out.ready) return;
  const PatternView& p = matrix.pattern;
  const PanelPlan& plan = out.plan;
  int64_t base = 0;
  for (int64_t c = 0; c < chunks.end; ++c) {
    const int64_t first = c * plan.chunk_units, units = plan.units_in(c), rows = plan.gates * units;
    const int64_t here = base;
    base += 4 * plan.columns;
    for (int64_t g = 0; g < plan.gates; ++g) {
      const int64_t row = g * plan.units + first;
      base += p.row_offsets[row + units] - p.row_offsets[row];
    }
    if (c < chunks.begin) continue;
    out.bases[c] = here;
    int64_t row_of[kChunkRows];
    int32_t next[kChunkRows], count[kChunkRows];
    uint8_t order[kChunkRows];
    for (int64_t i = 0; i < rows; ++i) {
      row_of[i] = i / units * plan.units + first + i % units;
      next[i] = p.row_offsets[row_of[i]];
    }
    int32_t at = 0;
    for (int64_t panel = 0; panel < plan.panels; ++panel) {
      const int64_t left = panel * plan.panel_columns, right = left + plan.panel_columns;
      for (int64_t i = 0; i < rows; ++i) {
        const int32_t stop = p.row_offsets[row_of[i] + 1];
        int32_t k = next[i];
        while (k < stop && p.column_of[k] < right) ++k;
        count[i] = k - next[i];
      }
      const int32_t start = at;
      at = lay_out_groups(out, c, panel, count, rows, at, order);
      T* group_values = out.values + here + 4 * int64_t(start);
      uint16_t* group_offsets = out.offsets + here + 4 * int64_t(start);
      for (int64_t r = 0; r < (rows + 3) / 4 * 4; ++r) {
        const int64_t longest = count[order[r / 4 * 4]];
        T* values = group_values + r % 4;
        uint16_t* offsets = group_offsets + r % 4;
        int64_t k = 0;
        uint16_t offset = 0;
        if (r < rows) {
          const int64_t row = row_of[order[r]], mine = count[order[r]];
          const int32_t* column_of = p.column_of + next[order[r]];
          const T* weight = matrix.weight + (matrix.packed ? next[order[r]] : row * p.columns);
          for (; k < mine; ++k) {
            values[4 * k] = weight[matrix.packed ? k : column_of[k]];
            offsets[4 * k] = offset = uint16_t((column_of[k] - left) * 8);
          }
        }
        for (; k < longest; ++k) {
          values[4 * k] = 0;
          offsets[4 * k] = offset;
        }
        if (r % 4 == 3) {
          group_values += 4 * longest;
          group_offsets += 4 * longest;
        }
      }
      for (int64_t i = 0; i < rows; ++i) next[i] += count[i];
    }
  }
}

template <class T>
void pack_columns(const SparseMatrix<T>& matrix, const PanelMatrix<T>& out, const int32_t* before, int32_t* next,
                  Range chunks) {
  const PatternView& p = matrix.pattern;
  const PanelPlan& plan = out.plan;
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
    out.bases[c] = before[left] + 4 * plan.columns * c;
    T* values = out.values + out.bases[c];
    uint16_t* offsets = out.offsets + out.bases[c];
    int32_t at = 0;
    for (int64_t panel = 0; panel < plan.panels; ++panel) {
      const int64_t top = panel * plan.panel_columns;
      const int64_t bottom = top + plan.panel_columns < p.rows ? top + plan.panel_columns : p.rows;
      int32_t count[kChunkRows] = {}, place[kChunkRows], filled[kChunkRows];
      uint8_t order[kChunkRows];
      for (int64_t row = top; row < bottom; ++row) {
        const int32_t stop = p.row_offsets[row + 1];
        for (int32_t k = next[row]; k < stop && p.column_of[k] < right; ++k) ++count[p.column_of[k] - left];
      }
      const int32_t* starts = out.starts + c * (plan.panels * plan.groups() + 1) + panel * plan.groups();
      at = lay_out_groups(out, c, panel, count, rows, at, order);
      for (int32_t r = 0; r < rows; ++r) place[order[r]] = filled[order[r]] = 4 * starts[r / 4] + r % 4;
      for (int64_t row = top; row < bottom; ++row) {
        const int32_t stop = p.row_offsets[row + 1];
        const uint16_t offset = uint16_t((row - top) * 8);
        const T* weight = matrix.packed ? matrix.weight : matrix.weight + row * p.columns;
        int32_t k = next[row];
        for (; k < stop && p.column_of[k] < right; ++k) {
          const int32_t column = p.column_of[k] - left;
          values[filled[column]] = weight[matrix.packed ? k : p.column_of[k]];
          offsets[filled[column]] = offset;
          filled[column] += 4;
        }
        next[row] = k;
      }
      for (int32_t r = 0; r < (rows + 3) / 4 * 4; ++r) {
        const int32_t end = 4 * (starts[r / 4] + count[order[r / 4 * 4]]) + r % 4;
        int32_t e = r < rows ? filled[order[r]] : 4 * starts[r / 4] + r % 4;
        const uint16_t offset = r < rows && count[order[r]] > 0 ? offsets[e - 4] : uint16_t(0);
        for (; e < end; e += 4) {
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

// One group: M full vectors and a tail of Q lanes of four rows.
template <class T, int M, int Q>
LSH_INLINE void multiply_group(const T* value, const uint16_t* offset, int64_t count, const T* full, const T* tail,
                               const uint8_t* slot, T* full_sums, T* tail_sums) {
  constexpr int W = kWidth<T>;
  Vector<T, W> sums[4][M + !M] = {};
  Vector<T, Q + 4 * !Q> rest[4] = {};
  const char* full_rows = reinterpret_cast<const char*>(full);
  const char* tail_rows = reinterpret_cast<const char*>(tail);
  for (int64_t k = 0; k < count; ++k) {
    constexpr int N = M > 0 ? W : Q;
    Vector<T, N> values{};
    if constexpr (N >= 4) values = load_fours<T, N>(value + 4 * k);
    __builtin_prefetch(reinterpret_cast<const char*>(value + 4 * k) + kAhead);
    __builtin_prefetch(reinterpret_cast<const char*>(offset + 4 * k) + kAhead / 2);
    uint64_t offsets;
    __builtin_memcpy(&offsets, offset + 4 * k, 8);
    const auto row = [&]<int R>() __attribute__((always_inline)) {
      const uint64_t at = R == 3 ? offsets >> 48 : offsets >> (16 * R) & 0xffff;
      Vector<T, N> v;
      if constexpr (N >= 4) {
        v = repeat_one<R>(values, std::make_integer_sequence<int, N>());
      } else {
        v = splat<T, N>(value[4 * k + R]);
      }
      if constexpr (M > 0) {
        const T* x = reinterpret_cast<const T*>(full_rows + at * (M * W * sizeof(T) / 8));
        for (int m = 0; m < M; ++m) sums[R][m] += v * load<T, W>(x + m * W);
      }
      if constexpr (Q > 0) {
        const T* x = reinterpret_cast<const T*>(tail_rows + at * (Q * sizeof(T) / 8));
        if constexpr (M > 0) {
          rest[R] += first_lanes<T, W, Q>(v) * load<T, Q>(x);
        } else {
          rest[R] += v * load<T, Q>(x);
        }
      }
    };
    row.template operator()<0>();
    row.template operator()<1>();
    row.template operator()<2>();
    row.template operator()<3>();
  }
  for (int r = 0; r < 4; ++r) {
    T* out = full_sums + slot[r] * M * W;
    for (int m = 0; m < M; ++m) store<T, W>(out + m * W, load<T, W>(out + m * W) + sums[r][m]);
    if constexpr (Q > 0) {
      T* last = tail_sums + slot[r] * Q;
      store<T, Q>(last, load<T, Q>(last) + rest[r]);
    }
  }
}

template <class T, int M, int Q>
static void multiply_chunk_slab(const PanelMatrix<T>& matrix, int64_t chunk, const T* full, const T* tail, T* full_sums,
                                T* tail_sums) {
  constexpr int W = kWidth<T>;
  const PanelPlan& plan = matrix.plan;
  const int64_t groups = plan.groups();
  const int32_t* starts = matrix.starts + chunk * (plan.panels * groups + 1);
  const uint8_t* slots = matrix.slots + chunk * plan.panels * groups * 4;
  const T* values = matrix.values + matrix.bases[chunk];
  const uint16_t* offsets = matrix.offsets + matrix.bases[chunk];
  for (int64_t i = 0; i < (kChunkRows + 1) * M * W; ++i) full_sums[i] = 0;
  for (int64_t i = 0; i < (kChunkRows + 1) * Q; ++i) tail_sums[i] = 0;
  for (int64_t panel = 0; panel < plan.panels; ++panel) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t at = 4 * int64_t(starts[panel * groups + g]);
      const int64_t count = starts[panel * groups + g + 1] - starts[panel * groups + g];
      if (count == 0) break;  // groups are sorted: nothing but empty ones follows
      multiply_group<T, M, Q>(values + at, offsets + at, count, full, tail, slots + (panel * groups + g) * 4, full_sums,
                              tail_sums);
    }
    full += plan.panel_columns * M * W;
    tail += plan.panel_columns * Q;
  }
}

template <class T>
void multiply_chunk(const PanelMatrix<T>& matrix, int64_t chunk, const T* x, const Slab& slab, ChunkSums<T>& sums) {
  constexpr int W = kWidth<T>;
  const T* full = x + matrix.plan.columns * slab.first;
  const T* tail = full + matrix.plan.columns * slab.full * W;
  T* full_sums = sums.numbers;
  T* tail_sums = sums.numbers + (kChunkRows + 1) * slab.full * W;
  const auto run = [&]<int Q>() {
    switch (slab.full) {
      case 0:
        if constexpr (Q > 0) multiply_chunk_slab<T, 0, Q>(matrix, chunk, full, tail, full_sums, tail_sums);
        return;
      case 1:
        return multiply_chunk_slab<T, 1, Q>(matrix, chunk, full, tail, full_sums, tail_sums);
      case 2:
        return multiply_chunk_slab<T, 2, Q>(matrix, chunk, full, tail, full_sums, tail_sums);
      default:
        if constexpr (kSlabVectors<T> > 2) {
          return multiply_chunk_slab<T, 3, Q>(matrix, chunk, full, tail, full_sums, tail_sums);
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

#define LSH_INSTANTIATE(T)                                                                                       \
  template void pack_rows<T>(const SparseMatrix<T>&, const PanelMatrix<T>&, Range);                              \
  template void pack_columns<T>(const SparseMatrix<T>&, const PanelMatrix<T>&, const int32_t*, int32_t*, Range); \
  template void multiply_chunk<T>(const PanelMatrix<T>&, int64_t, const T*, const Slab&, ChunkSums<T>&);
LSH_INSTANTIATE(float)
LSH_INSTANTIATE(double)

extern const PackPanelsTable pack_panels;
const PackPanelsTable pack_panels = {pack_rows<float>, pack_rows<double>};

}  // namespace LSH_LEVEL
}  // namespace lsh
