// Orthonormalisation with log growth at one SIMD level: a Cholesky factor of AᵀA where that is safe, else reflections.
//
// A = Q R and AᵀA = Rᵀ R, so with D the lengths of A's columns and C the factor of D⁻¹ AᵀA D⁻¹, R = C D and
// Q = A D⁻¹ C⁻¹. Its cost is that of two products, but the condition κ of A D⁻¹ enters squared: rounding leaves Q with
// a defect of about u κ². So the largest column of C⁻¹, which is at hand, decides:
//
//   κ² u <= kOnePass   this is Q; what is left of the defect, the next growth makes good
//   κ² u <= kTwoPasses Q is orthonormalised once more and both growths add up
//   else               a pivot may be noise: reflections, which do not mind
//
// The Gram matrix is added up in double over blocks of kDepth rows, and factor and inverse are double.
// Source: Y. Yamamoto et al., Electronic Transactions on Numerical Analysis 44 (2015) 306-326.
#include "lyapunov/qr_growth.h"

#include "lyapunov/reflections.simd.h"
#include "lyapunov/triangle.simd.h"

namespace lsh {
namespace LSH_LEVEL {
namespace {

double larger(double a, double b) { return a > b ? a : b; }

// One matrix of the batch, with the workspaces of whoever works on it.
template <class T>
struct Orthonormaliser {
  using Limits = QRLimits<T>;

  int64_t n, K;
  const T* tangent;
  T* basis;
  double* log_growth;
  bool* lost;
  double* condition;
  int32_t* method;
  double *gram, *inverse, *between, *largest, *length, *verdict;
  T *matrix, *vectors, *triangle, *strips;
  double* scratch;

  static Orthonormaliser of(const QRGrowthPass<T>& pass, int64_t item, int64_t set, double* scratch) {
    const int64_t n = pass.rows, K = pass.columns;
    double* numbers = pass.numbers + set * numbers_size(K);
    T* matrices = pass.matrices + set * matrices_size(n, K);
    Orthonormaliser o{};
    o.n = n;
    o.K = K;
    o.tangent = pass.tangent + item * n * K;
    o.basis = pass.basis + item * n * K;
    o.log_growth = pass.log_growth + item * K;
    o.lost = pass.lost + item * K;
    o.condition = pass.condition + item;
    o.method = pass.method + item;
    o.gram = numbers;
    o.inverse = numbers + K * K;
    o.largest = numbers + 2 * K * K;
    o.length = o.largest + K;
    o.verdict = o.length + K;
    o.between = o.verdict + 8;
    o.matrix = matrices;
    o.vectors = matrices + n * K;
    o.triangle = matrices + 2 * n * K;
    o.strips = o.triangle + K * K;
    o.scratch = scratch;
    return o;
  }

  void run(const Worker& worker) {
    const bool narrow = 2 * K <= n;
    if (narrow) {
      const double first = cholesky_pass(tangent, false, worker);
      if (first > 0 && first * first * Limits::kEpsilon / 2 <= Limits::kOnePass) {
        times_inverse(tangent, basis, worker);
        if (worker.index == 0) conclude(QRMethod::one_pass, first);
        return;
      }
      if (first > 0) {
        times_inverse(tangent, matrix, worker);
        wait_for_team(worker);
        const double second = cholesky_pass(matrix, true, worker);
        if (second > 0 && second < 2) {  // else the first basis was not even nearly orthonormal
          times_inverse(matrix, basis, worker);
          if (worker.index == 0) conclude(QRMethod::two_passes, first);
          return;
        }
      }
    }
    measure_columns(worker);
    wait_for_team(worker);
    bool finite = true;
    for (int64_t j = 0; j < K; ++j) finite = finite && largest[j] == largest[j];
    if (!finite) {
      if (worker.index == 0) conclude(QRMethod::not_finite, 0);
      return;
    }
    reflect(worker);
    if (worker.index == 0) conclude(narrow ? QRMethod::broken_down : QRMethod::reflections, verdict[0]);
  }

  void conclude(QRMethod how, double found) {
    *method = int32_t(how);
    *condition = found;
  }

