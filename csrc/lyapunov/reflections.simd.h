// Blocked Householder reflections in compact WY form: A (n, K) = Q R whatever the columns are.
//
// A panel of up to kPanel columns is reduced one column after the other; its reflections I - V T Vᵀ then act on all
// columns to the right at once, and, last panel first, on the identity to give Q. Source: R. Schreiber and C. Van Loan,
// SIAM Journal on Scientific and Statistical Computing 10 (1989) 53-57.
#pragma once

#include "common/matrix_product.simd.h"
#include "lyapunov/qr_growth.h"

namespace lsh {
namespace LSH_LEVEL {

template <class T>
struct Reflections {
  int64_t n, K;
  T* matrix;   // (n, K) in; R on and above the diagonal out
  T* vectors;  // (K, n): vector c from its row on, the first number is 1
  T* strips;   // 2 (kPanel, K), and (kPanel, kPanel) for each panel
  T* scratch;  // of this worker

  // Reducing a panel is bound by loads, products with it by arithmetic: the smaller the matrix, the narrower.
  int64_t widest() const { return K < 320 ? 16 : (K < 640 ? 32 : kPanel); }
  int64_t panel_width(int64_t p) const { return K - p < widest() ? K - p : widest(); }
  T* block(int64_t p) const { return strips + 2 * kPanel * K + p * kPanel; }  // T of the panel from column p on

  // a · b
  static double dot(const T* a, const T* b, int64_t count) {
    constexpr int W = kWidth<T>;
    Vector<T, W> sums[4] = {};
    int64_t i = 0;
    for (; i + 4 * W <= count; i += 4 * W) {
      for (int s = 0; s < 4; ++s) sums[s] += load<T, W>(a + i + s * W) * load<T, W>(b + i + s * W);
    }
    const Vector<T, W> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double total = 0;
    for (int w = 0; w < W; ++w) total += sum[w];
    for (; i < count; ++i) total += double(a[i]) * b[i];
    return total;
  }

  static void add(T factor, const T* v, T* out, int64_t count) {
    constexpr int W = kWidth<T>;
    int64_t i = 0;
    for (; i + W <= count; i += W) store<T, W>(out + i, load<T, W>(out + i) + factor * load<T, W>(v + i));
    for (; i < count; ++i) out[i] += factor * v[i];
  }

  // Reduces the columns [p, p + b) from row p on; R's part goes back to the matrix, T to its block.
  void reduce_panel(int64_t p, int64_t b) const {
    const int64_t m = n - p;
    T* triangle = block(p);
    for (int64_t c = 0; c < b; ++c) {
      T* column = vectors + (p + c) * n + p;
      for (int64_t r = 0; r < m; ++r) column[r] = matrix[(p + r) * K + p + c];
    }
    for (int64_t j = 0; j < b; ++j) {
      T* v = vectors + (p + j) * n + p;
      const int64_t below = m - j - 1;
      const double head = v[j], tail = dot(v + j + 1, v + j + 1, below);
      double tau = 0;
      if (tail > 0) {
        const double length = __builtin_sqrt(head * head + tail);
        const double diagonal = head > 0 ? -length : length;
        tau = (diagonal - head) / diagonal;
        const T scale = T(1.0 / (head - diagonal));
        for (int64_t r = j + 1; r < m; ++r) v[r] *= scale;
        v[j] = T(diagonal);
      }
      const T kept = v[j];
      v[j] = 1;
      for (int64_t c = j + 1; c < b; ++c) {
        T* column = vectors + (p + c) * n + p;
        add(T(-tau * dot(v + j, column + j, m - j)), v + j, column + j, m - j);
      }
      for (int64_t i = 0; i < j; ++i) matrix[(p + i) * K + p + j] = v[i];
      matrix[(p + j) * K + p + j] = kept;
      for (int64_t i = 0; i < j; ++i) v[i] = 0;
      // T's column j: -tau T (Vᵀ v)
      double products[kPanel];
      for (int64_t i = 0; i < j; ++i) products[i] = dot(vectors + (p + i) * n + p + j, v + j, m - j);
      for (int64_t i = 0; i < j; ++i) {
        double sum = 0;
        for (int64_t k = i; k < j; ++k) sum += triangle[i * b + k] * products[k];
        triangle[i * b + j] = T(-tau * sum);
      }
      triangle[j * b + j] = T(tau);
      for (int64_t i = j + 1; i < b; ++i) triangle[i * b + j] = 0;
    }
  }

  // C -= V op(T) Vᵀ C for the columns [begin, end) of C (n, K), from row p on.
  void apply(int64_t p, int64_t b, const Operand<T>& triangle, T* c, int64_t begin, int64_t end) const {
    if (begin >= end) return;
    const int64_t m = n - p, width = end - begin;
    const T* v = vectors + p * n + p;
    T* product = strips + begin;
    T* turned = strips + kPanel * K + begin;
    T* part = c + p * K + begin;
    multiply_dense<T, T>({v, n, 1}, by_rows<T>(part, K), product, K, b, width, m, T(1), Start::from_zero, scratch);
    multiply_dense<T, T>(triangle, by_rows<T>(product, K), turned, K, b, width, b, T(1), Start::from_zero, scratch);
    multiply_dense<T, T>({v, 1, n}, by_rows<T>(turned, K), part, K, m, width, b, T(-1), Start::from_present, scratch);
  }

  void factor(const Worker& worker) const {
    for (int64_t p = 0; p < K; p += widest()) {
      const int64_t b = panel_width(p);
      if (worker.index == 0) reduce_panel(p, b);
      wait_for_team(worker);
      const Range own = share_of_tiles(worker, K - p - b, kTileColumns<T>);
      apply(p, b, transposed<T>(block(p), b), matrix, p + b + own.begin, p + b + own.end);
      wait_for_team(worker);
    }
  }

  // Writes Q into `basis`, (n, K), its columns turned so that R_jj would be positive.
  void form_basis(T* basis, const Worker& worker) const {
    const Range rows = share(worker, n);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      for (int64_t c = 0; c < K; ++c) basis[r * K + c] = r != c ? T(0) : (matrix[c * K + c] < 0 ? T(-1) : T(1));
    }
    wait_for_team(worker);
    for (int64_t p = (K - 1) / widest() * widest(); p >= 0; p -= widest()) {
      const int64_t b = panel_width(p);
      const Range own = share_of_tiles(worker, K - p, kTileColumns<T>);
      apply(p, b, by_rows<T>(block(p), b), basis, p + own.begin, p + own.end);
      wait_for_team(worker);  // the next panel shares the columns in another way
    }
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
