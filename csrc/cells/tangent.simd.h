// Tangent vectors along a trajectory on the CPU, written once for every cell: J · Q without J, row by row.
#pragma once

#include "cells/cell.h"
#include "cells/owned.simd.h"
#include "cells/projection.simd.h"
#include "sparsity/product.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// Tangent vectors on the stack at once; more are done in slices of this many.
constexpr int64_t kSlice = 512;

template <class Cell, class T>
struct Tangent {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;
  using Project = Projected<T, S>;

  static void run(const TangentPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, B = layer.batch, K = pass.vectors, Q = pass.vector_lanes, O = layer.outputs;
    const Range units = owned_units<G>(layer, worker);
    Range outputs = units, absent{0, 0};
    if constexpr (Cell::kProjects) {
      outputs = share_by_cost(worker, O, layer.projection.weight.pattern.row_offsets, 1);
      gather_rows(layer.projection.weight, outputs.begin, outputs.end);
      absent = rows_beyond(O, units);
    }
    if (pass.input_tangent) gather_owned_rows<G>(layer.input_weight, H, units);
    for (int64_t d = 0; d < layer.depth; ++d) gather_owned_rows<G>(layer.recurrent_weight[d], H, units);
    for (int64_t b = 0; b < B; ++b) {
      for (int s = 0; s < S; ++s) {
        copy_rows(pass.tangent + (b * S + s) * H * K, K, pass.current + ((b * 2) * S + s) * H * Q, Q,
                  channels(s, units, outputs));
      }
      copy_rows(pass.tangent, 0, pass.current + b * 2 * S * H * Q, Q, absent);
      if (layer.state_scale) {
        for (int64_t u = outputs.begin; u < outputs.end; ++u) {
          const T scale = layer.state_scale[b * H + u];
          for (int64_t k = 0; k < Q; ++k) {
            pass.operand[(b * 2 * H + u) * Q + k] = scale * pass.current[(b * 2 * S * H + u) * Q + k];
          }
        }
      }
    }
    for (int64_t t = 0; t < layer.steps; ++t) {
      if (pass.input_tangent) {
        wait_for_team(worker);  // the last step's input is no longer read
        const Range inputs = share(worker, layer.input_size);
        for (int64_t b = 0; b < B; ++b) {
          copy_rows(pass.input_tangent + (t * B + b) * layer.input_size * K, K,
                    pass.input_lanes + b * layer.input_size * Q, Q, inputs);
        }
      }
      for (int64_t d = 0; d < layer.depth; ++d) {
        const int64_t step = t * layer.depth + d;
        wait_for_team(worker);
        for (int64_t b = 0; b < B; ++b) move_units(pass, step, d, b, units, outputs);
      }
      if constexpr (Cell::kProjects) {
        alignas(64) T sums[kSlice];
        wait_for_team(worker);
        for (int64_t b = 0; b < B; ++b) Project::tangent(pass, t, b, kSlice, sums, outputs);
      }
      if (pass.output_tangent) {
        for (int64_t b = 0; b < B; ++b) {
          const T* now = pass.current + (b * 2 + (t + 1) * layer.depth % 2) * S * H * Q;
          T* output = pass.output_tangent + (t * B + b) * O * K;
          copy_rows(now, b < layer.moving(t) ? Q : 0, output, K, outputs);
        }
      }
    }
    for (int64_t b = 0; b < B; ++b) {
      const T* now = pass.current + (b * 2 + layer.steps * layer.depth % 2) * S * H * Q;
      for (int s = 0; s < S; ++s) {
        copy_rows(now + s * H * Q, Q, pass.final_tangent + (b * S + s) * H * K, K, channels(s, units, outputs));
      }
      copy_rows(now, 0, pass.final_tangent + b * S * H * K, K, absent);
    }
  }

