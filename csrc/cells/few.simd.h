// A forward pass over a few batch items on the CPU, written once for every cell: lanes are units (sparsity/lookup.h).
//
// Each worker owns slices of hidden units, all gates of them; the team meets once per micro-step. States stand item by
// item while the pass runs and are put into the trajectory's lanes beside it. Bound by reading the matrix.
#pragma once

#include "cells/cell.h"
#include "cells/projection.simd.h"
#include "cells/recurrence.h"
#include "cells/step.simd.h"
#include "sparsity/lookup.simd.h"
#include "sparsity/tiles.simd.h"

namespace lsh {
namespace LSH_LEVEL {

template <class Cell, class T>
struct Few {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations, W = kWidth<T>;
  static constexpr int64_t kSlices = 4;  // that are moved together
  using V = Vector<T, W>;

  // A register of units of which the last ones may not exist.
  static V load_units(const T* p, int64_t count) {
    return count == W ? load<T, W>(p) : load_first<T, W>(p, int(count));
  }

  static void forward(const ForwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, O = layer.outputs, stride = pass.state_stride;
    const int64_t stored = layer.recurrent_lookup[0].plan.stored_columns();
    const Range slices = share_blocks_by_cost(worker, H, W, layer.recurrent_weight[0].pattern.row_offsets, G);
    const Range units{slices.begin * W < H ? slices.begin * W : H, slices.end * W < H ? slices.end * W : H};

    for (int64_t d = 0; d < layer.depth; ++d) pack_slices(layer.recurrent_weight[d], layer.recurrent_lookup[d], slices);
    Range output_slices = slices;
    if constexpr (Cell::kProjects) {
      const Projection<T>& projection = layer.projection;
      output_slices = share_slices(worker, projection.lookup.plan, projection.weight.pattern.row_offsets);
      pack_slices(projection.weight, projection.lookup, output_slices);
    }
    if (pass.keeps_trajectory()) {
      for (int s = 0; s < S; ++s) rows_to_lanes(pass.state + s * B * H, B, H, P, pass.states + s * H * P, units);
      if constexpr (Cell::kProjects) clear_channels(pass.states, P, rows_beyond(O, units));
    }
    for (int64_t b = 0; b < B; ++b) {
      for (int64_t u = units.begin; u < units.end; ++u) {
        for (int s = 0; s < S; ++s) pass.few_states[(s * B + b) * stride + u] = pass.state[(s * B + b) * H + u];
        if (u >= O) {
          pass.few_states[b * stride + u] = 0;
          continue;
        }
        const T scale = layer.state_scale ? layer.state_scale[b * H + u] : T(1);
        pass.few_operands[b * stored + u] = pass.state[b * H + u] * scale;
      }
    }
    const Range projected = prepare_input(pass, worker);
    wait_for_team(worker);

    for (int64_t t = 0; t < layer.steps; ++t) {
      if (t % pass.projected_steps == 0) {
        project(pass, t / pass.projected_steps, projected);
        wait_for_team(worker);
      }
      for (int64_t d = 0; d < layer.depth; ++d) {
        for (int64_t slice = slices.begin; slice < slices.end; slice += kSlices) {
          move_slices(pass, t, d, {slice, slice + kSlices < slices.end ? slice + kSlices : slices.end});
        }
        wait_for_team(worker);
      }
      if constexpr (Cell::kProjects) {
        for (int64_t slice = output_slices.begin; slice < output_slices.end; ++slice) {
          Projected<T, S>::forward_slice(pass, t, slice);
        }
        wait_for_team(worker);
      }
    }
    for (int s = 0; s < S; ++s) {
      for (int64_t b = 0; b < B; ++b) {
        const T* last = pass.few_states + (s * B + b) * stride;
        for (int64_t u = units.begin; u < units.end; ++u) pass.final_state[(s * B + b) * H + u] = last[u];
      }
    }
  }

