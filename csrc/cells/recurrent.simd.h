// The recurrence over time on the CPU, written once for every cell (see cell.h, recurrence.h).
//
// Each worker owns a range of hidden units, all gates of them, for the whole sequence; the team meets once per
// micro-step. Bound by the loads of the sparse product (product.simd.h); the pointwise maps run on a unit's lanes while
// its sums are still in the first-level cache.
#pragma once

#include "cells/cell.h"
#include "cells/recurrence.h"
#include "sparsity/gradient.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// Lanes of one step on the stack; a wider batch is done in slices of this many.
constexpr int64_t kSlice = 512;

// Calls body(lane, width tag) over `lanes`, a multiple of 4, in full vectors and then in fours.
template <class T, class Body>
LSH_INLINE void for_lanes(int64_t lanes, const Body& body) {
  constexpr int W = kWidth<T>;
  int64_t lane = 0;
  for (; lane + W <= lanes; lane += W) body.template operator()<W>(lane);
  if constexpr (W > 4) {
    for (; lane < lanes; lane += 4) body.template operator()<4>(lane);
  }
}

// N numbers from lane `lane` on, of which those at or beyond `batch` do not exist and read as zero.
template <class T, int N>
LSH_INLINE Vector<T, N> load_lanes(const T* p, int64_t lane, int64_t batch) {
  return lane + N <= batch ? load<T, N>(p + lane) : load_first<T, N>(p + lane, int(batch - lane));
}

template <class T, int N>
LSH_INLINE void store_lanes(T* p, int64_t lane, int64_t batch, Vector<T, N> v) {
  if (lane + N <= batch) {
    store<T, N>(p + lane, v);
  } else {
    store_first<T, N>(p + lane, v, int(batch - lane));
  }
}

// (B, H) row-major <-> (H, P) lanes for the units [begin, end).
template <class T>
static void rows_to_lanes(const T* rows, int64_t batch, int64_t hidden, int64_t lanes, T* out, Range units) {
  for (int64_t u = units.begin; u < units.end; ++u) {
    for (int64_t b = 0; b < batch; ++b) out[u * lanes + b] = rows[b * hidden + u];
    for (int64_t b = batch; b < lanes; ++b) out[u * lanes + b] = 0;
  }
}

template <class T>
static void lanes_to_rows(const T* in, int64_t batch, int64_t hidden, int64_t lanes, T* rows, Range units) {
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t u = units.begin; u < units.end; ++u) rows[b * hidden + u] = in[u * lanes + b];
  }
}

template <class Cell, class T>
struct Recurrent {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;

  static Range owned_units(const Layer<T>& layer, const Worker& worker) {
    return share_by_cost(worker, layer.hidden, layer.recurrent_weight[0].pattern.row_offsets, G);
  }

  static void gather_owned_rows(const SparseMatrix<T>& matrix, int64_t hidden, Range units) {
    for (int g = 0; g < G; ++g) gather_rows(matrix, g * hidden + units.begin, g * hidden + units.end);
  }

  // ---------------------------------------------------------------------------------------------------- forward

  static void forward(const ForwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, L = layer.tiling.lanes;
    const Range units = owned_units(layer, worker);

    gather_owned_rows(layer.input_weight, H, units);
    for (int64_t d = 0; d < layer.depth; ++d) gather_owned_rows(layer.recurrent_weight[d], H, units);
    for (int s = 0; s < S; ++s) {
      rows_to_lanes(pass.state + s * layer.batch * H, layer.batch, H, P, pass.states + s * H * P, units);
    }
    const Range own_tiles = share(worker, layer.tiling.tiles);
    sequence_to_tiles(layer.tiling, layer.input_size, pass.input, pass.input_tiles, own_tiles.begin, own_tiles.end);
    wait_for_team(worker);

    for (int64_t t = 0; t < layer.steps; ++t) {
      const int64_t in_tile = t % layer.tiling.steps_per_tile;
      if (in_tile == 0) {
        const T* x = pass.input_tiles + t / layer.tiling.steps_per_tile * layer.input_size * L;
        for (int g = 0; g < G; ++g) {
          for (int64_t row = g * H + units.begin; row < g * H + units.end; ++row) {
            multiply<T>(layer.input_weight, row, x, L, L, pass.projected_tile + row * L);
          }
        }
      }
      for (int64_t d = 0; d < layer.depth; ++d) {
        const int64_t step = t * layer.depth + d;
        const T* projected = d == 0 ? pass.projected_tile + in_tile * layer.batch : nullptr;
        forward_units(pass, step, d, projected, units);
        wait_for_team(worker);
      }
      const T* next = pass.states + (t + 1) * layer.depth * S * H * P;
      lanes_to_rows(next, layer.batch, H, P, pass.output + t * layer.batch * H, units);
    }
    const T* last = pass.states + layer.steps * layer.depth * S * H * P;
    for (int s = 0; s < S; ++s) {
      lanes_to_rows(last + s * H * P, layer.batch, H, P, pass.final_state + s * layer.batch * H, units);
    }
  }

