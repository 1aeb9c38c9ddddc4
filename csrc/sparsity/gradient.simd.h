// The gradient of a sparse weight from lanes: g xᵀ at the entries of its pattern, or at every entry.
//
//   out[row][c] = sum_lane g[row][lane] x[c][lane]
//
// A row's g is held in registers while the rows of x of a panel of columns pass by in the first-level cache; the sums
// of as many entries as a vector holds are reduced together. Bound by the loads of x.
#pragma once

#include "common/parallel.h"
#include "sparsity/lanes.simd.h"
#include "sparsity/matrix.h"
#include "sparsity/panels.h"

namespace lsh {
namespace LSH_LEVEL {

// Slabs of g held at once.
constexpr int kHeldSlabs = kVectorBytes == 64 ? 4 : 2;

// Half of a and half of b: lane i holds a[i] + a[i + H] or b[i] + b[i - H], as bit H of i is 0 or 1.
template <int H, int N, int... I>
LSH_INLINE auto add_halves(auto a, auto b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, ((I & H) ? N + I : I)...) +
         __builtin_shufflevector(a, b, ((I & H) ? N + I - H : I + H)...);
}

// The sums of K vectors of N numbers, that of vector i in lane i * (N / K).
template <class T, int N, int K, int H = N / 2>
LSH_INLINE Vector<T, N> sum_each(Vector<T, N>* v) {
  constexpr auto lanes = std::make_integer_sequence<int, N>();
  if constexpr (K > 1) {
    for (int i = 0; i < K / 2; ++i) v[i] = add_halves<H, N>(v[i], v[i + K / 2], lanes);
    if constexpr (H > 1) return sum_each<T, N, K / 2, H / 2>(v);
  } else {
    v[0] = add_halves<H, N>(v[0], v[0], lanes);
    if constexpr (H > 1) return sum_each<T, N, 1, H / 2>(v);
  }
  return v[0];
}

// Where the lanes of S slabs of M vectors stand: slab s of channel c at data + s * between + c * M * W.
template <class T>
struct HeldLanes {
  const T* data;
  int64_t between;
};

// `column_at(k)`: the channel of x that belongs to out[k].
template <class T, int S, int M, class ColumnAt>
static void sample_row(HeldLanes<T> g, int64_t row, HeldLanes<T> x, const ColumnAt& column_at, int64_t count, T* out) {
  constexpr int W = kWidth<T>, kFew = W < 4 ? W : 4;
  Vector<T, W> held[S][M];
  for (int s = 0; s < S; ++s) {
    for (int m = 0; m < M; ++m) held[s][m] = load<T, W>(g.data + s * g.between + (row * M + m) * W);
  }
  const auto product = [&](int64_t k) __attribute__((always_inline)) {
    Vector<T, W> sum{};
    for (int s = 0; s < S; ++s) {
      const T* lanes = x.data + s * x.between + column_at(k) * (M * W);
      for (int m = 0; m < M; ++m) sum += held[s][m] * load<T, W>(lanes + m * W);
    }
    return sum;
  };
  int64_t k = 0;
  for (; k + W <= count; k += W) {
    Vector<T, W> sums[W];
    for (int j = 0; j < W; ++j) sums[j] = product(k + j);
    store<T, W>(out + k, load<T, W>(out + k) + sum_each<T, W, W>(sums));
  }
  for (; k < count; k += kFew) {
    const int here = count - k < kFew ? int(count - k) : kFew;
    Vector<T, W> sums[kFew] = {};
    for (int j = 0; j < here; ++j) sums[j] = product(k + j);
    const Vector<T, W> total = sum_each<T, W, kFew>(sums);
    for (int j = 0; j < here; ++j) out[k + j] += total[j * (W / kFew)];
  }
}

// Where the gradient of one weight goes.
template <class T>
struct WeightGradient {
  const SparseMatrix<T>* weight;
  T* out;      // (R, C), or (N) when the weight is packed and the gradient is not dense
  bool dense;  // at every entry instead of the pattern's
  SampledPanels sampled;

  static constexpr int64_t kRowBlock = 256;  // rows whose g stays in the second-level cache from panel to panel

  int64_t panels() const { return (weight->pattern.columns + sampled.panel_columns - 1) / sampled.panel_columns; }
  T* sums() const { return dense || weight->packed ? out : weight->row_workspace; }

