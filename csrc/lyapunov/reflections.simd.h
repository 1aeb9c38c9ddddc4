// Blocked Householder reflections in compact WY form: A (n, K) = Q R whatever the columns are.
//
// A panel of up to kPanel columns is reduced half by half: its left half reflects the right one, down to kLeaf columns,
// which are reduced one after the other. Its reflections I - V T Vᵀ then act on all columns to the right at once, and,
// last panel first, on the identity to give Q. Sources: R. Schreiber and C. Van Loan, SIAM Journal on Scientific and
// Statistical Computing 10 (1989) 53-57; E. Elmroth and F. Gustavson, IBM Journal of Research and Development 44 (2000)
// 605-624.
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

  // Wide panels pass over the columns to the right less often, narrow ones spend less on reducing themselves.
  int64_t widest() const { return K < 256 ? 32 : (K < 768 ? 64 : kPanel); }
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
    constexpr int64_t kTogether = 8;  // columns of one cache line
    for (int64_t c = p; c < p + b; c += kTogether) {
      const int64_t end = c + kTogether < p + b ? c + kTogether : p + b;
      for (int64_t r = p; r < n; ++r) {
        for (int64_t i = c; i < end; ++i) vectors[i * n + r] = matrix[r * K + i];
      }
    }
    for (int64_t i = 0; i < b * b; ++i) block(p)[i] = 0;
    reduce(p, b, p, b);
  }

  // Reduces `count` columns from column q on, within the panel of b columns from p on.
  void reduce(int64_t p, int64_t b, int64_t q, int64_t count) const {
    if (count <= kLeaf) return reduce_leaf(p, b, q, count);
    const int64_t w = (count / 2 + 7) / 8 * 8, rest = count - w, m = n - q, after = q + w;
    const T* left = vectors + q * n + q;  // (w, m)
    T* right = vectors + after * n + q;   // (rest, m)
    T* triangle = block(p) + (q - p) * (b + 1);
    T* product = strips;
    T* turned = strips + kPanel * K;
    reduce(p, b, q, w);
    // right -= (right Vᵀ) T V, all of them transposed
    multiply_dense<T, T>(by_rows<T>(right, n), {left, 1, n}, product, w, rest, w, m, T(1), Start::from_zero, scratch);
    multiply_dense<T, T>(by_rows<T>(product, w), by_rows<T>(triangle, b), turned, w, rest, w, w, T(1), Start::from_zero,
                         scratch, true);
    multiply_dense<T, T>(by_rows<T>(turned, w), by_rows<T>(left, n), right, n, rest, m, w, T(-1), Start::from_present,
                         scratch);
    reduce(p, b, after, rest);
    // T of both halves: [[T1, -T1 (V1ᵀ V2) T2], [0, T2]]
    multiply_dense<T, T>(by_rows<T>(left + w, n), {right + w, 1, n}, product, rest, w, rest, m - w, T(1),
                         Start::from_zero, scratch);
    multiply_dense<T, T>(by_rows<T>(product, rest), by_rows<T>(triangle + w * (b + 1), b), turned, rest, w, rest, rest,
                         T(1), Start::from_zero, scratch, true);
    multiply_dense<T, T>(by_rows<T>(triangle, b), by_rows<T>(turned, rest), triangle + w, b, w, rest, w, T(-1),
                         Start::from_zero, scratch);
  }

  void reduce_leaf(int64_t p, int64_t b, int64_t q, int64_t count) const {
    const int64_t m = n - q;
    T* triangle = block(p) + (q - p) * (b + 1);
    for (int64_t j = 0; j < count; ++j) {
      T* v = vectors + (q + j) * n + q;
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
      for (int64_t r = p; r <= q + j; ++r) matrix[r * K + q + j] = v[r - q];
      for (int64_t r = p - q; r < j; ++r) v[r] = 0;
      v[j] = 1;
      for (int64_t c = j + 1; c < count; ++c) {
        T* column = vectors + (q + c) * n + q;
        add(T(-tau * dot(v + j, column + j, m - j)), v + j, column + j, m - j);
      }
      // T's column j: -tau T (Vᵀ v)
      double products[kLeaf];
      for (int64_t i = 0; i < j; ++i) products[i] = dot(vectors + (q + i) * n + q + j, v + j, m - j);
      for (int64_t i = 0; i < j; ++i) {
        double sum = 0;
        for (int64_t k = i; k < j; ++k) sum += triangle[i * b + k] * products[k];
        triangle[i * b + j] = T(-tau * sum);
      }
      triangle[j * b + j] = T(tau);
    }
  }

  // C -= V op(T) Vᵀ C for the columns [begin, end) of C (n, K), from row p on; rows of C before row `from` are zero.
  void apply(int64_t p, int64_t b, const Operand<T>& triangle, T* c, int64_t begin, int64_t end, int64_t from) const {
    if (begin >= end) return;
    const int64_t width = end - begin;
    const T* v = vectors + p * n;
    T* product = strips + begin;
    T* turned = strips + kPanel * K + begin;
    multiply_dense<T, T>(by_rows<T>(v + from, n), by_rows<T>(c + from * K + begin, K), product, K, b, width, n - from,
                         T(1), Start::from_zero, scratch);
    multiply_dense<T, T>(triangle, by_rows<T>(product, K), turned, K, b, width, b, T(1), Start::from_zero, scratch);
    subtract(p, b, turned, c, begin, end);
  }

  // C -= V `turned` for the columns [begin, end) of C, from row p on.
  void subtract(int64_t p, int64_t b, const T* turned, T* c, int64_t begin, int64_t end) const {
    multiply_dense<T, T>({vectors + p * n + p, 1, n}, by_rows<T>(turned, K), c + p * K + begin, K, n - p, end - begin,
                         b, T(-1), Start::from_present, scratch);
  }

  void factor(const Worker& worker) const {
    for (int64_t p = 0; p < K; p += widest()) {
      const int64_t b = panel_width(p);
      if (worker.index == 0) reduce_panel(p, b);
      wait_for_team(worker);
      const Range own = share_of_tiles(worker, K - p - b, kTileColumns<T>);
      apply(p, b, transposed<T>(block(p), b), matrix, p + b + own.begin, p + b + own.end, p);
      wait_for_team(worker);
    }
  }

  // Writes Q into `basis`, (n, K), its columns turned so that R_jj would be positive.
  void form_basis(T* basis, const Worker& worker) const {
    const Range rows = share(worker, n);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      for (int64_t c = 0; c < K; ++c) basis[r * K + c] = 0;
      if (r < K) basis[r * K + r] = matrix[r * K + r] < 0 ? T(-1) : T(1);
    }
    wait_for_team(worker);
    for (int64_t p = (K - 1) / widest() * widest(); p >= 0; p -= widest()) {
      const int64_t b = panel_width(p);
      if (worker.index == 0) {  // columns of the panel are still axes: Vᵀ times them is rows of V
        T* turned = strips + kPanel * K + p;
        multiply_dense<T, T>(by_rows<T>(block(p), b), by_rows<T>(vectors + p * n + p, n), turned, K, b, b, b, T(1),
                             Start::from_zero, scratch);
        for (int64_t i = 0; i < b; ++i) {
          for (int64_t c = 0; c < b; ++c) turned[i * K + c] *= basis[(p + c) * (K + 1)];
        }
        subtract(p, b, turned, basis, p, p + b);
      }
      const Range own = share_of_tiles(worker, K - p - b, kTileColumns<T>);
      apply(p, b, by_rows<T>(block(p), b), basis, p + b + own.begin, p + b + own.end, p + b);
      wait_for_team(worker);  // the next panel shares the columns in another way
    }
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
