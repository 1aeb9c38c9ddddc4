// Gradients of sparse weights from lanes, at one SIMD level.
#include "sparsity/gradient.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// Slabs of g held at once.
constexpr int kHeldSlabs = kVectorBytes == 64 ? 5 : 2;

// Rows whose g stays in the second-level cache from panel to panel.
constexpr int64_t kRowBlock = 256;

// Half of a and half of b: lane i holds a[i] + a[i + H] or b[i] + b[i - H], as bit H of i is 0 or 1.
template <int H, int N, int... I>
LSH_INLINE auto add_halves(auto a, auto b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, ((I & H) ? N + I : I)...) +
         __builtin_shufflevector(a, b, ((I & H) ? N + I - H : I + H)...);
}

// The sums of the K vectors of N numbers that vectors_at(i, step, out) makes, E at a time: out[e] of vector i + e *
// step. That of vector i comes to lane i * (N / K). Halves are added as soon as both are there, so that few vectors are
// under way.
template <class T, int N, int K, int E, int S = 1>
LSH_INLINE Vector<T, N> sum_each(const auto& vectors_at, int i = 0) {
  constexpr auto lanes = std::make_integer_sequence<int, N>();
  if constexpr (S * E < K) {
    const Vector<T, N> even = sum_each<T, N, K, E, 2 * S>(vectors_at, i);
    const Vector<T, N> odd = sum_each<T, N, K, E, 2 * S>(vectors_at, i + S);
    return add_halves<S * N / K, N>(even, odd, lanes);
  } else {
    Vector<T, N> v[E];
    vectors_at(i, S, v);
    if constexpr (E == 4) {
      v[0] = add_halves<2 * S * N / K, N>(v[0], v[2], lanes);
      v[1] = add_halves<2 * S * N / K, N>(v[1], v[3], lanes);
    }
    if constexpr (E > 1) v[0] = add_halves<S * N / K, N>(v[0], v[1], lanes);
    return v[0];
  }
}

// Every lane's sum with its neighbours: of each H * 2 lanes, all of them.
template <class T, int N, int H>
LSH_INLINE Vector<T, N> sum_neighbours(Vector<T, N> v) {
  if constexpr (H == 0) {
    return v;
  } else {
    return sum_neighbours<T, N, H / 2>(add_halves<H, N>(v, v, std::make_integer_sequence<int, N>()));
  }
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
  constexpr int E = kVectorBytes == 64 ? kFew : 1;  // sums under way side by side, where there are registers for them
  Vector<T, W> held[S][M];
  for (int s = 0; s < S; ++s) {
    for (int m = 0; m < M; ++m) held[s][m] = load<T, W>(g.data + s * g.between + (row * M + m) * W);
  }
  const auto products = [&](const int64_t(&entry)[E], Vector<T, W>(&sums)[E]) __attribute__((always_inline)) {
    const T* lanes[E];
    for (int e = 0; e < E; ++e) {
      lanes[e] = x.data + column_at(entry[e]) * (M * W);
      sums[e] = Vector<T, W>{};
    }
    for (int s = 0; s < S; ++s) {
      for (int m = 0; m < M; ++m) {
        for (int e = 0; e < E; ++e) sums[e] += held[s][m] * load<T, W>(lanes[e] + s * x.between + m * W);
      }
    }
  };
  int64_t k = 0;
  for (; k + W <= count; k += W) {
    const auto of_entries = [&](int i, int step, Vector<T, W>(&sums)[E]) __attribute__((always_inline)) {
      int64_t entry[E];
      for (int e = 0; e < E; ++e) entry[e] = k + i + e * step;
      products(entry, sums);
    };
    store<T, W>(out + k, load<T, W>(out + k) + sum_each<T, W, W, E>(of_entries));
  }
  for (; k < count; k += kFew) {
    const int here = count - k < kFew ? int(count - k) : kFew;
    const auto of_entries = [&](int i, int step, Vector<T, W>(&sums)[E]) __attribute__((always_inline)) {
      int64_t entry[E];
      for (int e = 0; e < E; ++e) entry[e] = i + e * step < here ? k + i + e * step : k;
      products(entry, sums);
    };
    const Vector<T, W> total = sum_neighbours<T, W, W / kFew / 2>(sum_each<T, W, kFew, E>(of_entries));
    for (int j = 0; j < here; ++j) out[k + j] += total[j * (W / kFew)];
  }
}