  static void forward_units(const ForwardPass<T>& pass, int64_t step, int64_t d, const T* projected, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, L = layer.tiling.lanes, B = layer.batch;
    const T* state = pass.states + step * S * H * P;
    T* next = pass.states + (step + 1) * S * H * P;
    T* activation = pass.activations + step * A * H * P;
    alignas(64) T sums[G][kSlice];
    for (int64_t u = units.begin; u < units.end; ++u) {
      for (int64_t slice = 0; slice < P; slice += kSlice) {
        const int64_t width = P - slice < kSlice ? P - slice : kSlice;
        for (int g = 0; g < G; ++g) {
          multiply<T>(layer.recurrent_weight[d], g * H + u, state + slice, P, width, sums[g]);
        }
        for_lanes<T>(width, [&]<int N>(int64_t at) {
          using V = Vector<T, N>;
          const int64_t lane = slice + at;
          V recurrent[G], input[G], before[S], active[A], after[S];
          for (int g = 0; g < G; ++g) {
            const int64_t row = g * H + u;
            recurrent[g] = load<T, N>(sums[g] + at);
            if (layer.recurrent_bias) recurrent[g] += layer.recurrent_bias[d * G * H + row];
            input[g] = projected ? load_lanes<T, N>(projected + row * L, lane, B) : V{};
            if (projected && layer.input_bias) input[g] += layer.input_bias[row];
          }
          for (int s = 0; s < S; ++s) before[s] = load<T, N>(state + (s * H + u) * P + lane);
          Cell::forward(recurrent, input, before, active, after);
          for (int a = 0; a < A; ++a) store<T, N>(activation + (a * H + u) * P + lane, active[a]);
          for (int s = 0; s < S; ++s) store<T, N>(next + (s * H + u) * P + lane, after[s]);
        });
      }
    }
  }

  // --------------------------------------------------------------------------------------------------- backward

  static void backward(const BackwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, L = layer.tiling.lanes, B = layer.batch;
    const Range units = owned_units(layer, worker);

    for (int64_t d = 0; d < layer.depth; ++d) gather_columns(layer.recurrent_weight[d], units.begin, units.end);
    for (int s = 0; s < S; ++s) {
      T* carry = pass.carry + s * H * P;
      if (pass.grad_final) {
        rows_to_lanes(pass.grad_final + s * B * H, B, H, P, carry, units);
      } else {
        for (int64_t i = units.begin * P; i < units.end * P; ++i) carry[i] = 0;
      }
    }
    prepare_tiles(pass, worker, units);

    for (int64_t step = layer.steps * layer.depth - 1; step >= 0; --step) {
      const int64_t t = step / layer.depth, d = step % layer.depth;
      T* gates = pass.step_gates + (step % 2) * G * H * P;
      backward_units(pass, step, gates, units);
      wait_for_team(worker);
      const bool last_of_step = d == 0 && t > 0;
      const T* grad_output = last_of_step && pass.grad_output ? pass.grad_output + (t - 1) * B * H : nullptr;
      alignas(64) T sums[kSlice];
      for (int64_t u = units.begin; u < units.end; ++u) {
        for (int64_t slice = 0; slice < P; slice += kSlice) {
          const int64_t width = P - slice < kSlice ? P - slice : kSlice;
          multiply_transposed<T>(layer.recurrent_weight[d], u, gates + slice, P, width, sums);
          T* carry = pass.carry + u * P + slice;
          for (int64_t lane = 0; lane < width; ++lane) carry[lane] += sums[lane];
        }
        if (grad_output) {
          for (int64_t b = 0; b < B; ++b) pass.carry[u * P + b] += grad_output[b * H + u];
        }
      }
    }
    for (int s = 0; s < S; ++s) {
      lanes_to_rows(pass.carry + s * H * P, B, H, P, pass.grad_state + s * B * H, units);
    }
    wait_for_team(worker);

    bias_gradients(pass, units);
    weight_gradient(pass, layer.input_weight, pass.input_gate_tiles, pass.input_tiles, pass.grad_input_weight, units);
    for (int64_t d = 0; d < layer.depth; ++d) {
      const int64_t tile_rows = layer.tiling.tiles * L;
      weight_gradient(pass, layer.recurrent_weight[d], pass.gate_tiles + d * tile_rows * G * H,
                      pass.state_tiles + d * tile_rows * H, pass.grad_recurrent_weight[d], units);
    }
    if (pass.grad_input) input_gradient(pass, worker);
  }

