// Values of a sequence on the CPU, written once for every cell.
//
// Bound by the loads of the sparse product (panels.simd.h); the pointwise maps run on a chunk's lanes while its sums
// are still in the first-level cache.
#pragma once

#include "cells/cell.h"
#include "cells/few.simd.h"
#include "cells/owned.simd.h"
#include "cells/projection.simd.h"
#include "sparsity/tiles.simd.h"

namespace lsh {
namespace LSH_LEVEL {

template <class Cell, class T>
struct Forward {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;
  using Project = Projected<T, S>;

  static void run(const ForwardPass<T>& pass, const Worker& worker) {
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
      clear_channels(pass.states, P, rows_beyond(O, units));
    }

    pack_rows(layer.input_weight, layer.input_panels, chunks);
    for (int64_t d = 0; d < layer.depth; ++d) pack_rows(layer.recurrent_weight[d], layer.recurrent_panels[d], chunks);
    for (int s = 0; s < S; ++s) {
      rows_to_lanes(pass.state + s * B * H, B, H, P, pass.states + s * H * P, channels(s, units, outputs));
    }
    load_scale(layer, outputs);
    for (int i = 0; i < 2; ++i) clear_padding(pass.operand + i * O * padded_lanes(P), O, P, outputs);
    if constexpr (Cell::kProjects) clear_padding(layer.projection.hidden, H, P, units);
    for (int64_t lane = 0; lane < P; lane += 4) {
      const LanePlace place = lane_place<T>(lane, P, O);
      for (int64_t u = outputs.begin; u < outputs.end; ++u) {
        Vector<T, 4> state = load<T, 4>(pass.states + u * P + lane);
        if (layer.state_scale) state *= load<T, 4>(layer.scale_lanes + u * P + lane);
        store<T, 4>(pass.operand + place.offset + u * place.stride, state);
      }
    }
    prepare_tiles(layer.tiling, layer.input_size, pass.input, pass.input_tiles, worker);
    for (int64_t gate = 0; gate < layer.tiling.steps_per_tile * G; ++gate) {  // lanes without an item
      for (int64_t u = units.begin; u < units.end; ++u) {
        for (int64_t lane = B; lane < P; ++lane) pass.projected_tile[(gate * H + u) * P + lane] = 0;
      }
    }
    wait_for_team(worker);