template <int S, int M, class T>
static void add_rows(const WeightGradient<T>& gradient, HeldLanes<T> g, HeldLanes<T> x, int64_t begin, int64_t end) {
  const PatternView& p = gradient.weight->pattern;
  const int64_t count = gradient.panels();
  for (int64_t panel = 0; panel < count; ++panel) {
    const int64_t left = panel * gradient.sampled.panel_columns, all = p.columns - left;
    const int64_t wide = all < gradient.sampled.panel_columns ? all : gradient.sampled.panel_columns;
    for (int64_t row = begin; row < end; ++row) {
      if (gradient.dense) {
        sample_row<T, S, M>(
            g, row, x, [&](int64_t k) { return left + k; }, wide, gradient.out + row * p.columns + left);
      } else {
        const int32_t* edge = gradient.sampled.edges + row * (count + 1) + panel;
        const int32_t* columns = p.column_of + edge[0];
        sample_row<T, S, M>(
            g, row, x, [&](int64_t k) { return int64_t(columns[k]); }, edge[1] - edge[0], gradient.sums() + edge[0]);
      }
    }
  }
}

template <int S, class T>
static void add_slabs(const WeightGradient<T>& gradient, int slabs, HeldLanes<T> g, HeldLanes<T> x, int64_t begin,
                      int64_t end) {
  if (slabs == S) return add_rows<S, kSlabVectors<T>>(gradient, g, x, begin, end);
  if constexpr (S > 1) add_slabs<S - 1>(gradient, slabs, g, x, begin, end);
}

template <class T>
void WeightGradient<T>::start(int64_t begin, int64_t end) const {
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

template <class T>
void WeightGradient<T>::add_tile(const T* g, const T* x, int64_t lanes, int64_t begin, int64_t end) const {
  const PatternView& p = weight->pattern;
  for (int64_t first = begin; first < end; first += kRowBlock) {
    const int64_t last = first + kRowBlock < end ? first + kRowBlock : end;
    // Whole slabs in as few passes of about equal size as can be, then what is left of the last one.
    const int64_t whole = lanes / kSlabLanes<T>, passes = (whole + kHeldSlabs - 1) / kHeldSlabs;
    const auto held = [&](int64_t lane) { return HeldLanes<T>{g + lane * p.rows, kSlabLanes<T> * p.rows}; };
    const auto passing = [&](int64_t lane) { return HeldLanes<T>{x + lane * p.columns, kSlabLanes<T> * p.columns}; };
    for (int64_t pass = 0; pass < passes; ++pass) {
      const int64_t from = whole * pass / passes, to = whole * (pass + 1) / passes;
      add_slabs<kHeldSlabs>(*this, int(to - from), held(from * kSlabLanes<T>), passing(from * kSlabLanes<T>), first,
                            last);
    }
    const int64_t done = whole * kSlabLanes<T>;
    const int vectors = int((lanes - done) / kWidth<T>);
    if (vectors == 1) add_rows<1, 1>(*this, held(done), passing(done), first, last);
    if constexpr (kSlabVectors<T> > 2) {
      if (vectors == 2) add_rows<1, 2>(*this, held(done), passing(done), first, last);
    }
  }
}

template <class T>
void WeightGradient<T>::finish(int64_t begin, int64_t end) const {
  if (dense || weight->packed) return;
  const PatternView& p = weight->pattern;
  for (int64_t row = begin; row < end; ++row) {
    T* dense = out + row * p.columns;
    for (int64_t k = p.row_offsets[row]; k < p.row_offsets[row + 1]; ++k) {
      dense[p.column_of[k]] = weight->row_workspace[k];
    }
  }
}

template <class T>
void add_row_sums(const T* tile, int64_t rows, int64_t lanes, T* out, Range range) {
  constexpr int W = kWidth<T>;
  for (int64_t row = range.begin; row < range.end; ++row) {
    Vector<T, W> sum{};
    for (int64_t lane = 0; lane < lanes; lane += W) {
      const LanePlace place = lane_place<T>(lane, lanes, rows);
      sum += load<T, W>(tile + place.offset + row * place.stride);
    }
    out[row] += sum_neighbours<T, W, W / 2>(sum)[0];
  }
}

template struct WeightGradient<float>;
template struct WeightGradient<double>;
template void add_row_sums<float>(const float*, int64_t, int64_t, float*, Range);
template void add_row_sums<double>(const double*, int64_t, int64_t, double*, Range);

}  // namespace LSH_LEVEL
}  // namespace lsh