  // Lanes of what the weight gradients multiply: inputs, and the states that entered each recurrent product.
  static void prepare_tiles(const BackwardPass<T>& pass, const Worker& worker, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, L = layer.tiling.lanes, B = layer.batch;
    const Range own_tiles = share(worker, layer.tiling.tiles);
    sequence_to_tiles(layer.tiling, layer.input_size, pass.input, pass.input_tiles, own_tiles.begin, own_tiles.end);
    for (int64_t d = 0; d < layer.depth; ++d) {
      for (int64_t tile = 0; tile < layer.tiling.tiles; ++tile) {
        T* states = pass.state_tiles + (d * layer.tiling.tiles + tile) * H * L;
        T* gates = pass.gate_tiles + (d * layer.tiling.tiles + tile) * G * H * L;
        const int64_t first = tile * layer.tiling.steps_per_tile;
        for (int64_t u = units.begin; u < units.end; ++u) {
          for (int64_t j = 0; j < layer.tiling.steps_per_tile; ++j) {
            const int64_t t = first + j;
            if (t >= layer.steps) break;
            const T* state = pass.states + (t * layer.depth + d) * S * H * P + u * P;
            for (int64_t b = 0; b < B; ++b) states[u * L + j * B + b] = state[b];
          }
          const int64_t left = layer.steps - first;
          const int64_t used = (left < layer.tiling.steps_per_tile ? left : layer.tiling.steps_per_tile) * B;
          for (int64_t lane = used; lane < L; ++lane) {
            states[u * L + lane] = 0;
            for (int g = 0; g < G; ++g) gates[(g * H + u) * L + lane] = 0;
            if (Cell::kSeparateInput && d == 0) {
              T* input_gates = pass.input_gate_tiles + tile * G * H * L;
              for (int g = 0; g < G; ++g) input_gates[(g * H + u) * L + lane] = 0;
            }
          }
        }
      }
    }
    const T* grad_output = pass.grad_output;
    if (grad_output) {
      grad_output += (layer.steps - 1) * B * H;
      for (int64_t u = units.begin; u < units.end; ++u) {
        for (int64_t b = 0; b < B; ++b) pass.carry[u * P + b] += grad_output[b * H + u];
      }
    }
  }

