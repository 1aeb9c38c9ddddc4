// Orthonormalisation with log growth, as plain pointers: what the op fills in and the kernels read.
//
//   A = Q R for each of B matrices (n, K), R with a positive diagonal; out come Q and ln R_jj
#pragma once

#include <cstdint>

#include "common/parallel.h"

namespace lsh {

// How a matrix was orthonormalised. The numbers are part of the op.
enum class QRMethod : int32_t { not_finite = -1, one_pass = 1, two_passes = 2, reflections = 3, broken_down = 4 };

// Columns that are reflected together, and that are reduced one after the other, at most.
constexpr int64_t kPanel = 128, kLeaf = 16;

// What decides between methods, for the condition κ of columns of length 1 and the rounding u = kEpsilon / 2.
template <class T>
struct QRLimits {
  static constexpr double kEpsilon = sizeof(T) == 4 ? 1.1920929e-7 : 2.220446049250313e-16;
  static constexpr double kOnePass = sizeof(T) == 4 ? 4e-6 : 1e-12;  // of κ² u, as is the next
  static constexpr double kTwoPasses = 0.05;
  // Squares in columns whose length lies in [1 / kSafe, kSafe] neither overflow nor vanish where they matter.
  static constexpr double kSafe = sizeof(T) == 4 ? 1e9 : 1e120;
};

template <class T>
struct QRGrowthPass {
  int64_t batch, rows, columns;
  const T* tangent;    // (B, n, K)
  T* basis;            // (B, n, K)
  double* log_growth;  // (B, K)
  bool* lost;          // (B, K)
  double* condition;   // (B)
  int32_t* method;     // (B)
  // Workspaces: `sets` of them, one for each worker that has matrices of its own, or one that the whole team shares.
  int64_t sets;
  double* numbers;  // sets x numbers_size(K)
  T* matrices;      // sets x matrices_size(n, K)
  double* scratch;  // workers x the table's `scratch`
};

// Two (K, K) triangles, room between them, and four rows of K.
constexpr int64_t numbers_size(int64_t columns) {
  return 2 * columns * columns + columns * columns / 4 + 128 * columns + 8192;
}

// A copy of A, the reflection vectors, R⁻¹, and three strips of a panel.
constexpr int64_t matrices_size(int64_t rows, int64_t columns) {
  return 2 * rows * columns + columns * columns + 4 * kPanel * (columns + kPanel);
}

template <class T>
using QRGrowthKernel = void (*)(const QRGrowthPass<T>&, const Worker&);

struct QRGrowthTable {
  int64_t scratch;
  QRGrowthKernel<float> float32;
  QRGrowthKernel<double> float64;
};

}  // namespace lsh