  // largest[j]: the largest magnitude in column j, NaN where a number of it is not finite.
  void measure_columns(const Worker& worker) {
    constexpr int W = kWidth<T>, V = 4;  // vectors side by side: rows are far apart
    const Range own = share_of_tiles(worker, K, V * W);
    int64_t j = own.begin;
    for (; j + V * W <= own.end; j += V * W) measure_vectors<W, V>(j);
    for (; j + W <= own.end; j += W) measure_vectors<W, 1>(j);
    for (; j < own.end; ++j) measure_vectors<1, 1>(j);
  }

  template <int W, int V>
  void measure_vectors(int64_t j) {
    Vector<T, W> most[V] = {}, poison[V] = {};
    for (int64_t r = 0; r < n; ++r) {
      for (int v = 0; v < V; ++v) {
        const Vector<T, W> x = load<T, W>(tangent + r * K + j + v * W);
        const Vector<T, W> magnitude = x < 0 ? -x : x;
        most[v] = magnitude > most[v] ? magnitude : most[v];
        poison[v] += x * 0;
      }
    }
    for (int i = 0; i < V * W; ++i) largest[j + i] = most[i / W][i % W] + poison[i / W][i % W];
  }

  // Leaves D⁻¹ C⁻¹ in `triangle` and the growth in `log_growth`, added to what is there if `again`. Returns the largest
  // length of a column of C⁻¹, or 0 when a pivot cannot be told from rounding.
  double cholesky_pass(const T* a, bool again, const Worker& worker) {
    T* products = reinterpret_cast<T*>(scratch);
    const int64_t begin = balanced(worker.index, worker.count), end = balanced(worker.index + 1, worker.count);
    multiply_gram<T, double>(a, K, gram, K, begin, end, n, T(1), Start::from_zero, products);
    wait_for_team(worker);
    if (worker.index == 0) verdict[0] = factor_gram(again);
    wait_for_team(worker);
    return verdict[0];
  }

  int64_t balanced(int index, int count) const {
    if (index == count) return K;
    constexpr int64_t N = kTileColumns<T>;
    return int64_t(double(K) * __builtin_sqrt(double(index) / count)) / N * N;
  }

  double factor_gram(bool again) {
    bool safe = true;  // a column whose squares overflow, vanish or are not numbers is not
    for (int64_t j = 0; j < K; ++j) {
      length[j] = __builtin_sqrt(gram[j * K + j]);
      safe = safe && length[j] >= 1 / Limits::kSafe && length[j] <= Limits::kSafe;
    }
    if (!safe) return 0;
    for (int64_t i = 0; i < K; ++i) {
      const double scale = 1 / length[i];
      for (int64_t j = i + 1; j < K; ++j) gram[i * K + j] *= scale / length[j];
      gram[i * K + i] = 1;
    }
    const double least = Limits::kEpsilon / 2 / Limits::kTwoPasses;
    if (!factor_cholesky(gram, K, least, between, scratch)) return 0;
    invert_triangle(gram, K, K, inverse, K, between, scratch);
    for (int64_t j = 0; j < K; ++j) largest[j] = 0;
    for (int64_t i = 0; i < K; ++i) {
      const double scale = 1 / length[i];
      for (int64_t j = 0; j < K; ++j) {
        largest[j] += inverse[i * K + j] * inverse[i * K + j];
        triangle[i * K + j] = T(scale * inverse[i * K + j]);
      }
    }
    double most = 0;
    for (int64_t j = 0; j < K; ++j) most = larger(most, largest[j]);
    if (!(most * Limits::kEpsilon / 2 <= Limits::kTwoPasses)) return 0;
    for (int64_t j = 0; j < K; ++j) {
      const double growth = ::log(gram[j * K + j] * length[j]);
      log_growth[j] = again ? log_growth[j] + growth : growth;
      lost[j] = false;
    }
    return __builtin_sqrt(most);
  }

  void times_inverse(const T* a, T* out, const Worker& worker) {
    const Range own = share_of_tiles(worker, n, kTileRows);
    multiply_dense<T, T>(by_rows(a + own.begin * K, K), by_rows<T>(triangle, K), out + own.begin * K, K,
                         own.end - own.begin, K, K, T(1), Start::from_zero, reinterpret_cast<T*>(scratch), true);
  }

