// Gradients of a sequence on the CPU, written once for every cell: time runs backwards, and weights get theirs whenever
// a few tiles of steps are there (sparsity/gradient.simd.h).
#pragma once

#include "cells/cell.h"
#include "cells/owned.simd.h"
#include "cells/projection.simd.h"
#include "sparsity/gradient.simd.h"
#include "sparsity/tiles.simd.h"

namespace lsh {
namespace LSH_LEVEL {

template <class Cell, class T>
struct Backward {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;
  using Project = Projected<T, S>;

  static void run(const BackwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
    const PanelPlan& plan = layer.recurrent_panels[0].plan;
    const int64_t most_columns = H > layer.input_size ? H : layer.input_size;
    int32_t* before = pass.scratch + worker.index * (most_columns + 1 + G * H);
    int32_t* next = before + most_columns + 1;
    count_columns(layer.recurrent_weight[0].pattern, before);
    const Range chunks = share_chunks(worker, plan, before);
    const Range outputs = units_of(plan, chunks);
    Range hidden_chunks = chunks, units = outputs;
    if constexpr (Cell::kProjects) {
      count_columns(layer.projection.weight.pattern, before);
      hidden_chunks = share_chunks(worker, layer.projection.panels.plan, before);
      units = units_of(layer.projection.panels.plan, hidden_chunks);
      gather_rows(layer.projection.weight, outputs.begin, outputs.end);
    }
    for (int64_t d = 0; d < layer.depth; ++d) gather_owned_rows<G>(layer.recurrent_weight[d], H, units);
    if (pass.grad_input) gather_owned_rows<G>(layer.input_weight, H, units);
    wait_for_team(worker);
    if constexpr (Cell::kProjects) {
      pack_columns(layer.projection.weight, layer.projection.panels, before, next, hidden_chunks);
      clear_channels(pass.carry, P, rows_beyond(layer.outputs, units));
    }
    for (int64_t d = 0; d < layer.depth; ++d) {
      if (d > 0 || Cell::kProjects) count_columns(layer.recurrent_weight[d].pattern, before);
      pack_columns(layer.recurrent_weight[d], layer.recurrent_panels[d], before, next, chunks);
    }
    Share own{units, outputs, {0, 0}, pass.rooms.of(worker.index)};
    if (pass.grad_input) {
      count_columns(layer.input_weight.pattern, before);
      own.input_chunks = share_chunks(worker, layer.input_panels.plan, before);
      pack_columns(layer.input_weight, layer.input_panels, before, next, own.input_chunks);
    }
    for (int s = 0; s < S; ++s) {
      T* carry = pass.carry + s * H * P;
      const Range of_state = channels(s, units, outputs);
      if (pass.grad_final) {
        rows_to_lanes(pass.grad_final + s * B * H, B, H, P, carry, of_state);
      } else {
        clear_channels(carry, P, of_state);
      }
    }
    load_scale(layer, outputs);
    for (int i = 0; i < 2 * G; ++i) {
      T* gates = pass.step_gates + i / G * G * H * padded_lanes(P);
      clear_padding(gates, G * H, P, {i % G * H + units.begin, i % G * H + units.end});
    }
    if constexpr (Cell::kProjects) clear_padding(pass.projection_gradient, layer.outputs, P, outputs);
    prepare_tiles(layer.tiling, layer.input_size, pass.input, pass.input_tiles, worker);
    clear_bias_gradients(pass, units);
    add_grad_output(pass, layer.steps - 1, outputs);

    ChunkSums<T> sums;
    for (int64_t step = layer.steps * layer.depth - 1; step >= 0; --step) {
      const int64_t t = step / layer.depth, d = step % layer.depth;
      const int64_t tile = t / layer.tiling.steps_per_tile, first_tile = tile / pass.kept_tiles * pass.kept_tiles;
      T* gates = pass.step_gates + (step % 2) * G * H * padded_lanes(P);
      if (d == layer.depth - 1 && t + 1 == layer.tiling.first_step(tile) + layer.tiling.steps_in(tile)) {
        clear_tile_end(pass, tile, units, outputs);
      }
      if (d == layer.depth - 1) load_hold<S>(layer, t, units, outputs);
      if constexpr (Cell::kProjects) {
        Project::split(pass, t, outputs);
        wait_for_team(worker);
        for (int64_t chunk = hidden_chunks.begin; chunk < hidden_chunks.end; ++chunk) {
          Project::hidden_chunk(pass, chunk, lanes_of(layer, t), sums);
        }
      }
      move_units(pass, step, gates, units);
      store_operand(pass, t, d, outputs);
      wait_for_team(worker);
      for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        carry_chunk(pass, gates, layer.recurrent_panels[d], chunk, lanes_of(layer, t), sums);
      }
      if (d == 0 && t > 0) add_grad_output(pass, t - 1, outputs);
      if (d == 0 && t == layer.tiling.first_step(first_tile)) {
        const int64_t kept = first_tile + pass.kept_tiles;
        gradients_of_tiles(pass, {first_tile, kept < layer.tiling.tiles ? kept : layer.tiling.tiles}, own);
        if (t > 0) wait_for_team(worker);  // tiles are no longer read
      }
    }
    for (int s = 0; s < S; ++s) {
      const T* carry = pass.carry + s * H * P;
      lanes_to_rows(carry, B, H, P, pass.grad_state + s * B * H, channels(s, units, outputs));
    }
    if constexpr (Cell::kProjects) {
      lanes_to_rows(pass.carry, B, H, P, pass.grad_state, rows_beyond(layer.outputs, units));
    }
  }