    ChunkSums<T> sums;
    for (int64_t t = 0; t < layer.steps; ++t) {
      const int64_t tile = t / layer.tiling.steps_per_tile, in_tile = t % layer.tiling.steps_per_tile;
      if (in_tile == 0) project(pass, tile, chunks, sums);
      load_hold<S>(layer, t, units, outputs);
      for (int64_t d = 0; d < layer.depth; ++d) {
        const T* projected = d == 0 ? pass.projected_tile + in_tile * G * H * P : nullptr;
        for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
          move_chunk(pass, t * layer.depth + d, d, projected, chunk, sums);
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
    for (int64_t begin = 0; begin < used; begin += cached) {
      const int64_t end = begin + cached < used ? begin + cached : used;
      for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        const int64_t first = chunk * plan.chunk_units, count = plan.units_in(chunk);
        for_slabs_between<T>(begin, end, lanes, [&](const Slab& slab) {
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

  // Where a few lanes of a chunk's units stand: of unit i and channel c, which is a gate, a state or an activation.
  template <class Number>
  struct Lanes {
    Number* first;
    int64_t unit, channel;

    Number* operator()(int64_t c, int64_t i) const { return first + c * channel + i * unit; }
  };

  // All that the maps of a few lanes of a chunk read and write.
  struct Chunk {
    Lanes<const T> sums, bias, input, state;
    Lanes<T> next, operand, activation;
  };

  // The cell's maps for N lanes of K units from the chunk's i-th on, side by side.
  template <int N, int K, bool kKeep>
  LSH_INLINE void map_units(const Chunk& chunk, int64_t i) {
    using Units = Several<Vector<T, N>, K>;
    Units recurrent[G], input[G], before[S], active[A], after[S];
    LSH_UNROLL for (int k = 0; k < K; ++k) {
      LSH_UNROLL for (int g = 0; g < G; ++g) {
        recurrent[g].part[k] = load<T, N>(chunk.sums(g, i + k)) + *chunk.bias(g, i + k);
        input[g].part[k] = load<T, N>(chunk.input(g, i + k));
      }
      LSH_UNROLL for (int s = 0; s < S; ++s) before[s].part[k] = load<T, N>(chunk.state(s, i + k));
    }
    Cell::forward(recurrent, input, before, active, after);
    LSH_UNROLL for (int k = 0; k < K; ++k) {
      LSH_UNROLL for (int a = 0; a < A && kKeep; ++a) store<T, N>(chunk.activation(a, i + k), active[a].part[k]);
      LSH_UNROLL for (int s = Cell::kProjects; s < S; ++s) store<T, N>(chunk.next(s, i + k), after[s].part[k]);
      store<T, N>(chunk.operand(0, i + k), after[0].part[k]);
    }
  }

  template <int N, bool kKeep>
  static void map_chunk(const Chunk& chunk, int64_t count) {
    const Chunk here = chunk;  // no store reaches it
    int64_t i = 0;
    for (; i + kAbreast<T> <= count; i += kAbreast<T>) map_units<N, kAbreast<T>, kKeep>(here, i);
    for (; i < count; ++i) map_units<N, 1, kKeep>(here, i);
  }

  // What was just mapped, where some items rest, states are held back, or an operand is scaled; by lanes from `lane` on
  // of the units from `first` on.
  template <int N>
  static void bend_chunk(const ForwardPass<T>& pass, int64_t step, const Chunk& chunk, int64_t lane, int64_t first,
                         int64_t count) {
    using V = Vector<T, N>;
    const Layer<T>& layer = pass.layer;
    const int64_t t = step / layer.depth, H = layer.hidden, P = layer.lanes, moving = layer.moving(t);
    const bool mixes = layer.hold && step % layer.depth == layer.depth - 1;
    const T* start = pass.states_at(t * layer.depth, S);
    for (int64_t i = 0; i < count; ++i) {
      for (int a = 0; a < A && pass.keeps_trajectory() && layer.batch_sizes; ++a) {
        V active = load<T, N>(chunk.activation(a, i));
        keep_from<T, N>(active, V{}, lane, moving);
        store<T, N>(chunk.activation(a, i), active);
      }
      for (int s = Cell::kProjects; s < S; ++s) {
        V after = load<T, N>(chunk.next(s, i));
        if (mixes) {
          const int64_t at_state = (s * H + first + i) * P + lane;
          const V hold = load<T, N>(layer.hold_lanes + at_state);
          after = hold * load<T, N>(start + at_state) + (1 - hold) * after;
        }
        if (layer.batch_sizes) keep_from<T, N>(after, load<T, N>(chunk.state(s, i)), lane, moving);
        store<T, N>(chunk.next(s, i), after);
      }
      if constexpr (!Cell::kProjects) {
        V operand = load<T, N>(chunk.next(0, i));
        if (layer.state_scale) operand *= load<T, N>(layer.scale_lanes + (first + i) * P + lane);
        store<T, N>(chunk.operand(0, i), operand);
      }
    }
  }

  static void move_chunk(const ForwardPass<T>& pass, int64_t step, int64_t d, const T* projected, int64_t chunk,
                         ChunkSums<T>& sums) {
    alignas(64) static constexpr T kNothing[kWidth<T>] = {};
    const Layer<T>& layer = pass.layer;
    const PanelPlan& plan = layer.recurrent_panels[d].plan;
    const int64_t H = layer.hidden, P = layer.lanes, O = layer.outputs;
    const int64_t most = lanes_of(layer, step / layer.depth);
    const int64_t stored = padded_lanes(P), first = chunk * plan.chunk_units, count = plan.units_in(chunk);
    const T* state = pass.states_at(step, S);
    const T* operand = pass.operand + step % 2 * O * stored;
    T* next = pass.states_at(step + 1, S);
    T* next_operand = Cell::kProjects ? layer.projection.hidden : pass.operand + (step + 1) % 2 * O * stored;
    T* activation = pass.keeps_trajectory() ? pass.activations + step * A * H * P : nullptr;
    const T* bias = layer.recurrent_bias ? layer.recurrent_bias + d * G * H : nullptr;
    int64_t done = 0;
    for_slabs<T>(most, [&](const Slab& used) {
      const Slab slab = slab_at<T>(used.first, P);
      multiply_chunk(layer.recurrent_panels[d], chunk, operand, slab, sums);
      const int64_t end = used.first + kSlabLanes<T>;
      done = end < P ? end : P;
      for_lanes<T>(done - slab.first, [&]<int N>(int64_t at) {
        const int64_t lane = slab.first + at, here = first * P + lane;
        const LanePlace sum = sums.place(slab, at), to = lane_place<T>(lane, P, H);
        const Lanes<const T> nothing{kNothing, 0, 0};
        const Chunk lanes{{sums.numbers + sum.offset, sum.stride, count * sum.stride},
                          bias ? Lanes<const T>{bias + first, 1, H} : nothing,
                          projected ? Lanes<const T>{projected + here, P, H * P} : nothing,
                          {state + here, P, H * P},
                          {next + here, P, H * P},
                          {next_operand + to.offset + first * to.stride, to.stride, 0},
                          {activation ? activation + here : nullptr, P, H * P}};
        activation ? map_chunk<N, true>(lanes, count) : map_chunk<N, false>(lanes, count);
        if (layer.hold || layer.batch_sizes || layer.state_scale) {
          bend_chunk<N>(pass, step, lanes, lane, first, count);
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
    if constexpr (Cell::kProjects) clear_channels(next, P, rows_beyond(O, {first, first + count}));
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