  // Rows of `from` numbers into rows of `to` numbers: cut, or filled up with zeros.
  static void copy_rows(const T* source, int64_t from, T* out, int64_t to, Range rows) {
    const int64_t both = from < to ? from : to;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      for (int64_t k = 0; k < both; ++k) out[row * to + k] = source[row * from + k];
      for (int64_t k = both; k < to; ++k) out[row * to + k] = 0;
    }
  }

  static void move_units(const TangentPass<T>& pass, int64_t step, int64_t d, int64_t b, Range units, Range outputs) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, Q = pass.vector_lanes;
    const T* activation = pass.activations + step * A * H * P;
    const T* state = pass.states + step * S * H * P;
    const int64_t t = step / layer.depth;
    const T* before = pass.current + (b * 2 + step % 2) * S * H * Q;
    const T* operand = pass.operand ? pass.operand + (b * 2 + step % 2) * H * Q : before;
    T* after = pass.current + (b * 2 + (step + 1) % 2) * S * H * Q;
    T* next_operand = pass.operand ? pass.operand + (b * 2 + (step + 1) % 2) * H * Q : nullptr;
    T* start = pass.start ? pass.start + b * S * H * Q : nullptr;
    if (b >= layer.moving(t)) {
      for (int s = 0; s < S; ++s) {
        copy_rows(before + s * H * Q, Q, after + s * H * Q, Q, channels(s, units, outputs));
      }
      if (next_operand) copy_rows(operand, Q, next_operand, Q, outputs);
      return;
    }
    const T* x = d == 0 && pass.input_tangent ? pass.input_lanes + b * layer.input_size * Q : nullptr;
    alignas(64) T recurrent_sums[G][kSlice];
    alignas(64) T input_sums[G][kSlice];
    for (int64_t u = units.begin; u < units.end; ++u) {
      for (int64_t slice = 0; slice < Q; slice += kSlice) {
        const int64_t width = Q - slice < kSlice ? Q - slice : kSlice;
        for (int g = 0; g < G; ++g) {
          multiply<T>(layer.recurrent_weight[d], g * H + u, operand + slice, Q, width, recurrent_sums[g]);
          if (x) multiply<T>(layer.input_weight, g * H + u, x + slice, Q, width, input_sums[g]);
        }
        for_lanes<T>(width, [&]<int N>(int64_t at) __attribute__((always_inline)) {
          using V = Vector<T, N>;
          V active[A], was[S], recurrent[G], input[G], d_before[S], d_after[S];
          LSH_UNROLL for (int a = 0; a < A; ++a) active[a] = splat<T, N>(activation[(a * H + u) * P + b]);
          LSH_UNROLL for (int s = 0; s < S; ++s) {
            was[s] = splat<T, N>(state[(s * H + u) * P + b]);
            d_before[s] = load<T, N>(before + (s * H + u) * Q + slice + at);
          }
          LSH_UNROLL for (int g = 0; g < G; ++g) {
            recurrent[g] = load<T, N>(recurrent_sums[g] + at);
            input[g] = x ? load<T, N>(input_sums[g] + at) : V{};
          }
          Cell::tangent(active, was, recurrent, input, d_before, d_after);
          if constexpr (Cell::kProjects) {
            store<T, N>(layer.projection.hidden + (b * H + u) * Q + slice + at, d_after[0]);
          }
          LSH_UNROLL for (int s = Cell::kProjects; s < S; ++s) {
            const int64_t at_state = (s * H + u) * Q + slice + at;
            if (start && d == 0) store<T, N>(start + at_state, d_before[s]);
            if (start && d == layer.depth - 1) {
              const T hold = layer.hold[((t * S + s) * layer.batch + b) * H + u];
              d_after[s] = hold * load<T, N>(start + at_state) + (1 - hold) * d_after[s];
            }
            store<T, N>(after + at_state, d_after[s]);
          }
          if (!Cell::kProjects && next_operand) {
            store<T, N>(next_operand + u * Q + slice + at, layer.state_scale[b * H + u] * d_after[0]);
          }
        });
      }
    }
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
