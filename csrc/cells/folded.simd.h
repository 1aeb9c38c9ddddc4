// The folded tangent at one SIMD level, written once for every cell (see folded.h, cell.h).
#pragma once

#include "cells/coefficients.simd.h"
#include "cells/folded.h"
#include "common/matrix_product.simd.h"

namespace lsh {
namespace LSH_LEVEL {

template <class Cell, class T>
struct Folded {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;

  static void run(const FoldedPass<T>& pass, const Worker& worker) {
    const int64_t H = pass.hidden, K = pass.vectors, numbers = H * S * K;
    const Range units = share_of_tiles(worker, H, kTileRows);
    T* scratch = pass.scratch + worker.index * kProductScratch<T>;
    for (int64_t b = 0; b < pass.batch; ++b) {
      transpose(pass.tangent + b * numbers, H * K, K, pass.current + b * 2 * numbers, K, S * K, K, units);
    }
    for (int64_t step = 0; step < pass.micro_steps(); ++step) {
      find_coefficients<Cell>(pass.activations + step * A * H * pass.lanes, pass.states + step * S * H * pass.lanes, H,
                              pass.lanes, units, pass.coefficients);
      wait_for_team(worker);
      const T* weight = pass.weight[step % pass.depth];
      for (int64_t b = 0; b < pass.batch; ++b) {
        const T* before = pass.current + (b * 2 + step % 2) * numbers;
        T* after = pass.current + (b * 2 + (step + 1) % 2) * numbers;
        advance(pass, weight, pass.coefficients + b * H * kCoefficients<Cell>, before, after, units, scratch);
      }
      wait_for_team(worker);
    }
    for (int64_t b = 0; b < pass.batch; ++b) {
      const T* last = pass.current + (b * 2 + pass.micro_steps() % 2) * numbers;
      transpose(last, K, S * K, pass.final_tangent + b * numbers, H * K, K, K, units);
    }
  }

  // out[s][u] = source[s][u], rows of `count` numbers at the given strides.
  static void transpose(const T* source, int64_t state, int64_t unit, T* out, int64_t out_state, int64_t out_unit,
                        int64_t count, Range units) {
    for (int64_t u = units.begin; u < units.end; ++u) {
      for (int s = 0; s < S; ++s) {
        const T* row = source + s * state + u * unit;
        T* to = out + s * out_state + u * out_unit;
        for (int64_t k = 0; k < count; ++k) to[k] = row[k];
      }
    }
  }

  static void advance(const FoldedPass<T>& pass, const T* weight, const T* coefficients, const T* before, T* after,
                      Range units, T* scratch) {
    const int64_t H = pass.hidden, K = pass.vectors;
    for (int64_t u = units.begin; u < units.end; ++u) {
      for (int s = 0; s < S; ++s) {
        const T* own = coefficients + u * kCoefficients<Cell> + s * (G + S) + G;
        T* out = after + (u * S + s) * K;
        const T* first = before + u * S * K;
        for (int64_t k = 0; k < K; ++k) out[k] = own[0] * first[k];
        for (int r = 1; r < S; ++r) {
          for (int64_t k = 0; k < K; ++k) out[k] += own[r] * first[r * K + k];
        }
      }
    }
    const auto fold = [&](int64_t row, int64_t height, int64_t at, int64_t deep, T* out) {
      for (int64_t r = 0; r < height; ++r) {
        const int64_t u = units.begin + (row + r) / S;
        const T* factor = coefficients + u * kCoefficients<Cell> + (row + r) % S * (G + S);
        const T* gate[G];
        for (int g = 0; g < G; ++g) gate[g] = weight + (g * H + u) * H + at;
        T* sum = out + r * deep;
        for (int64_t d = 0; d < deep; ++d) {
          T total = factor[0] * gate[0][d];
          for (int g = 1; g < G; ++g) total += factor[g] * gate[g][d];
          sum[d] = total;
        }
      }
      return rows_from<T>(out, deep, height);
    };
    multiply_rows<T, T, 1>(fold, Operand<T>{before, S * K, 1}, after + units.begin * S * K, K,
                           (units.end - units.begin) * S, K, H, T(1), Start::from_present, false, scratch);
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh

// Defines the table `folded_name` of the cell `Cell` at the SIMD level being compiled.
#define LSH_FOLDED_KERNELS(name, Cell)                           \
  namespace lsh {                                                \
  namespace LSH_LEVEL {                                          \
  extern const FoldedTable folded_##name;                        \
  const FoldedTable folded_##name = {Cell::kGates,               \
                                     Cell::kStates,              \
                                     Cell::kActivations,         \
                                     kProductScratch<float>,     \
                                     Folded<Cell, float>::run,   \
                                     Folded<Cell, double>::run}; \
  }                                                              \
  }
