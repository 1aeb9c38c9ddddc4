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

// Lanes from `moving` on, where `lane` is the first of v's, become those of `kept`.
template <class T, int N>
LSH_INLINE void keep_from(Vector<T, N>& v, const Vector<T, N>& kept, int64_t lane, int64_t moving) {
  if (lane + N <= moving) return;
  for (int i = 0; i < N; ++i) {
    if (lane + i >= moving) v[i] = kept[i];
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
    if (layer.state_scale) {
      load_scale(layer, units);
      for (int64_t i = units.begin * P; i < units.end * P; ++i) {
        pass.operand[i] = pass.states[i] * layer.scale_lanes[i];
      }
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
      load_hold(layer, t, units);
      for (int64_t d = 0; d < layer.depth; ++d) {
        const int64_t step = t * layer.depth + d;
        const T* projected = d == 0 ? pass.projected_tile + in_tile * layer.batch : nullptr;
        forward_units(pass, step, d, projected, units);
        wait_for_team(worker);
      }
      const T* next = pass.states + (t + 1) * layer.depth * S * H * P;
      T* output = pass.output + t * layer.batch * H;
      lanes_to_rows(next, layer.moving(t), H, P, output, units);
      for (int64_t b = layer.moving(t); b < layer.batch; ++b) {
        for (int64_t u = units.begin; u < units.end; ++u) output[b * H + u] = 0;
      }
    }
    const T* last = pass.states + layer.steps * layer.depth * S * H * P;
    for (int s = 0; s < S; ++s) {
      lanes_to_rows(last + s * H * P, layer.batch, H, P, pass.final_state + s * layer.batch * H, units);
    }
  }

  static void forward_units(const ForwardPass<T>& pass, int64_t step, int64_t d, const T* projected, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, L = layer.tiling.lanes, B = layer.batch;
    const int64_t t = step / layer.depth, moving = layer.moving(t), most = lanes_of(layer, t);
    const T* state = pass.states + step * S * H * P;
    const T* start = pass.states + t * layer.depth * S * H * P;
    const T* operand = pass.operand ? pass.operand + step % 2 * H * P : state;
    T* next = pass.states + (step + 1) * S * H * P;
    T* next_operand = pass.operand ? pass.operand + (step + 1) % 2 * H * P : nullptr;
    const bool mixes = layer.hold && d == layer.depth - 1;
    T* activation = pass.activations + step * A * H * P;
    alignas(64) T sums[G][kSlice];
    for (int64_t u = units.begin; u < units.end; ++u) {
      for (int64_t slice = 0; slice < most; slice += kSlice) {
        const int64_t width = most - slice < kSlice ? most - slice : kSlice;
        for (int g = 0; g < G; ++g) {
          multiply<T>(layer.recurrent_weight[d], g * H + u, operand + slice, P, width, sums[g]);
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
          for (int a = 0; a < A; ++a) {
            if (layer.batch_sizes) keep_from<T, N>(active[a], V{}, lane, moving);
            store<T, N>(activation + (a * H + u) * P + lane, active[a]);
          }
          for (int s = 0; s < S; ++s) {
            const int64_t at_state = (s * H + u) * P + lane;
            if (mixes) {
              const V hold = load<T, N>(layer.hold_lanes + at_state);
              after[s] = hold * load<T, N>(start + at_state) + (1 - hold) * after[s];
            }
            if (layer.batch_sizes) keep_from<T, N>(after[s], before[s], lane, moving);
            store<T, N>(next + at_state, after[s]);
          }
          if (next_operand) {
            store<T, N>(next_operand + u * P + lane, after[0] * load<T, N>(layer.scale_lanes + u * P + lane));
          }
        });
      }
      for (int64_t lane = most; lane < P; ++lane) {
        for (int a = 0; a < A; ++a) activation[(a * H + u) * P + lane] = 0;
        for (int s = 0; s < S; ++s) next[(s * H + u) * P + lane] = state[(s * H + u) * P + lane];
        if (next_operand) next_operand[u * P + lane] = operand[u * P + lane];
      }
    }
  }

  // Lanes that time step t computes: its moving items, to the next multiple of 4.
  static int64_t lanes_of(const Layer<T>& layer, int64_t t) { return (layer.moving(t) + 3) / 4 * 4; }

  static void load_hold(const Layer<T>& layer, int64_t t, Range units) {
    if (!layer.hold) return;
    const int64_t B = layer.batch, H = layer.hidden, P = layer.lanes;
    for (int s = 0; s < S; ++s) {
      rows_to_lanes(layer.hold + (t * S + s) * B * H, B, H, P, layer.hold_lanes + s * H * P, units);
    }
  }

  static void load_scale(const Layer<T>& layer, Range units) {
    if (layer.state_scale) {
      rows_to_lanes(layer.state_scale, layer.batch, layer.hidden, layer.lanes, layer.scale_lanes, units);
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
    load_scale(layer, units);
    prepare_tiles(pass, worker, units);
    add_grad_output(pass, layer.steps - 1, units);

    for (int64_t step = layer.steps * layer.depth - 1; step >= 0; --step) {
      const int64_t t = step / layer.depth, d = step % layer.depth;
      const int64_t most = lanes_of(layer, t);
      T* gates = pass.step_gates + (step % 2) * G * H * P;
      if (d == layer.depth - 1) load_hold(layer, t, units);
      backward_units(pass, step, gates, units);
      wait_for_team(worker);
      alignas(64) T sums[kSlice];
      for (int64_t u = units.begin; u < units.end; ++u) {
        for (int64_t slice = 0; slice < most; slice += kSlice) {
          const int64_t width = most - slice < kSlice ? most - slice : kSlice;
          multiply_transposed<T>(layer.recurrent_weight[d], u, gates + slice, P, width, sums);
          T* carry = pass.carry + u * P + slice;
          if (layer.state_scale) {
            const T* scale = layer.scale_lanes + u * P + slice;
            for (int64_t lane = 0; lane < width; ++lane) sums[lane] *= scale[lane];
          }
          for (int64_t lane = 0; lane < width; ++lane) carry[lane] += sums[lane];
        }
      }
      if (d == 0 && t > 0) add_grad_output(pass, t - 1, units);
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
            if (layer.state_scale) {
              for (int64_t b = 0; b < B; ++b) states[u * L + j * B + b] *= layer.scale_lanes[u * P + b];
            }
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
  }

  static void add_grad_output(const BackwardPass<T>& pass, int64_t t, Range units) {
    if (!pass.grad_output) return;
    const int64_t H = pass.layer.hidden, P = pass.layer.lanes;
    const T* grad_output = pass.grad_output + t * pass.layer.batch * H;
    for (int64_t u = units.begin; u < units.end; ++u) {
      for (int64_t b = 0; b < pass.layer.moving(t); ++b) pass.carry[u * P + b] += grad_output[b * H + u];
    }
  }

  static void backward_units(const BackwardPass<T>& pass, int64_t step, T* gates, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, L = layer.tiling.lanes, B = layer.batch;
    const int64_t t = step / layer.depth, d = step % layer.depth;
    const int64_t tile = t / layer.tiling.steps_per_tile;
    const int64_t first_lane = t % layer.tiling.steps_per_tile * B;
    const int64_t moving = layer.moving(t);
    const bool mixes = layer.hold && d == layer.depth - 1, begins = layer.hold && d == 0;
    const T* activation = pass.activations + step * A * H * P;
    const T* state = pass.states + step * S * H * P;
    T* gate_tile = pass.gate_tiles + (d * layer.tiling.tiles + tile) * G * H * L + first_lane;
    T* input_gate_tile = pass.input_gate_tiles + tile * G * H * L + first_lane;
    for (int64_t u = units.begin; u < units.end; ++u) {
      for_lanes<T>(P, [&]<int N>(int64_t lane) {
        using V = Vector<T, N>;
        V active[A], before[S], grad_next[S], kept[S], recurrent[G], input[G]{}, grad_before[S];
        for (int a = 0; a < A; ++a) active[a] = load<T, N>(activation + (a * H + u) * P + lane);
        for (int s = 0; s < S; ++s) {
          before[s] = load<T, N>(state + (s * H + u) * P + lane);
          kept[s] = grad_next[s] = load<T, N>(pass.carry + (s * H + u) * P + lane);
          if (mixes) {
            const V hold = load<T, N>(layer.hold_lanes + (s * H + u) * P + lane);
            V held = hold * grad_next[s];
            if (layer.batch_sizes) keep_from<T, N>(held, V{}, lane, moving);
            store<T, N>(pass.held + (s * H + u) * P + lane, held);
            grad_next[s] *= 1 - hold;
          }
        }
        Cell::backward(active, before, grad_next, recurrent, input, grad_before);
        for (int s = 0; s < S; ++s) {
          if (begins) grad_before[s] += load<T, N>(pass.held + (s * H + u) * P + lane);
          if (layer.batch_sizes) keep_from<T, N>(grad_before[s], kept[s], lane, moving);
          store<T, N>(pass.carry + (s * H + u) * P + lane, grad_before[s]);
        }
        for (int g = 0; g < G; ++g) {
          const int64_t row = g * H + u;
          if (layer.batch_sizes) {
            keep_from<T, N>(recurrent[g], V{}, lane, moving);
            keep_from<T, N>(input[g], V{}, lane, moving);
          }
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
      if (layer.state_scale) {
        for (int64_t u = units.begin; u < units.end; ++u) {
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
        for (int64_t b = 0; b < B; ++b) tangent_units(pass, step, d, b, units);
      }
      if (pass.output_tangent) {
        for (int64_t b = 0; b < B; ++b) {
          const T* now = pass.current + (b * 2 + (t + 1) * layer.depth % 2) * S * H * Q;
          T* output = pass.output_tangent + (t * B + b) * H * K;
          copy_rows(now, b < layer.moving(t) ? Q : 0, output, K, units);
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
    const int64_t t = step / layer.depth;
    const T* before = pass.current + (b * 2 + step % 2) * S * H * Q;
    const T* operand = pass.operand ? pass.operand + (b * 2 + step % 2) * H * Q : before;
    T* after = pass.current + (b * 2 + (step + 1) % 2) * S * H * Q;
    T* next_operand = pass.operand ? pass.operand + (b * 2 + (step + 1) % 2) * H * Q : nullptr;
    T* start = pass.start ? pass.start + b * S * H * Q : nullptr;
    if (b >= layer.moving(t)) {
      for (int s = 0; s < S; ++s) copy_rows(before + s * H * Q, Q, after + s * H * Q, Q, units);
      if (next_operand) copy_rows(operand, Q, next_operand, Q, units);
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
        for_lanes<T>(width, [&]<int N>(int64_t at) {
          using V = Vector<T, N>;
          V active[A], was[S], recurrent[G], input[G], d_before[S], d_after[S];
          for (int a = 0; a < A; ++a) active[a] = splat<T, N>(activation[(a * H + u) * P + b]);
          for (int s = 0; s < S; ++s) {
            was[s] = splat<T, N>(state[(s * H + u) * P + b]);
            d_before[s] = load<T, N>(before + (s * H + u) * Q + slice + at);
          }
          for (int g = 0; g < G; ++g) {
            recurrent[g] = load<T, N>(recurrent_sums[g] + at);
            input[g] = x ? load<T, N>(input_sums[g] + at) : V{};
          }
          Cell::tangent(active, was, recurrent, input, d_before, d_after);
          for (int s = 0; s < S; ++s) {
            const int64_t at_state = (s * H + u) * Q + slice + at;
            if (start && d == 0) store<T, N>(start + at_state, d_before[s]);
            if (start && d == layer.depth - 1) {
              const T hold = layer.hold[((t * S + s) * layer.batch + b) * H + u];
              d_after[s] = hold * load<T, N>(start + at_state) + (1 - hold) * d_after[s];
            }
            store<T, N>(after + at_state, d_after[s]);
          }
          if (next_operand) {
            store<T, N>(next_operand + u * Q + slice + at, layer.state_scale[b * H + u] * d_after[0]);
          }
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