  // Whether the inputs of the whole sequence are as few as those of a step may be.
  static bool few_inputs(const Layer<T>& layer) { return layer.steps * layer.batch <= kFewItems; }

  // Packs the input's weight and lays the inputs out. Returns the slices, or the chunks, whose products the worker
  // owns.
  static Range prepare_input(const ForwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int32_t* cost = layer.input_weight.pattern.row_offsets;
    if (few_inputs(layer)) {
      const Range slices = share_slices(worker, pass.input_lookup.plan, cost);
      pack_slices(layer.input_weight, pass.input_lookup, slices);
      store_few(pass.input_lookup.plan, pass.input, layer.steps * layer.batch, pass.input_tiles, worker);
      return slices;
    }
    const Range chunks = share_chunks(worker, layer.input_panels.plan, cost);
    pack_rows(layer.input_weight, layer.input_panels, chunks);
    prepare_tiles(layer.tiling, layer.input_size, pass.input, pass.input_tiles, worker);
    return chunks;
  }

  // The input's share of the gates, W x + b, row by row: of a tile's steps, or of all where these are few.
  static void project(const ForwardPass<T>& pass, int64_t tile, Range own) {
    const Layer<T>& layer = pass.layer;
    if (few_inputs(layer)) {
      const int64_t items = layer.steps * layer.batch;
      return multiply_few(pass.input_lookup, own, pass.input_tiles, items, layer.input_bias, pass.projected);
    }
    const T* x = pass.input_tiles + tile * layer.input_size * layer.tiling.lanes;
    multiply_tiles(layer.input_panels, own, layer.tiling, {tile, tile + 1}, x, layer.input_bias, pass.projected);
  }

  // A micro-step of a few slices of units: first all products, then all maps, side by side where the slices are as many
  // as that takes.
  static void move_slices(const ForwardPass<T>& pass, int64_t t, int64_t d, Range slices) {
    const int64_t B = pass.layer.batch;
    alignas(64) T sums[kSlices * kFewItems * G * W];
    T* at = sums;
    for (int64_t slice = slices.begin; slice < slices.end; ++slice, at += B * G * W) {
      multiply_slice(pass.layer.recurrent_lookup[d], slice, pass.few_operands + operand_at(pass, t, d), B, at);
    }
    if (slices.end - slices.begin == kSlices) return map_slices<kSlices>(pass, t, d, slices.begin, sums);
    at = sums;
    for (int64_t slice = slices.begin; slice < slices.end; ++slice, at += B * G * W) {
      map_slices<1>(pass, t, d, slice, at);
    }
  }

  // Where the operand of a micro-step stands among the two.
  static int64_t operand_at(const ForwardPass<T>& pass, int64_t t, int64_t d) {
    const Layer<T>& layer = pass.layer;
    return (t * layer.depth + d) % 2 * layer.batch * layer.recurrent_lookup[d].plan.stored_columns();
  }

