// The recurrence over time on the CPU, written once for every cell (see cell.h, recurrence.h).
//
// Each worker owns a range of hidden units, all gates of them, for the whole sequence; the team meets once per
// micro-step. Bound by the loads of the sparse product (panels.simd.h); the pointwise maps run on a chunk's lanes while
// its sums are still in the first-level cache.
#pragma once

#include "cells/cell.h"
#include "cells/few.simd.h"
#include "cells/projection.simd.h"
#include "cells/recurrence.h"
#include "cells/step.simd.h"
#include "sparsity/gradient.simd.h"
#include "sparsity/product.simd.h"
#include "sparsity/tiles.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// Tangent vectors on the stack at once; more are done in slices of this many.
constexpr int64_t kSlice = 512;

template <class Cell, class T>
struct Recurrent {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;
  using Project = Projected<T, S>;

  static Range owned_units(const Layer<T>& layer, const Worker& worker) {
    return share_by_cost(worker, layer.hidden, layer.recurrent_weight[0].pattern.row_offsets, G);
  }

  static void gather_owned_rows(const SparseMatrix<T>& matrix, int64_t hidden, Range units) {
    for (int g = 0; g < G; ++g) gather_rows(matrix, g * hidden + units.begin, g * hidden + units.end);
  }

  // The channels of state `s` that a worker owns.
  static Range channels(int s, Range units, Range outputs) { return s == 0 ? outputs : units; }

  // Lanes that time step t computes: its moving items, to the next multiple of 4.
  static int64_t lanes_of(const Layer<T>& layer, int64_t t) { return (layer.moving(t) + 3) / 4 * 4; }

  // ---------------------------------------------------------------------------------------------------- forward