  // ------------------------------------------------------------------------------------------------ reflections

  void reflect(const Worker& worker) {
    if (worker.index == 0) {  // powers of two change no digit and keep squares in range
      for (int64_t j = 0; j < K; ++j) {
        // No less than the least normal number, whose inverse is finite.
        length[j] = largest[j] > 0 ? larger(::exp2(double(::ilogb(largest[j]))), 0x1p-1022) : 1.0;
        inverse[j] = 1 / length[j];
      }
    }
    wait_for_team(worker);
    const Range rows = share(worker, n);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      for (int64_t j = 0; j < K; ++j) matrix[r * K + j] = T(tangent[r * K + j] * inverse[j]);
    }
    wait_for_team(worker);
    const Reflections<T> reflections{n, K, matrix, vectors, strips, reinterpret_cast<T*>(scratch)};
    reflections.factor(worker);
    reflections.form_basis(basis, worker);
    if (worker.index == 0) verdict[0] = measure_growth();
  }

  // Growth and losses from R (see qr_growth in lsh_native/lyapunov/qr_growth.py). Returns the largest length of a
  // column of C⁻¹, or of its diagonal where that is small enough to say that nothing is lost.
  double measure_growth() {
    double longest = 0, least = 1;
    for (int64_t j = 0; j < K; ++j) largest[j] = 0;
    for (int64_t i = 0; i < K; ++i) {
      for (int64_t j = i; j < K; ++j) largest[j] += double(matrix[i * K + j]) * matrix[i * K + j];
    }
    for (int64_t j = 0; j < K; ++j) {
      largest[j] = __builtin_sqrt(largest[j]);
      longest = larger(longest, largest[j] * length[j]);
    }
    for (int64_t j = 0; j < K; ++j) {
      const double diagonal = __builtin_fabs(double(matrix[j * K + j]));
      const double stretch = diagonal > 0 ? ::log(diagonal) + ::log(length[j]) : ::log(Limits::kEpsilon * longest);
      log_growth[j] = stretch;
      lost[j] = largest[j] == 0;
      const double unit = lost[j] ? 0 : diagonal / largest[j];
      least = unit < least ? unit : least;
    }
    if (least * least > Limits::kEpsilon) return 1 / least;
    for (int64_t i = 0; i < K; ++i) {
      for (int64_t j = i; j < K; ++j) gram[i * K + j] = lost[j] ? 0 : matrix[i * K + j] / largest[j];
    }
    for (int64_t j = 0; j < K; ++j) {
      double& diagonal = gram[j * K + j];
      if (lost[j]) {
        diagonal = 1;  // a column that is zero is not rounded and leaves the others alone
      } else if (diagonal == 0) {
        diagonal = Limits::kEpsilon;
      }
    }
    invert_triangle(gram, K, K, inverse, K, between, scratch);
    const double rounding = __builtin_sqrt(double(n)) * Limits::kEpsilon;
    double most = 0;
    for (int64_t j = 0; j < K; ++j) {
      double sum = 0;
      for (int64_t i = 0; i <= j; ++i) sum += inverse[i * K + j] * inverse[i * K + j];
      const double sensitivity = __builtin_sqrt(sum);
      most = larger(most, sensitivity);
      lost[j] = lost[j] || !(rounding * sensitivity < 1);
    }
    return most;
  }
};

template <class T>
void qr_growth_as(const QRGrowthPass<T>& pass, const Worker& worker) {
  double* scratch = pass.scratch + worker.index * kProductScratch<double>;
  if (pass.sets == 1) {
    for (int64_t item = 0; item < pass.batch; ++item) {
      Orthonormaliser<T>::of(pass, item, 0, scratch).run(worker);
      wait_for_team(worker);
    }
    return;
  }
  const Range own = share(worker, pass.batch);
  for (int64_t item = own.begin; item < own.end; ++item) {
    Orthonormaliser<T>::of(pass, item, worker.index, scratch).run({0, 1, nullptr});
  }
}

}  // namespace

extern const QRGrowthTable qr_growth;
const QRGrowthTable qr_growth = {kProductScratch<double>, qr_growth_as<float>, qr_growth_as<double>};

}  // namespace LSH_LEVEL
}  // namespace lsh