  static void backward_units(const BackwardPass<T>& pass, int64_t step, T* gates, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, L = layer.tiling.lanes, B = layer.batch;
    const int64_t t = step / layer.depth, d = step % layer.depth;
    const int64_t tile = t / layer.tiling.steps_per_tile;
    const int64_t first_lane = t % layer.tiling.steps_per_tile * B;
    const T* activation = pass.activations + step * A * H * P;
    const T* state = pass.states + step * S * H * P;
    const T* next = state + S * H * P;
    T* gate_tile = pass.gate_tiles + (d * layer.tiling.tiles + tile) * G * H * L + first_lane;
    T* input_gate_tile = pass.input_gate_tiles + tile * G * H * L + first_lane;
    for (int64_t u = units.begin; u < units.end; ++u) {
      for_lanes<T>(P, [&]<int N>(int64_t lane) {
        using V = Vector<T, N>;
        V active[A], before[S], after[S], grad_next[S], recurrent[G], input[G], grad_before[S];
        for (int a = 0; a < A; ++a) active[a] = load<T, N>(activation + (a * H + u) * P + lane);
        for (int s = 0; s < S; ++s) {
          before[s] = load<T, N>(state + (s * H + u) * P + lane);
          after[s] = load<T, N>(next + (s * H + u) * P + lane);
          grad_next[s] = load<T, N>(pass.carry + (s * H + u) * P + lane);
        }
        Cell::backward(active, before, after, grad_next, recurrent, input, grad_before);
        for (int s = 0; s < S; ++s) store<T, N>(pass.carry + (s * H + u) * P + lane, grad_before[s]);
        for (int g = 0; g < G; ++g) {
          const int64_t row = g * H + u;
          store<T, N>(gates + row * P + lane, recurrent[g]);
          if (lane < B) store_lanes<T, N>(gate_tile + row * L, lane, B, recurrent[g]);
          if (Cell::kSeparateInput && d == 0 && lane < B) {
            store_lanes<T, N>(input_gate_tile + row * L, lane, B, input[g]);
          }
        }
      });
    }
  }

  static void bias_gradients(const BackwardPass<T>& pass, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, L = layer.tiling.lanes;
    const auto sum = [&](const T* tiles, T* out) {
      for (int g = 0; g < G; ++g) {
        sum_rows(layer.tiling, tiles, G * H, out, {g * H + units.begin, g * H + units.end});
      }
    };
    if (pass.grad_input_bias) sum(pass.input_gate_tiles, pass.grad_input_bias);
    if (pass.grad_recurrent_bias) {
      for (int64_t d = 0; d < layer.depth; ++d) {
        sum(pass.gate_tiles + d * layer.tiling.tiles * G * H * L, pass.grad_recurrent_bias + d * G * H);
      }
    }
  }

  static void weight_gradient(const BackwardPass<T>& pass, const SparseMatrix<T>& matrix, const T* gate_tiles,
                              const T* operand, T* grad, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, L = layer.tiling.lanes;
    const WeightGradient<T> gradient{&matrix, grad, pass.dense_gradient ? pass.every_column : nullptr};
    for (int g = 0; g < G; ++g) gradient.start(g * H + units.begin, g * H + units.end);
    for (int64_t tile = 0; tile < layer.tiling.tiles; ++tile) {
      const T* gates = gate_tiles + tile * G * H * L;
      const T* x = operand + tile * matrix.pattern.columns * L;
      for (int g = 0; g < G; ++g) gradient.add_tile(gates, x, L, g * H + units.begin, g * H + units.end);
    }
    for (int g = 0; g < G; ++g) gradient.finish(g * H + units.begin, g * H + units.end);
  }

  static void input_gradient(const BackwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, L = layer.tiling.lanes;
    const Range columns = share_by_cost(worker, layer.input_size, layer.input_weight.pattern.column_offsets, 1);
    gather_columns(layer.input_weight, columns.begin, columns.end);
    alignas(64) T sums[kSlice];
    for (int64_t tile = 0; tile < layer.tiling.tiles; ++tile) {
      const T* gates = pass.input_gate_tiles + tile * G * H * L;
      for (int64_t column = columns.begin; column < columns.end; ++column) {
        for (int64_t slice = 0; slice < L; slice += kSlice) {
          const int64_t width = L - slice < kSlice ? L - slice : kSlice;
          multiply_transposed<T>(layer.input_weight, column, gates + slice, L, width, sums);
          lanes_to_sequence(layer.tiling, tile, slice, width, sums, layer.input_size, column, pass.grad_input);
        }
      }
    }
  }

  // ---------------------------------------------------------------------------------------------------- tangent