  // A micro-step of K slices of units from `slice` on, whose products are there.
  template <int K>
  static void map_slices(const ForwardPass<T>& pass, int64_t t, int64_t d, int64_t slice, const T* sums) {
    using Units = Several<V, K>;
    const Layer<T>& layer = pass.layer;
    const LookupPlan& plan = layer.recurrent_lookup[d].plan;
    const int64_t H = layer.hidden, B = layer.batch, stored = plan.stored_columns(), stride = pass.state_stride;
    const int64_t step = t * layer.depth + d;
    const bool last = d == layer.depth - 1, mixes = layer.hold && last, keeps = pass.keeps_trajectory();
    T* next_operand = Cell::kProjects ? layer.projection.hidden : pass.few_operands + (step + 1) % 2 * B * stored;
    const int64_t next_stored = Cell::kProjects ? stride : stored;
    alignas(64) T active_vectors[K][A][kFewLanes * W], state_vectors[K][S][kFewLanes * W];
    for (int64_t b = 0; b < B; ++b) {
      const bool moves = b < layer.moving(t);
      Units recurrent[G], input[G], before[S], active[A], after[S];
      LSH_UNROLL for (int k = 0; k < K; ++k) {
        const int64_t first = (slice + k) * W, count = plan.units_in(slice + k);
        LSH_UNROLL for (int g = 0; g < G; ++g) {
          const int64_t row = g * H + first;
          V& here = recurrent[g].part[k] = load<T, W>(sums + ((k * B + b) * G + g) * W);
          if (layer.recurrent_bias) here += load_units(layer.recurrent_bias + d * G * H + row, count);
          const T* projected = pass.projected + (t % pass.projected_steps * B + b) * G * H + row;
          input[g].part[k] = d == 0 ? load<T, W>(projected) : V{};
        }
        LSH_UNROLL for (int s = 0; s < S; ++s) {
          before[s].part[k] = load<T, W>(pass.few_states + (s * B + b) * stride + first);
        }
      }
      Cell::forward(recurrent, input, before, active, after);
      LSH_UNROLL for (int k = 0; k < K; ++k) {
        const int64_t first = (slice + k) * W, count = plan.units_in(slice + k);
        LSH_UNROLL for (int a = 0; a < A && keeps; ++a) {
          store<T, W>(active_vectors[k][a] + b * W, moves ? active[a].part[k] : V{});
        }
        LSH_UNROLL for (int s = Cell::kProjects; s < S; ++s) {
          T* start = pass.few_states + ((S + s) * B + b) * stride + first;
          V& here = after[s].part[k];
          if (layer.hold && d == 0) store<T, W>(start, before[s].part[k]);
          if (mixes) {
            const V hold = load_units(layer.hold + ((t * S + s) * B + b) * H + first, count);
            here = hold * load<T, W>(start) + (1 - hold) * here;
          }
          if (!moves) here = before[s].part[k];
          if (keeps) store<T, W>(state_vectors[k][s] + b * W, here);
          store<T, W>(pass.few_states + (s * B + b) * stride + first, here);
        }
        V operand = after[0].part[k];
        if (last && !Cell::kProjects) {
          T* output = pass.output + (t * B + b) * H + first;
          const V out = moves ? operand : V{};
          if (count == W) {
            store<T, W>(output, out);
          } else {
            store_first<T, W>(output, out, int(count));
          }
        }
        if (!Cell::kProjects && layer.state_scale) operand *= load_units(layer.state_scale + b * H + first, count);
        store<T, W>(next_operand + b * next_stored + first, operand);
      }
    }
    for (int k = 0; k < K && keeps; ++k) keep_slice(pass, step, slice + k, active_vectors[k], state_vectors[k]);
  }

  // What a trajectory keeps of a slice's micro-step, an item after the other, into its lanes.
  static void keep_slice(const ForwardPass<T>& pass, int64_t step, int64_t slice, T (&active)[A][kFewLanes * W],
                         T (&states)[S][kFewLanes * W]) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
    const int64_t first = slice * W, count = H - first < W ? H - first : W;
    for (int a = 0; a < A; ++a) {
      clear_items(active[a], B);
      vectors_to_lanes(active[a], count, pass.activations + ((step * A + a) * H + first) * P, P);
    }
    for (int s = Cell::kProjects; s < S; ++s) {
      clear_items(states[s], B);
      vectors_to_lanes(states[s], count, pass.states_at(step + 1, S) + (s * H + first) * P, P);
    }
    if constexpr (Cell::kProjects) {
      clear_channels(pass.states_at(step + 1, S), P, rows_beyond(layer.outputs, {first, first + count}));
    }
  }

  // Items beyond the batch, up to a multiple of 4, become zero.
  static void clear_items(T* vectors, int64_t batch) {
    for (int64_t b = batch; b % 4; ++b) store<T, W>(vectors + b * W, V{});
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