  static void forward(const ForwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    if (layer.recurrent_lookup) return Few<Cell, T>::forward(pass, worker);
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, O = layer.outputs;
    const PanelPlan& plan = layer.recurrent_panels[0].plan;
    const Range chunks = share_chunks(worker, plan, layer.recurrent_weight[0].pattern.row_offsets);
    const Range units = units_of(plan, chunks);
    Range output_chunks = chunks, outputs = units;
    if constexpr (Cell::kProjects) {
      const Projection<T>& projection = layer.projection;
      output_chunks = share_chunks(worker, projection.panels.plan, projection.weight.pattern.row_offsets);
      outputs = units_of(projection.panels.plan, output_chunks);
      pack_rows(projection.weight, projection.panels, output_chunks);
      clear_channels(pass.states, P, rows_from(O, units));
    }

    pack_rows(layer.input_weight, layer.input_panels, chunks);
    for (int64_t d = 0; d < layer.depth; ++d) pack_rows(layer.recurrent_weight[d], layer.recurrent_panels[d], chunks);
    for (int s = 0; s < S; ++s) {
      rows_to_lanes(pass.state + s * B * H, B, H, P, pass.states + s * H * P, channels(s, units, outputs));
    }
    load_scale(layer, outputs);
    clear_lanes(pass.operand, O, P, 0, P, outputs);
    for (int64_t lane = 0; lane < P; lane += 4) {
      const LanePlace place = lane_place<T>(lane, P, O);
      for (int64_t u = outputs.begin; u < outputs.end; ++u) {
        Vector<T, 4> state = load<T, 4>(pass.states + u * P + lane);
        if (layer.state_scale) state *= load<T, 4>(layer.scale_lanes + u * P + lane);
        store<T, 4>(pass.operand + place.offset + u * place.stride, state);
      }
    }
    prepare_tiles(layer.tiling, layer.input_size, pass.input, pass.input_tiles, worker);
    wait_for_team(worker);

    ChunkSums<T> sums;
    for (int64_t t = 0; t < layer.steps; ++t) {
      const int64_t tile = t / layer.tiling.steps_per_tile, in_tile = t % layer.tiling.steps_per_tile;
      if (in_tile == 0) project(pass, tile, chunks, sums);
      load_hold(layer, t, units, outputs);
      for (int64_t d = 0; d < layer.depth; ++d) {
        const T* projected = d == 0 ? pass.projected_tile + in_tile * G * H * P : nullptr;
        for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
          forward_chunk(pass, t * layer.depth + d, d, projected, chunk, sums);
        }
        wait_for_team(worker);
      }
      if constexpr (Cell::kProjects) {
        for (int64_t chunk = output_chunks.begin; chunk < output_chunks.end; ++chunk) {
          Project::forward_chunk(pass, t, lanes_of(layer, t), chunk, sums);
        }
        wait_for_team(worker);
      }
      const T* next = pass.states_at((t + 1) * layer.depth, S);
      T* output = pass.output + t * B * O;
      lanes_to_rows(next, layer.moving(t), O, P, output, outputs);
      for (int64_t b = layer.moving(t); b < B; ++b) {
        for (int64_t u = outputs.begin; u < outputs.end; ++u) output[b * O + u] = 0;
      }
    }
    const T* last = pass.states_at(layer.steps * layer.depth, S);
    for (int s = 0; s < S; ++s) lanes_to_rows(last + s * H * P, B, H, P, pass.final_state + s * B * H, units);
  }

  // The input's share of the gates of a tile's steps, W x + b: step by step, as the steps read them.
  static void project(const ForwardPass<T>& pass, int64_t tile, Range chunks, ChunkSums<T>& sums) {
    const Layer<T>& layer = pass.layer;
    const PanelPlan& plan = layer.input_panels.plan;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
    const T* x = pass.input_tiles + tile * layer.input_size * layer.tiling.lanes;
    const int64_t used = layer.tiling.used(tile), together = B % 4 == 0 ? 4 : 1;  // lanes that one step has
    const int64_t lanes = layer.tiling.lanes_in(tile), cached = cached_lanes<T>(plan.columns);
    for (int64_t begin = 0; begin < lanes; begin += cached) {
      for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        const int64_t first = chunk * plan.chunk_units, count = plan.units_in(chunk);
        for_slabs_between<T>(begin, begin + cached, lanes, [&](const Slab& slab) {
          multiply_chunk(layer.input_panels, chunk, x, slab, sums);
          for (int64_t at = 0; at < slab.width<T>() && slab.first + at < used; at += together) {
            const LanePlace place = sums.place(slab, at);
            const int64_t step = (slab.first + at) / B, item = (slab.first + at) % B;
            for (int g = 0; g < G; ++g) {
              const T* sum = sums.numbers + place.offset + g * count * place.stride;
              const T* bias = layer.input_bias ? layer.input_bias + g * H + first : nullptr;
              T* out = pass.projected_tile + (step * G * H + g * H + first) * P + item;
              for (int64_t i = 0; i < count; ++i, sum += place.stride, out += P) {
                if (together == 4) {
                  store<T, 4>(out, load<T, 4>(sum) + (bias ? bias[i] : T(0)));
                } else {
                  *out = *sum + (bias ? bias[i] : T(0));
                }
              }
            }
          }
        });
      }
    }
  }

  static void forward_chunk(const ForwardPass<T>& pass, int64_t step, int64_t d, const T* projected, int64_t chunk,
                            ChunkSums<T>& sums) {
    const Layer<T>& layer = pass.layer;
    const PanelPlan& plan = layer.recurrent_panels[d].plan;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
    const int64_t t = step / layer.depth, moving = layer.moving(t), most = lanes_of(layer, t);
    const int64_t stored = padded_lanes(P), first = chunk * plan.chunk_units, count = plan.units_in(chunk);
    const int64_t O = layer.outputs;
    const T* state = pass.states_at(step, S);
    const T* start = pass.states_at(t * layer.depth, S);
    const T* operand = pass.operand + step % 2 * O * stored;
    T* next = pass.states_at(step + 1, S);
    T* next_operand = Cell::kProjects ? layer.projection.hidden : pass.operand + (step + 1) % 2 * O * stored;
    const bool mixes = layer.hold && d == layer.depth - 1;
    T* activation = pass.keeps_trajectory() ? pass.activations + step * A * H * P : nullptr;
    int64_t done = 0;
    for_slabs<T>(most, [&](const Slab& used) {
      const Slab slab = slab_at<T>(used.first, P);
      multiply_chunk(layer.recurrent_panels[d], chunk, operand, slab, sums);
      const int64_t end = used.first + kSlabLanes<T>;
      done = end < P ? end : P;
      for_lanes<T>(done - slab.first, [&]<int N>(int64_t at) {
        using V = Vector<T, N>;
        const int64_t lane = slab.first + at;
        const LanePlace sum = sums.place(slab, at), to = lane_place<T>(lane, P, H);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t u = first + i;
          V recurrent[G], input[G], before[S], active[A], after[S];
          for (int g = 0; g < G; ++g) {
            const int64_t row = g * H + u;
            recurrent[g] = load<T, N>(sums.numbers + sum.offset + (g * count + i) * sum.stride);
            if (layer.recurrent_bias) recurrent[g] += layer.recurrent_bias[d * G * H + row];
            input[g] = projected ? load_lanes<T, N>(projected + row * P, lane, B) : V{};
          }
          for (int s = 0; s < S; ++s) before[s] = load<T, N>(state + (s * H + u) * P + lane);
          Cell::forward(recurrent, input, before, active, after);
          for (int a = 0; a < A && activation; ++a) {
            if (layer.batch_sizes) keep_from<T, N>(active[a], V{}, lane, moving);
            store<T, N>(activation + (a * H + u) * P + lane, active[a]);
          }
          for (int s = Cell::kProjects; s < S; ++s) {
            const int64_t at_state = (s * H + u) * P + lane;
            if (mixes) {
              const V hold = load<T, N>(layer.hold_lanes + at_state);
              after[s] = hold * load<T, N>(start + at_state) + (1 - hold) * after[s];
            }
            if (layer.batch_sizes) keep_from<T, N>(after[s], before[s], lane, moving);
            store<T, N>(next + at_state, after[s]);
          }
          if (!Cell::kProjects && layer.state_scale) after[0] *= load<T, N>(layer.scale_lanes + u * P + lane);
          store<T, N>(next_operand + to.offset + u * to.stride, after[0]);
        }
      });
    });
    for (int64_t lane = done; lane < P; lane += 4) {  // nothing moves here
      const LanePlace place = lane_place<T>(lane, P, H);
      for (int64_t u = first; u < first + count; ++u) {
        for (int a = 0; a < A && activation; ++a) store<T, 4>(activation + (a * H + u) * P + lane, Vector<T, 4>{});
        for (int s = Cell::kProjects; s < S; ++s) {
          store<T, 4>(next + (s * H + u) * P + lane, load<T, 4>(state + (s * H + u) * P + lane));
        }
        if constexpr (!Cell::kProjects) {
          const int64_t at = place.offset + u * place.stride;
          store<T, 4>(next_operand + at, load<T, 4>(operand + at));
        }
      }
    }
    if constexpr (Cell::kProjects) clear_channels(next, P, rows_from(O, {first, first + count}));
  }

  static void load_hold(const Layer<T>& layer, int64_t t, Range units, Range outputs) {
    if (!layer.hold) return;
    const int64_t B = layer.batch, H = layer.hidden, P = layer.lanes;
    for (int s = 0; s < S; ++s) {
      const T* hold = layer.hold + (t * S + s) * B * H;
      rows_to_lanes(hold, B, H, P, layer.hold_lanes + s * H * P, channels(s, units, outputs));
    }
  }

  static void load_scale(const Layer<T>& layer, Range outputs) {
    if (layer.state_scale) {
      rows_to_lanes(layer.state_scale, layer.batch, layer.hidden, layer.lanes, layer.scale_lanes, outputs);
    }
  }

  // --------------------------------------------------------------------------------------------------- backward

  static void backward(const BackwardPass<T>& pass, const Worker& worker) {
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
    for (int64_t d = 0; d < layer.depth; ++d) gather_owned_rows(layer.recurrent_weight[d], H, units);
    if (pass.grad_input) gather_owned_rows(layer.input_weight, H, units);
    wait_for_team(worker);
    if constexpr (Cell::kProjects) {
      pack_columns(layer.projection.weight, layer.projection.panels, before, next, hidden_chunks);
      clear_channels(pass.carry, P, rows_from(layer.outputs, units));
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
      if (d == layer.depth - 1) load_hold(layer, t, units, outputs);
      if constexpr (Cell::kProjects) {
        Project::split(pass, t, outputs);
        wait_for_team(worker);
        for (int64_t chunk = hidden_chunks.begin; chunk < hidden_chunks.end; ++chunk) {
          Project::hidden_chunk(pass, chunk, lanes_of(layer, t), sums);
        }
      }
      backward_units(pass, step, gates, units);
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
      lanes_to_rows(pass.carry, B, H, P, pass.grad_state, rows_from(layer.outputs, units));
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
    add_rows_to_lanes(pass.grad_output + t * pass.layer.batch * pass.layer.outputs, pass.layer.moving(t),
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
  static void backward_units(const BackwardPass<T>& pass, int64_t step, T* gates, Range units) {
    constexpr int64_t kBlock = 32;  // units whose numbers stay in the first-level cache
    for (int64_t u = units.begin; u < units.end; u += kBlock) {
      backward_block(pass, step, gates, {u, u + kBlock < units.end ? u + kBlock : units.end});
    }
  }

  static void backward_block(const BackwardPass<T>& pass, int64_t step, T* gates, Range units) {
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
    for_lanes<T>(P, [&]<int N>(int64_t lane) {
      using V = Vector<T, N>;
      const LanePlace to = lane_place<T>(lane, P, G * H);
      for (int64_t u = units.begin; u < units.end; ++u) {
        V active[A], before[S], grad_next[S], kept[S], recurrent[G], input[G]{}, grad_before[S];
        for (int a = 0; a < A; ++a) active[a] = load<T, N>(activation + (a * H + u) * P + lane);
        for (int s = 0; s < S; ++s) {
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
        for (int s = Cell::kProjects; s < S; ++s) {
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
      multiply_tiles<T>(layer.input_panels, own.input_chunks, layer.tiling, tiles, pass.input_gate_tiles, nullptr,
                        pass.grad_input);
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

  // ---------------------------------------------------------------------------------------------------- tangent

  static void tangent(const TangentPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, B = layer.batch, K = pass.vectors, Q = pass.vector_lanes, O = layer.outputs;
    const Range units = owned_units(layer, worker);
    Range outputs = units, absent{0, 0};
    if constexpr (Cell::kProjects) {
      outputs = share_by_cost(worker, O, layer.projection.weight.pattern.row_offsets, 1);
      gather_rows(layer.projection.weight, outputs.begin, outputs.end);
      absent = rows_from(O, units);
    }
    if (pass.input_tangent) gather_owned_rows(layer.input_weight, H, units);
    for (int64_t d = 0; d < layer.depth; ++d) gather_owned_rows(layer.recurrent_weight[d], H, units);
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
        for (int64_t b = 0; b < B; ++b) tangent_units(pass, step, d, b, units, outputs);
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

  static void tangent_units(const TangentPass<T>& pass, int64_t step, int64_t d, int64_t b, Range units,
                            Range outputs) {
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
          if constexpr (Cell::kProjects) {
            store<T, N>(layer.projection.hidden + (b * H + u) * Q + slice + at, d_after[0]);
          }
          for (int s = Cell::kProjects; s < S; ++s) {
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
                          Cell::kProjects,                     \
                          Recurrent<Cell, float>::kernels(),   \
                          Recurrent<Cell, double>::kernels()}; \
  }                                                            \
  }