  static void tangent(const TangentPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, B = layer.batch, K = pass.vectors, Q = pass.vector_lanes;
    const Range units = owned_units(layer, worker);
    if (pass.input_tangent) gather_owned_rows(layer.input_weight, H, units);
    for (int64_t d = 0; d < layer.depth; ++d) gather_owned_rows(layer.recurrent_weight[d], H, units);
    for (int64_t b = 0; b < B; ++b) {
      for (int s = 0; s < S; ++s) {
        copy_rows(pass.tangent + (b * S + s) * H * K, K, pass.current + ((b * 2) * S + s) * H * Q, Q, units);
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
        for (int64_t b = 0; b < B; ++b) tangent_units(pass, step, d, b, units);
      }
      if (pass.output_tangent) {
        for (int64_t b = 0; b < B; ++b) {
          const T* now = pass.current + (b * 2 + (t + 1) * layer.depth % 2) * S * H * Q;
          copy_rows(now, Q, pass.output_tangent + (t * B + b) * H * K, K, units);
        }
      }
    }
    for (int64_t b = 0; b < B; ++b) {
      const T* now = pass.current + (b * 2 + layer.steps * layer.depth % 2) * S * H * Q;
      for (int s = 0; s < S; ++s) {
        copy_rows(now + s * H * Q, Q, pass.final_tangent + (b * S + s) * H * K, K, units);
      }
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

  static void tangent_units(const TangentPass<T>& pass, int64_t step, int64_t d, int64_t b, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, Q = pass.vector_lanes;
    const T* activation = pass.activations + step * A * H * P;
    const T* state = pass.states + step * S * H * P;
    const T* next = state + S * H * P;
    const T* before = pass.current + (b * 2 + step % 2) * S * H * Q;
    T* after = pass.current + (b * 2 + (step + 1) % 2) * S * H * Q;
    const T* x = d == 0 && pass.input_tangent ? pass.input_lanes + b * layer.input_size * Q : nullptr;
    alignas(64) T recurrent_sums[G][kSlice];
    alignas(64) T input_sums[G][kSlice];
    for (int64_t u = units.begin; u < units.end; ++u) {
      for (int64_t slice = 0; slice < Q; slice += kSlice) {
        const int64_t width = Q - slice < kSlice ? Q - slice : kSlice;
        for (int g = 0; g < G; ++g) {
          multiply<T>(layer.recurrent_weight[d], g * H + u, before + slice, Q, width, recurrent_sums[g]);
          if (x) multiply<T>(layer.input_weight, g * H + u, x + slice, Q, width, input_sums[g]);
        }
        for_lanes<T>(width, [&]<int N>(int64_t at) {
          using V = Vector<T, N>;
          V active[A], was[S], is[S], recurrent[G], input[G], d_before[S], d_after[S];
          for (int a = 0; a < A; ++a) active[a] = splat<T, N>(activation[(a * H + u) * P + b]);
          for (int s = 0; s < S; ++s) {
            was[s] = splat<T, N>(state[(s * H + u) * P + b]);
            is[s] = splat<T, N>(next[(s * H + u) * P + b]);
            d_before[s] = load<T, N>(before + (s * H + u) * Q + slice + at);
          }
          for (int g = 0; g < G; ++g) {
            recurrent[g] = load<T, N>(recurrent_sums[g] + at);
            input[g] = x ? load<T, N>(input_sums[g] + at) : V{};
          }
          Cell::tangent(active, was, is, recurrent, input, d_before, d_after);
          for (int s = 0; s < S; ++s) store<T, N>(after + (s * H + u) * Q + slice + at, d_after[s]);
        });
      }
    }
  }

  static constexpr CellKernels<T> kernels() { return {forward, backward, tangent}; }
};

}  // namespace LSH_LEVEL
}  // namespace lsh

// Defines the table `name` of the cell `Cell` at the SIMD level being compiled.
#define LSH_CELL_KERNELS(name, Cell)                           \
  namespace lsh {                                              \
  namespace LSH_LEVEL {                                        \
  extern const CellTable name;                                 \
  const CellTable name = {Cell::kGates,                        \
                          Cell::kStates,                       \
                          Cell::kActivations,                  \
                          Cell::kSeparateInput,                \
                          Recurrent<Cell, float>::kernels(),   \
                          Recurrent<Cell, double>::kernels()}; \
  }                                                            \
  }
