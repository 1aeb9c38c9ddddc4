// Gradients of sparse weights from lanes, at one SIMD level.
#include "sparsity/gradient.simd.h"

namespace lsh {
namespace LSH_LEVEL {
namespace {

// Slabs of lanes of which a list is walked once.
constexpr int kSlabsAtOnce = kVectorBytes == 64 ? 2 : 3;

// Entries of a row that share its g, called a four; and how many fours give a register of sums.
template <class T>
constexpr int kFour = kWidth<T> < 4 ? kWidth<T> : 4;

template <class T>
constexpr int kFours = kWidth<T> / kFour<T>;

// Half of a and half of b: lane i holds a[i] + a[i + H] or b[i] + b[i - H], as bit H of i is 0 or 1.
template <int H, int N, int... I>
LSH_INLINE auto add_halves(auto a, auto b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, ((I & H) ? N + I : I)...) +
         __builtin_shufflevector(a, b, ((I & H) ? N + I - H : I + H)...);
}

// The sums of the lanes of K vectors, each as far as H and the halvings before have got: those of vector i are in the
// lanes whose bits from H / K * 2 to H make up i.
template <int H, int K, int N>
LSH_INLINE auto add_lanes(auto& v) {
  if constexpr (K > 1) {
    for (int i = 0; i < K / 2; ++i) {
      v[i] = add_halves<H, N>(v[i], v[i + K / 2], std::make_integer_sequence<int, N>());
    }
    return add_lanes<H / 2, K / 2, N>(v);
  } else {
    return v[0];
  }
}

// Lanes (k, four) as lanes (four, k).
template <int K, int... I>
LSH_INLINE auto by_fours(auto v, std::integer_sequence<int, I...>) {
  constexpr int Q = int(sizeof...(I)) / K;
  return __builtin_shufflevector(v, v, (I % K * Q + I / K)...);
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

// Lanes that are walked at once: slab s of channel c at `slabs` + s * `between` + c * (vectors of a slab), and what is
// left of the last slab, a vector or two, at `rest`.
template <class T>
struct Walked {
  const T* slabs;
  int64_t between;
  const T* rest;
};

// A list of fours: entries of some rows of a block in a panel of columns.
template <class T>
struct Fours {
  SampleRoom<T> room;
  int64_t groups;
};

template <int S, int R, class T>
[[gnu::noinline]] void walk(const Fours<T>& fours, Walked<T> g, Walked<T> x) {
  constexpr int W = kWidth<T>, K = kFour<T>, Q = kFours<T>, M = kSlabVectors<T>;
  using V = Vector<T, W>;
  const uint16_t* column = fours.room.columns;
  const uint16_t* row = fours.room.rows;
  T* sums = fours.room.sums;
  for (int64_t group = 0; group < fours.groups; ++group, column += W, row += Q, sums += W) {
    V of_four[Q];
    LSH_UNROLL for (int q = 0; q < Q; ++q) {
      const T* own = g.slabs + int64_t(row[q]) * (M * W);
      const T* own_rest = g.rest + int64_t(row[q]) * (R * W);
      const T *lanes[K], *rest[K];
      V sum[K] = {};
      for (int k = 0; k < K; ++k) {
        lanes[k] = x.slabs + int64_t(column[q * K + k]) * (M * W);
        rest[k] = x.rest + int64_t(column[q * K + k]) * (R * W);
      }
      LSH_UNROLL for (int s = 0; s < S; ++s) {
        LSH_UNROLL for (int m = 0; m < M; ++m) {
          const V held = load<T, W>(own + s * g.between + m * W);
          for (int k = 0; k < K; ++k) sum[k] += held * load<T, W>(lanes[k] + s * x.between + m * W);
        }
      }
      LSH_UNROLL for (int r = 0; r < R; ++r) {
        const V held = load<T, W>(own_rest + r * W);
        for (int k = 0; k < K; ++k) sum[k] += held * load<T, W>(rest[k] + r * W);
      }
      of_four[q] = add_lanes<W / 2, K, W>(sum);
    }
    const V of_group = add_lanes<Q / 2, Q, W>(of_four);  // those of entry k of four q in lane k * Q + q
    store<T, W>(sums, load<T, W>(sums) + by_fours<K>(of_group, std::make_integer_sequence<int, W>()));
  }
}

template <int S, int R, class T>
void walk_vectors(const Fours<T>& fours, int vectors, Walked<T> g, Walked<T> x) {
  if (vectors == R) return walk<S, R>(fours, g, x);
  if constexpr (R > 0) walk_vectors<S, R - 1>(fours, vectors, g, x);
}

template <int S, class T>
void walk_slabs(const Fours<T>& fours, int slabs, int vectors, Walked<T> g, Walked<T> x) {
  if (slabs == S) return walk_vectors<S, kSlabVectors<T> - 1>(fours, vectors, g, x);
  if constexpr (S > 0) walk_slabs<S - 1>(fours, slabs, vectors, g, x);
}

// Adds a tile's part to the list's sums: a few slabs at a time, the rest with the last of them.
template <class T>
void walk_tile(const Fours<T>& fours, int64_t lanes, const T* g, int64_t rows, int64_t first_row, const T* x,
               int64_t columns, int64_t first_column) {
  constexpr int64_t kLanes = kSlabLanes<T>;
  const int64_t whole = lanes / kLanes, rest = (lanes - whole * kLanes) / kWidth<T>;
  const int64_t parts = whole + (rest > 0), passes = (parts + kSlabsAtOnce - 1) / kSlabsAtOnce;
  const auto walked = [&](const T* tile, int64_t channels, int64_t channel, int64_t slab) {
    return Walked<T>{tile + slab * kLanes * channels + channel * kLanes, kLanes * channels,
                     tile + whole * kLanes * channels + channel * rest * kWidth<T>};
  };
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t from = parts * pass / passes, to = parts * (pass + 1) / passes, until = to < whole ? to : whole;
    walk_slabs<kSlabsAtOnce>(fours, int(until - from), int(to > whole ? rest : 0), walked(g, rows, first_row, from),
                             walked(x, columns, first_column, from));
  }
}

// Rows of a block in a panel of columns, [left, right).
template <class T>
struct Panel {
  static constexpr int K = kFour<T>, Q = kFours<T>;
  static constexpr int64_t kAhead = 8;  // rows: a panel's share of each begins anywhere, which no prefetcher guesses
  const WeightGradient<T>& gradient;
  int64_t first_row, left, right;