  // The gradient of the state through the recurrent product: carry[0] += scale * Rᵀ gates.
  static void carry_chunk(const BackwardPass<T>& pass, const T* gates, const PanelMatrix<T>& matrix, int64_t chunk,
                          int64_t most, ChunkSums<T>& sums) {
    const Layer<T>& layer = pass.layer;
    const int64_t P = layer.lanes, first = chunk * matrix.plan.chunk_units, count = matrix.plan.units_in(chunk);
    for_slabs<T>(most, [&](const Slab& used) {
      const Slab slab = slab_at<T>(used.first, P);
      multiply_chunk(matrix, chunk, gates, slab, sums);
      const int64_t left = P - slab.first;
      for_lanes<T>(left < kSlabLanes<T> ? left : kSlabLanes<T>, [&]<int N>(int64_t at) {
        const LanePlace sum = sums.place(slab, at);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t to = (first + i) * P + slab.first + at;
          Vector<T, N> v = load<T, N>(sums.numbers + sum.offset + i * sum.stride);
          if (layer.state_scale) v *= load<T, N>(layer.scale_lanes + to);
          store<T, N>(pass.carry + to, load<T, N>(pass.carry + to) + v);
        }
      });
    });
  }

  // What a worker owns in a backward pass, and its room.
  struct Share {
    Range units, outputs, input_chunks;
    SampleRoom<T> room;
  };