  // Before the first tile: zeroes rows [begin, end) and finds their panels.
  void start(int64_t begin, int64_t end) const {
    const PatternView& p = weight->pattern;
    if (dense || !weight->packed) {
      for (int64_t i = begin * p.columns; i < end * p.columns; ++i) out[i] = 0;
    }
    if (dense) return;
    for (int64_t k = p.row_offsets[begin]; k < p.row_offsets[end]; ++k) sums()[k] = 0;
    const int64_t count = panels();
    for (int64_t row = begin; row < end; ++row) {
      int32_t* edge = sampled.edges + row * (count + 1);
      int32_t k = p.row_offsets[row];
      for (int64_t panel = 0; panel < count; ++panel) {
        edge[panel] = k;
        while (k < p.row_offsets[row + 1] && p.column_of[k] < (panel + 1) * sampled.panel_columns) ++k;
      }
      edge[count] = k;
    }
  }

  // Adds what one tile of `lanes` lanes gives: g (R, lanes) times x (C, lanes) for rows [begin, end).
  void add_tile(const T* g, const T* x, int64_t lanes, int64_t begin, int64_t end) const {
    const PatternView& p = weight->pattern;
    for (int64_t first = begin; first < end; first += kRowBlock) {
      const int64_t last = first + kRowBlock < end ? first + kRowBlock : end;
      for (int64_t lane = 0; lane < lanes;) {
        const int64_t whole = (lanes - lane) / kSlabLanes<T>;
        const int slabs = int(whole < kHeldSlabs ? whole : kHeldSlabs);
        const HeldLanes<T> held{g + lane * p.rows, kSlabLanes<T> * p.rows};
        const HeldLanes<T> passing{x + lane * p.columns, kSlabLanes<T> * p.columns};
        if (slabs == 0) {
          const int vectors = int((lanes - lane) / kWidth<T>);
          if (vectors == 1) add_rows<1, 1>(held, passing, first, last);
          if constexpr (kSlabVectors<T> > 2) {
            if (vectors == 2) add_rows<1, 2>(held, passing, first, last);
          }
          break;
        }
        if (slabs == 1) add_rows<1, kSlabVectors<T>>(held, passing, first, last);
        if (slabs == 2) add_rows<2, kSlabVectors<T>>(held, passing, first, last);
        if constexpr (kHeldSlabs > 2) {
          if (slabs == 3) add_rows<3, kSlabVectors<T>>(held, passing, first, last);
          if (slabs == 4) add_rows<4, kSlabVectors<T>>(held, passing, first, last);
        }
        lane += slabs * kSlabLanes<T>;
      }
    }
  }

  template <int S, int M>
  void add_rows(HeldLanes<T> g, HeldLanes<T> x, int64_t begin, int64_t end) const {
    const PatternView& p = weight->pattern;
    const int64_t count = panels();
    for (int64_t panel = 0; panel < count; ++panel) {
      const int64_t left = panel * sampled.panel_columns, all = p.columns - left;
      const int64_t wide = all < sampled.panel_columns ? all : sampled.panel_columns;
      for (int64_t row = begin; row < end; ++row) {
        if (dense) {
          sample_row<T, S, M>(g, row, x, [&](int64_t k) { return left + k; }, wide, out + row * p.columns + left);
        } else {
          const int32_t* edge = sampled.edges + row * (count + 1) + panel;
          const int32_t* columns = p.column_of + edge[0];
          sample_row<T, S, M>(
              g, row, x, [&](int64_t k) { return int64_t(columns[k]); }, edge[1] - edge[0], sums() + edge[0]);
        }
      }
    }
  }

  // After the last tile: spreads the sums of a dense weight over its rows [begin, end).
  void finish(int64_t begin, int64_t end) const {
    if (dense || weight->packed) return;
    const PatternView& p = weight->pattern;
    for (int64_t row = begin; row < end; ++row) {
      T* dense = out + row * p.columns;
      for (int64_t k = p.row_offsets[row]; k < p.row_offsets[row + 1]; ++k) {
        dense[p.column_of[k]] = weight->row_workspace[k];
      }
    }
  }
};

// The gradient of a bias: the sum over all lanes of each row in `range`, of one tile of `rows` channels. Adds to `out`.
template <class T>
static void add_row_sums(const T* tile, int64_t rows, int64_t lanes, T* out, Range range) {
  constexpr int W = kWidth<T>;
  for (int64_t row = range.begin; row < range.end; ++row) {
    Vector<T, W> sums[1] = {};
    for (int64_t lane = 0; lane < lanes; lane += W) {
      const LanePlace place = lane_place<T>(lane, lanes, rows);
      sums[0] += load<T, W>(tile + place.offset + row * place.stride);
    }
    out[row] += sum_each<T, W, 1>(sums)[0];
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