  // Lists the entries of rows [begin, end) of the block, or of as many as there is room for, with sums of zero.
  Fours<T> list(int64_t begin, int64_t& end) const {
    const PatternView& p = gradient.weight->pattern;
    const SampleRoom<T>& room = gradient.room;
    const int64_t most = kSampledEntries / K - Q - (right - left + K - 1) / K;
    int64_t fours = 0;
    for (int64_t r = begin; r < end; ++r) {
      if (fours > most) {
        end = r;
        break;
      }
      const int64_t before = fours;
      if (!gradient.dense && r + kAhead < end) prefetch(p.column_of + room.next[r + kAhead], 256);
      const int32_t first = room.next[r], last = p.row_offsets[first_row + r + 1];
      int64_t k = gradient.dense ? left : first;
      const auto column = [&](int64_t at) { return int64_t(gradient.dense ? at : p.column_of[at]); };
      const int64_t until = gradient.dense ? right : last;
      for (; k + K <= until && column(k + K - 1) < right; k += K, ++fours) {
        for (int i = 0; i < K; ++i) room.columns[fours * K + i] = uint16_t(column(k + i) - left);
      }
      int more = 0;
      for (; more < K && k + more < until && column(k + more) < right; ++more) {
        room.columns[fours * K + more] = uint16_t(column(k + more) - left);
      }
      if (more > 0) {
        for (int i = more; i < K; ++i) room.columns[fours * K + i] = room.columns[fours * K];
        ++fours;
      }
      for (int64_t four = before; four < fours; ++four) room.rows[four] = uint16_t(r);
      room.counts[r] = uint16_t(k + more - (gradient.dense ? left : first));
      room.next[r] = int32_t(k + more);
    }
    for (; fours % Q != 0; ++fours) {
      for (int i = 0; i < K; ++i) room.columns[fours * K + i] = 0;
      room.rows[fours] = uint16_t(begin);
    }
    for (int64_t i = 0; i < fours * K; ++i) room.sums[i] = 0;
    return {room, fours / Q};
  }

  // Writes or adds the sums of the listed rows where they belong.
  void write(int64_t begin, int64_t end, bool add) const {
    const PatternView& p = gradient.weight->pattern;
    const SampleRoom<T>& room = gradient.room;
    const bool packed = !gradient.dense && gradient.weight->packed;
    const T* sums = room.sums;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t count = room.counts[r], whole = count / K * K;
      if (packed && r + kAhead < end) prefetch(gradient.out + room.next[r + kAhead] - room.counts[r + kAhead], 256);
      T* row = gradient.out + (first_row + r) * p.columns;
      if (gradient.dense || packed) {
        T* out = gradient.dense ? row + left : gradient.out + room.next[r] - count;
        for (int64_t k = 0; k < whole; k += K) {
          const Vector<T, K> sum = load<T, K>(sums + k);
          store<T, K>(out + k, add ? load<T, K>(out + k) + sum : sum);
        }
        for (int64_t k = whole; k < count; ++k) out[k] = add ? out[k] + sums[k] : sums[k];
      } else {
        const int32_t* columns = p.column_of + room.next[r] - count;
        for (int64_t c = left; c < right && !add; ++c) row[c] = 0;
        for (int64_t k = 0; k < count; ++k) row[columns[k]] += sums[k];
      }
      sums += (count + K - 1) / K * K;
    }
  }
};

}  // namespace

template <class T>
void WeightGradient<T>::compute(const LaneTiles& tiling, Range tiles, const T* g_tiles, const T* x_tiles, Range rows,
                                bool add) const {
  const PatternView& p = weight->pattern;
  const double entries = double(p.rows) * double(p.columns);
  const double density = dense || entries == 0 ? 1.0 : double(p.non_zeros) / entries;
  const int64_t at_once = kSlabsAtOnce * kSlabLanes<T> * int64_t(sizeof(T));
  const int64_t wide = sampled_panel_columns(p.columns, at_once, density);
  const int64_t high = sampled_block_rows((tiles.end - tiles.begin) * tiling.lanes * int64_t(sizeof(T)));
  for (int64_t first = rows.begin; first < rows.end; first += high) {
    const int64_t count = rows.end - first < high ? rows.end - first : high;
    for (int64_t r = 0; r < count; ++r) room.next[r] = p.row_offsets[first + r];
    for (int64_t left = 0; left < p.columns; left += wide) {
      const Panel<T> panel{*this, first, left, left + wide < p.columns ? left + wide : p.columns};
      for (int64_t begin = 0, end = count; begin < count; begin = end, end = count) {
        const Fours<T> fours = panel.list(begin, end);
        for (int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
          const int64_t before = (tile - tiles.begin) * tiling.lanes;
          walk_tile(fours, tiling.lanes_in(tile), g_tiles + before * p.rows, p.rows, first,
                    x_tiles + before * p.columns, p.columns, left);
        }
        panel.write(begin, end, add);
      }
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
