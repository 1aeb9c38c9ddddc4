// Orthonormalisation with log growth on a device: the method of qr_growth.simd.cpp, which has its formulas and bounds.
//
// What a matrix needs is decided on the device and stands in `state`: every kernel is launched for every matrix and
// returns at once where there is nothing to do, so nothing waits for the host and a CUDA graph can hold the call.
//
//   measure     a thread a column: its largest number, NaN if one is not finite
//   Gram        a block a tile of the upper triangle and part of the rows; sums in double, added up in a fixed order
//   factor      tile row by tile row: one block factors the diagonal tile, then a block a tile to its right
//   invert      a block a tile column, upwards from the diagonal
//   conclude    condition and growth; whether this is the basis, wants a second pass, or reflections
//   apply       A D⁻¹ C⁻¹, a block a tile
//   reflect     one block a matrix, Householder column by column: for any matrix, bound by one multiprocessor
//
// The Gram matrix costs n K² products in double, the factor and its inverse 2 K³ / 3; up to K = 128 launches bound
// them.
#include "lyapunov/qr_growth_launch.h"

#include "common/launch.cuh"

namespace lsh {
namespace {

constexpr int kTileSteps = kTile * kTile / kThreads;  // entries of a tile that a thread has: those of one column
constexpr int kReflectors = 1024;                     // threads of a block that reflects

struct Tile {
  double at[kTile][kTile + 1];
};
struct TwoTiles {
  Tile left, right;
};

template <class T>
__global__ void measure_columns(QRGrowthDevicePass<T> pass) {
  const int64_t item = this_item(), n = pass.rows, K = pass.columns;
  if (item >= pass.batch * K) return;
  const T* a = pass.tangent + item / K * n * K + item % K;
  T most = 0, poison = 0;
  for (int64_t r = 0; r < n; ++r) {
    const T x = a[r * K], magnitude = x < 0 ? -x : x;
    most = magnitude > most ? magnitude : most;
    poison += x * 0;
  }
  pass.largest[item] = double(most + poison);
}

template <class T>
__global__ void begin(QRGrowthDevicePass<T> pass) {
  const int64_t b = this_item(), K = pass.columns;
  if (b >= pass.batch) return;
  bool finite = true, safe = true;
  for (int64_t j = 0; j < K; ++j) {
    const double most = pass.largest[b * K + j];
    finite = finite && most == most;
    safe = safe && most >= 1 / QRLimits<T>::kSafe && most <= QRLimits<T>::kSafe;
  }
  const bool narrow = 2 * K <= pass.rows;
  pass.broken[b] = 0;
  pass.condition[b] = 0;
  pass.method[b] = int32_t(QRMethod::not_finite);
  pass.state[b] = !finite ? QRState::done : narrow && safe ? QRState::first_pass : QRState::reflect;
}

// A tile's entry of this thread, as many as kTileSteps: its column is the lane.
__device__ inline int tile_column() { return threadIdx.x % kTile; }
__device__ inline int tile_row(int step) { return threadIdx.x / kTile + step * (kThreads / kTile); }

// sum[i] += Σ_k left(k, row) * right(k, column): a product of tiles, the left one transposed.
__device__ inline void add_product(const TwoTiles& tiles, double (&sum)[kTileSteps]) {
  for (int k = 0; k < kTile; ++k) {
    const double right = tiles.right.at[k][tile_column()];
    for (int i = 0; i < kTileSteps; ++i) sum[i] += tiles.left.at[k][tile_row(i)] * right;
  }
}

template <class T>
__global__ void gram_part(QRGrowthDevicePass<T> pass, const T* matrices, QRState when) {
  LSH_SHARED(TwoTiles, tiles);
  const int64_t b = blockIdx.z, part = blockIdx.y, n = pass.rows, K = pass.columns;
  if (pass.state[b] != when) return;
  const TilePair pair = tile_pair(blockIdx.x);
  const T* a = matrices + b * n * K;
  const int64_t rows = (n + pass.parts - 1) / pass.parts, first = part * rows;
  const int64_t last = first + rows < n ? first + rows : n;
  double sum[kTileSteps] = {};
  for (int64_t base = first; base < last; base += kTile) {
    for (int i = 0; i < kTileSteps; ++i) {
      const int64_t r = base + tile_row(i), j = pair.column * kTile + tile_column();
      const int64_t other = pair.row * kTile + tile_column();
      tiles.left.at[tile_row(i)][tile_column()] = r < last && other < K ? double(a[r * K + other]) : 0;
      tiles.right.at[tile_row(i)][tile_column()] = r < last && j < K ? double(a[r * K + j]) : 0;
    }
    __syncthreads();
    add_product(tiles, sum);
    __syncthreads();
  }
  for (int i = 0; i < kTileSteps; ++i) {
    const int64_t r = pair.row * kTile + tile_row(i), j = pair.column * kTile + tile_column();
    if (r < K && j < K) pass.partial[((b * pass.parts + part) * K + r) * K + j] = sum[i];
  }
}

template <class T>
__device__ double gram_sum(const QRGrowthDevicePass<T>& pass, int64_t b, int64_t i, int64_t j) {
  const int64_t K = pass.columns;
  double sum = 0;
  for (int64_t part = 0; part < pass.parts; ++part) sum += pass.partial[((b * pass.parts + part) * K + i) * K + j];
  return sum;
}

// The Gram matrix of columns of unit length; zero below the diagonal.
template <class T>
__global__ void scale_gram(QRGrowthDevicePass<T> pass, QRState when) {
  const int64_t item = this_item(), K = pass.columns;
  if (item >= pass.batch * K * K) return;
  const int64_t j = item % K, i = item / K % K, b = item / K / K;
  if (pass.state[b] != when) return;
  const double length_j = sqrt(gram_sum(pass, b, j, j));
  if (i == j) pass.length[b * K + j] = length_j;
  pass.gram[item] = i == j ? 1 : i > j ? 0 : gram_sum(pass, b, i, j) / (sqrt(gram_sum(pass, b, i, i)) * length_j);
}

// Tile (row, column) of a (K, K) matrix; beyond its edge it goes on as the identity.
__device__ inline double tile_entry(const double* matrix, int64_t K, int64_t row, int64_t column, int step) {
  const int64_t i = row * kTile + tile_row(step), j = column * kTile + tile_column();
  return i < K && j < K ? matrix[i * K + j] : double(i == j);
}
__device__ inline void store_entry(double* matrix, int64_t K, int64_t row, int64_t column, int step, double value) {
  const int64_t i = row * kTile + tile_row(step), j = column * kTile + tile_column();
  if (i < K && j < K) matrix[i * K + j] = value;
}

// What is left of tile (p, column) of the Gram matrix when tile rows above p are factored: G - Σ_q R_qpᵀ R_q,column.
__device__ inline void tile_left(const double* gram, int64_t K, int64_t p, int64_t column, TwoTiles& tiles,
                                 double (&left)[kTileSteps]) {
  double sum[kTileSteps] = {};
  for (int64_t q = 0; q < p; ++q) {
    for (int i = 0; i < kTileSteps; ++i) {
      tiles.left.at[tile_row(i)][tile_column()] = tile_entry(gram, K, q, p, i);
      tiles.right.at[tile_row(i)][tile_column()] = tile_entry(gram, K, q, column, i);
    }
    __syncthreads();
    add_product(tiles, sum);
    __syncthreads();
  }
  for (int i = 0; i < kTileSteps; ++i) left[i] = tile_entry(gram, K, p, column, i) - sum[i];
}

// Factors the diagonal tile p, R_ppᵀ R_pp, and inverts it.
template <class T>
__global__ void factor_diagonal(QRGrowthDevicePass<T> pass, QRState when, int64_t p) {
  LSH_SHARED(TwoTiles, tiles);
  const int64_t b = blockIdx.x, K = pass.columns;
  if (pass.state[b] != when) return;
  double* gram = pass.gram + b * K * K;
  double left[kTileSteps];
  tile_left(gram, K, p, p, tiles, left);
  Tile &r = tiles.left, &x = tiles.right;
  for (int i = 0; i < kTileSteps; ++i) {
    r.at[tile_row(i)][tile_column()] = left[i];
    x.at[tile_row(i)][tile_column()] = 0;
  }
  __syncthreads();
  const double least = QRLimits<T>::kEpsilon / 2 / QRLimits<T>::kTwoPasses;
  for (int k = 0; k < kTile; ++k) {
    const double pivot = r.at[k][k];
    __syncthreads();
    if (threadIdx.x < kTile) {
      const int j = threadIdx.x;
      if (j == k && !(pivot > least)) pass.broken[b] = 1;
      const double root = sqrt(pivot > least ? pivot : 1.0);
      r.at[k][j] = j < k ? 0 : j == k ? root : r.at[k][j] / root;
    }
    __syncthreads();
    for (int i = 0; i < kTileSteps; ++i) {
      const int row = tile_row(i), column = tile_column();
      if (row > k && column >= row) r.at[row][column] -= r.at[k][row] * r.at[k][column];
    }
    __syncthreads();
  }
  if (threadIdx.x < kTile) {  // a column of the inverse each, upwards
    const int j = threadIdx.x;
    for (int i = j; i >= 0; --i) {
      double sum = i == j;
      for (int k = i + 1; k <= j; ++k) sum -= r.at[i][k] * x.at[k][j];
      x.at[i][j] = sum / r.at[i][i];
    }
  }
  __syncthreads();
  for (int i = 0; i < kTileSteps; ++i) {
    store_entry(gram, K, p, p, i, r.at[tile_row(i)][tile_column()]);
    store_entry(pass.inverse + b * K * K, K, p, p, i, x.at[tile_row(i)][tile_column()]);
  }
}

// Tile (p, column) right of the diagonal: R_pp⁻ᵀ times what is left of it.
template <class T>
__global__ void factor_row(QRGrowthDevicePass<T> pass, QRState when, int64_t p) {
  LSH_SHARED(TwoTiles, tiles);
  const int64_t b = blockIdx.y, K = pass.columns, column = p + 1 + blockIdx.x;
  if (pass.state[b] != when) return;
  double* gram = pass.gram + b * K * K;
  double left[kTileSteps], product[kTileSteps] = {};
  tile_left(gram, K, p, column, tiles, left);
  for (int i = 0; i < kTileSteps; ++i) {
    tiles.left.at[tile_row(i)][tile_column()] = tile_entry(pass.inverse + b * K * K, K, p, p, i);
    tiles.right.at[tile_row(i)][tile_column()] = left[i];
  }
  __syncthreads();
  add_product(tiles, product);
  for (int i = 0; i < kTileSteps; ++i) store_entry(gram, K, p, column, i, product[i]);
}

// Tile column `blockIdx.x` of the inverse: X_pj = -R_pp⁻¹ Σ_q R_pq X_qj, q from p + 1 to j.
template <class T>
__global__ void invert_column(QRGrowthDevicePass<T> pass, QRState when) {
  LSH_SHARED(TwoTiles, tiles);
  const int64_t b = blockIdx.y, K = pass.columns, column = blockIdx.x, count = gridDim.x;
  if (pass.state[b] != when) return;
  const double* gram = pass.gram + b * K * K;
  double* inverse = pass.inverse + b * K * K;
  for (int64_t p = column - 1; p >= 0; --p) {
    double sum[kTileSteps] = {}, product[kTileSteps] = {};
    for (int64_t q = p + 1; q <= column; ++q) {
      for (int i = 0; i < kTileSteps; ++i) {
        tiles.left.at[tile_column()][tile_row(i)] = tile_entry(gram, K, p, q, i);
        tiles.right.at[tile_row(i)][tile_column()] = tile_entry(inverse, K, q, column, i);
      }
      __syncthreads();
      add_product(tiles, sum);
      __syncthreads();
    }
    for (int i = 0; i < kTileSteps; ++i) {
      tiles.left.at[tile_column()][tile_row(i)] = tile_entry(inverse, K, p, p, i);
      tiles.right.at[tile_row(i)][tile_column()] = -sum[i];
    }
    __syncthreads();
    add_product(tiles, product);
    __syncthreads();
    for (int i = 0; i < kTileSteps; ++i) store_entry(inverse, K, p, column, i, product[i]);
    __syncthreads();  // the next tile of this column reads it
  }
  for (int64_t p = column + 1; p < count; ++p) {
    for (int i = 0; i < kTileSteps; ++i) store_entry(inverse, K, p, column, i, 0);
  }
}

struct Largest {
  double of[kThreads];
};

// NaN where one of them is.
__device__ inline double larger(double a, double b) { return a == a && !(a >= b) ? b : a; }

// The largest of one number per thread.
template <class Numbers>
__device__ double largest_of(double own, Numbers& numbers, int threads) {
  numbers.of[threadIdx.x] = own;
  __syncthreads();
  for (int by = threads / 2; by > 0; by /= 2) {
    if (int(threadIdx.x) < by) {
      numbers.of[threadIdx.x] = larger(numbers.of[threadIdx.x], numbers.of[threadIdx.x + by]);
    }
    __syncthreads();
  }
  const double most = numbers.of[0];
  __syncthreads();
  return most;
}

// One block a matrix: what the pass was worth.
template <class T>
__global__ void conclude(QRGrowthDevicePass<T> pass, QRState when) {
  LSH_SHARED(Largest, numbers);
  const int64_t b = blockIdx.x, K = pass.columns;
  if (pass.state[b] != when) return;
  const bool again = when == QRState::second_pass;
  const double *gram = pass.gram + b * K * K, *inverse = pass.inverse + b * K * K;
  double own = 0;
  for (int64_t j = threadIdx.x; j < K; j += kThreads) {
    double sum = 0;
    for (int64_t i = 0; i <= j; ++i) sum += inverse[i * K + j] * inverse[i * K + j];
    own = larger(own, sum);
  }
  const double squared = largest_of(own, numbers, kThreads);
  bool good = !pass.broken[b] && squared * QRLimits<T>::kEpsilon / 2 <= QRLimits<T>::kTwoPasses;
  if (again) good = good && squared < 4;  // else the first basis was not even nearly orthonormal
  const bool enough = squared * QRLimits<T>::kEpsilon / 2 <= QRLimits<T>::kOnePass;
  for (int64_t j = threadIdx.x; good && j < K; j += kThreads) {
    const double growth = log(gram[j * K + j] * pass.length[b * K + j]);
    pass.log_growth[b * K + j] = again ? pass.log_growth[b * K + j] + growth : growth;
    pass.lost[b * K + j] = false;
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  if (good) {
    if (!again) pass.condition[b] = sqrt(squared);
    pass.method[b] = int32_t(again ? QRMethod::two_passes : QRMethod::one_pass);
  }
  pass.state[b] = !good ? QRState::reflect : again || enough ? QRState::done : QRState::second_pass;
}

template <class T>
struct OperandTiles {
  T left[kTile][kTile + 1], right[kTile][kTile + 1];
};

// out = A D⁻¹ C⁻¹ for the matrices that the pass did well for.
template <class T>
__global__ void apply_inverse(QRGrowthDevicePass<T> pass, const T* matrices, bool second) {
  using Tiles = OperandTiles<T>;
  LSH_SHARED(Tiles, tiles);
  const int64_t b = blockIdx.z, n = pass.rows, K = pass.columns;
  const bool finished = pass.method[b] == int32_t(second ? QRMethod::two_passes : QRMethod::one_pass);
  if (!finished || pass.state[b] == QRState::reflect) return;
  const T* a = matrices + b * n * K;
  T* out = (pass.state[b] == QRState::second_pass ? pass.matrix : pass.basis) + b * n * K;
  const double *inverse = pass.inverse + b * K * K, *length = pass.length + b * K;
  const int64_t first = int64_t(blockIdx.y) * kTile, column = blockIdx.x * kTile + tile_column();
  T sum[kTileSteps] = {};
  for (int64_t base = 0; base <= int64_t(blockIdx.x) * kTile; base += kTile) {
    for (int i = 0; i < kTileSteps; ++i) {
      const int64_t r = first + tile_row(i), k = base + tile_column(), row = base + tile_row(i);
      tiles.left[tile_row(i)][tile_column()] = r < n && k < K ? a[r * K + k] : T(0);
      tiles.right[tile_row(i)][tile_column()] =
          row < K && column < K ? T(inverse[row * K + column] / length[row]) : T(0);
    }
    __syncthreads();
    for (int k = 0; k < kTile; ++k) {
      const T right = tiles.right[k][tile_column()];
      for (int i = 0; i < kTileSteps; ++i) sum[i] += tiles.left[tile_row(i)][k] * right;
    }
    __syncthreads();
  }
  for (int i = 0; i < kTileSteps; ++i) {
    const int64_t r = first + tile_row(i);
    if (r < n && column < K) out[r * K + column] = sum[i];
  }
}

// ---------------------------------------------------------------------------------------------------- reflections

struct ReflectorSums {
  double of[kReflectors];
};

__device__ inline double sum_of(double own, ReflectorSums& sums) {
  sums.of[threadIdx.x] = own;
  __syncthreads();
  for (int by = kReflectors / 2; by > 0; by /= 2) {
    if (int(threadIdx.x) < by) sums.of[threadIdx.x] += sums.of[threadIdx.x + by];
    __syncthreads();
  }
  const double sum = sums.of[0];
  __syncthreads();
  return sum;
}

// H_j = I - scale v vᵀ with v_j = 1 from column j of `a`, whose place below the diagonal holds the rest of v; returns
// scale and leaves R_jj on the diagonal.
template <class T>
__device__ double make_reflector(T* a, int64_t n, int64_t K, int64_t j, ReflectorSums& sums) {
  double own = 0;
  for (int64_t r = j + 1 + threadIdx.x; r < n; r += kReflectors) own += double(a[r * K + j]) * a[r * K + j];
  const double below = sum_of(own, sums), head = double(a[j * K + j]);
  __syncthreads();
  if (below == 0) return 0;
  const double norm = sqrt(head * head + below), diagonal = head > 0 ? -norm : norm, lead = head - diagonal;
  for (int64_t r = j + 1 + threadIdx.x; r < n; r += kReflectors) a[r * K + j] = T(double(a[r * K + j]) / lead);
  if (threadIdx.x == 0) a[j * K + j] = T(diagonal);
  __syncthreads();
  return -lead / diagonal;
}

// Applies H_j to columns [from, K) of `out`, (n, K), a column a thread; v stands in column j of `a` below row j.
template <class T>
__device__ void apply_reflector(const T* a, T* out, int64_t n, int64_t K, int64_t j, int64_t from, double scale) {
  if (scale != 0) {
    for (int64_t c = from + threadIdx.x; c < K; c += kReflectors) {
      double sum = double(out[j * K + c]);
      for (int64_t r = j + 1; r < n; ++r) sum += double(a[r * K + j]) * out[r * K + c];
      sum *= scale;
      out[j * K + c] = T(double(out[j * K + c]) - sum);
      for (int64_t r = j + 1; r < n; ++r) out[r * K + c] = T(double(out[r * K + c]) - sum * a[r * K + j]);
    }
  }
  __syncthreads();
}

template <class T>
__global__ void __launch_bounds__(kReflectors) reflect(QRGrowthDevicePass<T> pass) {
  LSH_SHARED(ReflectorSums, sums);
  const int64_t b = blockIdx.x, n = pass.rows, K = pass.columns;
  if (pass.state[b] != QRState::reflect) return;
  T *a = pass.matrix + b * n * K, *q = pass.basis + b * n * K;
  double *length = pass.length + b * K, *largest = pass.largest + b * K;
  double *unit = pass.gram + b * K * K, *inverse = pass.inverse + b * K * K;
  bool* lost = pass.lost + b * K;
  const T* tangent = pass.tangent + b * n * K;
  // powers of two change no digit and keep squares in range
  for (int64_t j = threadIdx.x; j < K; j += kReflectors) {
    length[j] = largest[j] > 0 ? exp2(double(ilogb(largest[j]))) : 1.0;
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < n * K; i += kReflectors) a[i] = T(double(tangent[i]) / length[i % K]);
  __syncthreads();
  for (int64_t j = 0; j < K; ++j) {
    const double scale = make_reflector(a, n, K, j, sums);
    if (threadIdx.x == 0) inverse[j] = scale;  // a row of the workspace, which is free until R is inverted
    apply_reflector(a, a, n, K, j, j + 1, scale);
  }
  for (int64_t i = threadIdx.x; i < n * K; i += kReflectors) q[i] = T(i / K == i % K);
  __syncthreads();
  for (int64_t j = K - 1; j >= 0; --j) apply_reflector(a, q, n, K, j, j, inverse[j]);
  for (int64_t i = threadIdx.x; i < n * K; i += kReflectors) {
    const int64_t j = i % K;
    if (a[j * K + j] < 0) q[i] = -q[i];
  }
  __syncthreads();

  // Growth and losses from R (see qr_growth in lsh_native/lyapunov/qr_growth.py).
  double longest = 0;
  for (int64_t j = threadIdx.x; j < K; j += kReflectors) {
    double sum = 0;
    for (int64_t i = 0; i <= j; ++i) sum += double(a[i * K + j]) * a[i * K + j];
    largest[j] = sqrt(sum);
    longest = larger(longest, largest[j] * length[j]);
  }
  longest = largest_of(longest, sums, kReflectors);
  double least = 1;
  for (int64_t j = threadIdx.x; j < K; j += kReflectors) {
    const double diagonal = fabs(double(a[j * K + j]));
    pass.log_growth[b * K + j] = diagonal > 0 ? log(diagonal) + log(length[j]) : log(QRLimits<T>::kEpsilon * longest);
    lost[j] = largest[j] == 0;
    const double share = lost[j] ? 0 : diagonal / largest[j];
    if (share < least) least = share;
  }
  least = -largest_of(-least, sums, kReflectors);
  double condition = 1 / least;
  if (!(least * least > QRLimits<T>::kEpsilon)) {
    for (int64_t i = threadIdx.x; i < K * K; i += kReflectors) {
      const int64_t row = i / K, j = i % K;
      double entry = row > j || lost[j] ? 0 : double(a[row * K + j]) / largest[j];
      if (row == j && lost[j]) entry = 1;  // a column that is zero is not rounded and leaves the others alone
      if (row == j && entry == 0) entry = QRLimits<T>::kEpsilon;
      unit[i] = entry;
    }
    __syncthreads();
    const double rounding = sqrt(double(n)) * QRLimits<T>::kEpsilon;
    double most = 0;
    for (int64_t j = threadIdx.x; j < K; j += kReflectors) {  // a column of the inverse a thread, upwards
      double squares = 0;
      for (int64_t i = j; i >= 0; --i) {
        double sum = i == j;
        for (int64_t k = i + 1; k <= j; ++k) sum -= unit[i * K + k] * inverse[k * K + j];
        inverse[i * K + j] = sum / unit[i * K + i];
        squares += inverse[i * K + j] * inverse[i * K + j];
      }
      const double sensitivity = sqrt(squares);
      most = larger(most, sensitivity);
      lost[j] = lost[j] || !(rounding * sensitivity < 1);
    }
    condition = largest_of(most, sums, kReflectors);
  }
  if (threadIdx.x == 0) {
    pass.condition[b] = condition;
    pass.method[b] = int32_t(2 * K <= n ? QRMethod::broken_down : QRMethod::reflections);
    pass.state[b] = QRState::done;
  }
}

template <class T>
void orthonormalize(Launches& on, const QRGrowthDevicePass<T>& pass, const T* matrices, QRState when) {
  const int64_t K = pass.columns, B = pass.batch, tiles = tiles_of(K);
  on.blocks(dim3(unsigned(tile_pairs(tiles)), unsigned(pass.parts), unsigned(B)), kThreads, gram_part<T>, pass,
            matrices, when);
  on.items(B * K * K, scale_gram<T>, pass, when);
  for (int64_t p = 0; p < tiles; ++p) {
    on.blocks(dim3(unsigned(B)), kThreads, factor_diagonal<T>, pass, when, p);
    on.blocks(dim3(unsigned(tiles - p - 1), unsigned(B)), kThreads, factor_row<T>, pass, when, p);
  }
  on.blocks(dim3(unsigned(tiles), unsigned(B)), kThreads, invert_column<T>, pass, when);
  on.blocks(dim3(unsigned(B)), kThreads, conclude<T>, pass, when);
  on.blocks(dim3(unsigned(tiles), unsigned(tiles_of(pass.rows)), unsigned(B)), kThreads, apply_inverse<T>, pass,
            matrices, when == QRState::second_pass);
}

}  // namespace

template <class T>
cudaError_t qr_growth_on_device(const QRGrowthDevicePass<T>& pass, cudaStream_t stream) {
  Launches on(stream);
  on.items(pass.batch * pass.columns, measure_columns<T>, pass);
  on.items(pass.batch, begin<T>, pass);
  if (2 * pass.columns <= pass.rows) {
    orthonormalize(on, pass, pass.tangent, QRState::first_pass);
    orthonormalize(on, pass, static_cast<const T*>(pass.matrix), QRState::second_pass);
  }
  on.blocks(dim3(unsigned(pass.batch)), kReflectors, reflect<T>, pass);
  return on.error();
}

template cudaError_t qr_growth_on_device(const QRGrowthDevicePass<float>&, cudaStream_t);
template cudaError_t qr_growth_on_device(const QRGrowthDevicePass<double>&, cudaStream_t);

}  // namespace lsh