  // What the weight gradients multiply lies in tiles; the lanes that no step fills are zero.
  static void clear_tile_end(const BackwardPass<T>& pass, int64_t tile, Range units, Range outputs) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, L = layer.tiling.lanes, O = layer.outputs, slot = tile % pass.kept_tiles;
    const int64_t used = layer.tiling.used(tile), lanes = layer.tiling.lanes_in(tile);
    if constexpr (Cell::kProjects) {
      clear_lanes(pass.projection_tiles + slot * O * L, O, lanes, used, lanes, outputs);
      clear_lanes(pass.hidden_tiles + slot * H * L, H, lanes, used, lanes, units);
    }
    for (int64_t d = 0; d < layer.depth; ++d) {
      const int64_t at = d * pass.kept_tiles + slot;
      clear_lanes(pass.state_tiles + at * O * L, O, lanes, used, lanes, outputs);
      for (int g = 0; g < G; ++g) {
        const Range rows{g * H + units.begin, g * H + units.end};
        clear_lanes(pass.gate_tiles + at * G * H * L, G * H, lanes, used, lanes, rows);
        if (Cell::kSeparateInput && d == 0) {
          clear_lanes(pass.input_gate_tiles + slot * G * H * L, G * H, lanes, used, lanes, rows);
        }
      }
    }
  }

  static void add_grad_output(const BackwardPass<T>& pass, int64_t t, Range outputs) {
    if (!pass.grad_output) return;
    rows_to_lanes<true>(pass.grad_output + t * pass.layer.batch * pass.layer.outputs, pass.layer.moving(t),
                        pass.layer.outputs, pass.layer.lanes, pass.carry, outputs);
  }

  // The operand of a micro-step's product into its tile.
  static void store_operand(const BackwardPass<T>& pass, int64_t t, int64_t d, Range outputs) {
    const Layer<T>& layer = pass.layer;
    const int64_t P = layer.lanes, B = layer.batch, O = layer.outputs;
    const int64_t tile = t / layer.tiling.steps_per_tile, lanes = layer.tiling.lanes_in(tile);
    const int64_t first_lane = t % layer.tiling.steps_per_tile * B;
    const T* state = pass.states + (t * layer.depth + d) * S * layer.hidden * P;
    T* state_tile = pass.state_tiles + (d * pass.kept_tiles + tile % pass.kept_tiles) * O * layer.tiling.lanes;
    const auto from = [&](int64_t lane) { return LanePlace{lane, P}; };
    step_to_tile(state, from, B, outputs, state_tile, O, lanes, first_lane);
    for (int64_t b = 0; layer.state_scale && b < B; ++b) {
      const LanePlace place = lane_place<T>(first_lane + b, lanes, O);
      for (int64_t u = outputs.begin; u < outputs.end; ++u) {
        state_tile[place.offset + u * place.stride] *= layer.scale_lanes[u * P + b];
      }
    }
  }

  // The pointwise part of a micro-step, and its gates into the tiles.
  static void move_units(const BackwardPass<T>& pass, int64_t step, T* gates, Range units) {
    constexpr int64_t kBlock = 32;  // units whose numbers stay in the first-level cache
    for (int64_t u = units.begin; u < units.end; u += kBlock) {
      move_block(pass, step, gates, {u, u + kBlock < units.end ? u + kBlock : units.end});
    }
  }

  static void move_block(const BackwardPass<T>& pass, int64_t step, T* gates, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, L = layer.tiling.lanes, B = layer.batch;
    const int64_t t = step / layer.depth, d = step % layer.depth;
    const int64_t tile = t / layer.tiling.steps_per_tile, lanes = layer.tiling.lanes_in(tile);
    const int64_t first_lane = t % layer.tiling.steps_per_tile * B, moving = layer.moving(t);
    const bool mixes = layer.hold && d == layer.depth - 1, begins = layer.hold && d == 0;
    const T* activation = pass.activations + step * A * H * P;
    const T* state = pass.states + step * S * H * P;
    // Where the input's gradients are others than the recurrent ones, they go straight to their tile.
    const int64_t slot = tile % pass.kept_tiles;
    T* gate_tile = pass.gate_tiles + (d * pass.kept_tiles + slot) * G * H * L;
    T* input_gate_tile = pass.input_gate_tiles + slot * G * H * L;
    for_lanes<T>(P, [&]<int N>(int64_t lane) __attribute__((always_inline)) {
      using V = Vector<T, N>;
      const LanePlace to = lane_place<T>(lane, P, G * H);
      for (int64_t u = units.begin; u < units.end; ++u) {
        V active[A], before[S], grad_next[S], kept[S], recurrent[G], input[G]{}, grad_before[S];
        LSH_UNROLL for (int a = 0; a < A; ++a) {
          const T* from = activation + (a * H + u) * P + lane;
          __builtin_prefetch(from + kRowsBefore * P);
          active[a] = load<T, N>(from);
        }
        LSH_UNROLL for (int s = 0; s < S; ++s) {
          __builtin_prefetch(state + (s * H + u + kRowsBefore) * P + lane);
          before[s] = load<T, N>(state + (s * H + u) * P + lane);
          const bool projected = Cell::kProjects && s == 0;
          kept[s] = grad_next[s] =
              load<T, N>(projected ? pass.hidden_carry + u * P + lane : pass.carry + (s * H + u) * P + lane);
          if (mixes && !projected) {
            const V hold = load<T, N>(layer.hold_lanes + (s * H + u) * P + lane);
            V held = hold * grad_next[s];
            if (layer.batch_sizes) keep_from<T, N>(held, V{}, lane, moving);
            store<T, N>(pass.held + (s * H + u) * P + lane, held);
            grad_next[s] *= 1 - hold;
          }
        }
        Cell::backward(active, before, grad_next, recurrent, input, grad_before);
        if constexpr (Cell::kProjects) {
          store<T, N>(layer.projection.hidden + u * P + lane, Cell::hidden(active, before));
        }
        LSH_UNROLL for (int s = Cell::kProjects; s < S; ++s) {
          if (begins) grad_before[s] += load<T, N>(pass.held + (s * H + u) * P + lane);
          if (layer.batch_sizes) keep_from<T, N>(grad_before[s], kept[s], lane, moving);
          store<T, N>(pass.carry + (s * H + u) * P + lane, grad_before[s]);
        }
        LSH_UNROLL for (int g = 0; g < G; ++g) {
          const int64_t row = g * H + u;
          if (layer.batch_sizes) {
            keep_from<T, N>(recurrent[g], V{}, lane, moving);
            keep_from<T, N>(input[g], V{}, lane, moving);
          }
          store<T, N>(gates + to.offset + row * to.stride, recurrent[g]);
          if (Cell::kSeparateInput && d == 0) {
            for (int i = 0; i < N && lane + i < B; ++i) {
              const LanePlace out = lane_place<T>(first_lane + lane + i, lanes, G * H);
              input_gate_tile[out.offset + row * out.stride] = input[g][i];
            }
          }
        }
      }
    });
    for (int g = 0; g < G; ++g) {
      const auto from = [&](int64_t lane) { return lane_place<T>(lane, P, G * H); };
      step_to_tile(gates, from, B, {g * H + units.begin, g * H + units.end}, gate_tile, G * H, lanes, first_lane);
    }
    if constexpr (Cell::kProjects) {
      const auto from = [&](int64_t lane) { return LanePlace{lane, P}; };
      step_to_tile(layer.projection.hidden, from, B, units, pass.hidden_tiles + slot * H * L, H, lanes, first_lane);
    }
  }

  // Adds what kept tiles give: gradients of the worker's biases and weights, and of its channels of the input.
  static void gradients_of_tiles(const BackwardPass<T>& pass, Range tiles, const Share& own) {
    const Layer<T>& layer = pass.layer;
    const int64_t R = G * layer.hidden, L = pass.kept_tiles * layer.tiling.lanes;
    if (pass.grad_input_bias) add_bias_gradient(pass, tiles, pass.input_gate_tiles, pass.grad_input_bias, own.units);
    for (int64_t d = 0; pass.grad_recurrent_bias && d < layer.depth; ++d) {
      add_bias_gradient(pass, tiles, pass.gate_tiles + d * L * R, pass.grad_recurrent_bias + d * R, own.units);
    }
    const T* input = pass.input_tiles + tiles.begin * layer.input_size * layer.tiling.lanes;
    weight_gradient(pass, tiles, layer.input_weight, pass.input_gate_tiles, input, pass.grad_input_weight, G, own.units,
                    own.room);
    for (int64_t d = 0; d < layer.depth; ++d) {
      weight_gradient(pass, tiles, layer.recurrent_weight[d], pass.gate_tiles + d * L * R,
                      pass.state_tiles + d * L * layer.outputs, pass.grad_recurrent_weight[d], G, own.units, own.room);
    }
    if constexpr (Cell::kProjects) {
      weight_gradient(pass, tiles, layer.projection.weight, pass.projection_tiles, pass.hidden_tiles,
                      pass.grad_recurrent_weight[layer.depth], 1, own.outputs, own.room);
    }
    if (pass.grad_input) {
      T* grad = pass.grad_input + layer.tiling.first_step(tiles.begin) * layer.batch * layer.input_size;
      multiply_tiles<T>(layer.input_panels, own.input_chunks, layer.tiling, tiles, pass.input_gate_tiles, nullptr,
                        grad);
    }
  }

  static void clear_bias_gradients(const BackwardPass<T>& pass, Range units) {
    const int64_t H = pass.layer.hidden;
    for (int64_t g = 0; g < pass.layer.depth * G; ++g) {
      for (int64_t row = g * H + units.begin; row < g * H + units.end; ++row) {
        if (pass.grad_input_bias && g < G) pass.grad_input_bias[row] = 0;
        if (pass.grad_recurrent_bias) pass.grad_recurrent_bias[row] = 0;
      }
    }
  }

  static void add_bias_gradient(const BackwardPass<T>& pass, Range tiles, const T* gate_tiles, T* out, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden;
    for (int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
      const T* gates = gate_tiles + (tile - tiles.begin) * G * H * layer.tiling.lanes;
      for (int g = 0; g < G; ++g) {
        add_row_sums(gates, G * H, layer.tiling.lanes_in(tile), out, {g * H + units.begin, g * H + units.end});
      }
    }
  }

  // Of the worker's `units`, each with a row in every one of the weight's gates.
  static void weight_gradient(const BackwardPass<T>& pass, Range tiles, const SparseMatrix<T>& matrix,
                              const T* gate_tiles, const T* operand, T* grad, int gates, Range units,
                              const SampleRoom<T>& room) {
    const int64_t H = matrix.pattern.rows / gates;
    const bool add = tiles.end < pass.layer.tiling.tiles;  // time runs backwards
    const WeightGradient<T> gradient{&matrix, grad, pass.dense_gradient, room};
    for (int g = 0; g < gates; ++g) {
      gradient.compute(pass.layer.tiling, tiles, gate_tiles, operand, {g * H + units.begin, g * H + units.end}, add);
    }
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
