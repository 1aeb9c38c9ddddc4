// A forward pass over a few batch items on the CPU, written once for every cell: lanes are units (sparsity/lookup.h).
//
// Each worker owns slices of hidden units, all gates of them; the team meets once per micro-step. States stand item by
// item while the pass runs and are put into the trajectory's lanes beside it. Bound by reading the matrix.
#pragma once

#include "cells/cell.h"
#include "cells/recurrence.h"
#include "sparsity/lookup.simd.h"
#include "sparsity/tiles.simd.h"

namespace lsh {
namespace LSH_LEVEL {

constexpr int64_t kFewLanes = (kFewItems + 3) / 4 * 4;

// (B, H) row-major to (H, P) lanes for the units [begin, end).
template <class T>
static void rows_to_lanes(const T* rows, int64_t batch, int64_t hidden, int64_t lanes, T* out, Range units) {
  for (int64_t u = units.begin; u < units.end; ++u) {
    for (int64_t b = 0; b < batch; ++b) out[u * lanes + b] = rows[b * hidden + u];
    for (int64_t b = batch; b < lanes; ++b) out[u * lanes + b] = 0;
  }
}

// Numbers of `lanes` items of a register of units, a vector an item, into `count` rows of lanes.
template <class T>
LSH_INLINE void vectors_to_lanes(const T* vectors, int64_t count, T* out, int64_t lanes) {
  constexpr int W = kWidth<T>;
  for (int64_t lane = 0; lane < lanes; lane += 4) {
    int64_t u = 0;
    if constexpr (W >= 4) {
      for (; u + 4 <= count; u += 4) {
        Vector<T, 4> block[4];
        for (int i = 0; i < 4; ++i) block[i] = load<T, 4>(vectors + (lane + i) * W + u);
        transpose<T, 4>(block);
        for (int j = 0; j < 4; ++j) store<T, 4>(out + (u + j) * lanes + lane, block[j]);
      }
    }
    for (; u < count; ++u) {
      for (int i = 0; i < 4; ++i) out[u * lanes + lane + i] = vectors[(lane + i) * W + u];
    }
  }
}

template <class Cell, class T>
struct Few {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations, W = kWidth<T>;
  using V = Vector<T, W>;

  // A register of units of which the last ones may not exist.
  static V load_units(const T* p, int64_t count) {
    return count == W ? load<T, W>(p) : load_first<T, W>(p, int(count));
  }

  static void forward(const ForwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
    const LookupPlan& plan = layer.recurrent_lookup[0].plan;
    const int64_t stored = plan.stored_columns();
    const Range slices = share_blocks_by_cost(worker, H, W, layer.recurrent_weight[0].pattern.row_offsets, G);
    const Range units{slices.begin * W, slices.end * W < H ? slices.end * W : H};

    for (int64_t d = 0; d < layer.depth; ++d) pack_slices(layer.recurrent_weight[d], layer.recurrent_lookup[d], slices);
    for (int s = 0; s < S; ++s) rows_to_lanes(pass.state + s * B * H, B, H, P, pass.states + s * H * P, units);
    for (int64_t b = 0; b < B; ++b) {
      for (int64_t u = units.begin; u < units.end; ++u) {
        for (int s = 0; s < S; ++s) pass.few_states[(s * B + b) * stored + u] = pass.state[(s * B + b) * H + u];
        const T scale = layer.state_scale ? layer.state_scale[b * H + u] : T(1);
        pass.few_operands[b * stored + u] = pass.state[b * H + u] * scale;
      }
    }
    project(pass, worker);
    wait_for_team(worker);

    for (int64_t t = 0; t < layer.steps; ++t) {
      for (int64_t d = 0; d < layer.depth; ++d) {
        for (int64_t slice = slices.begin; slice < slices.end; ++slice) move_slice(pass, t, d, slice);
        wait_for_team(worker);
      }
    }
    for (int s = 0; s < S; ++s) {
      for (int64_t b = 0; b < B; ++b) {
        const T* last = pass.few_states + (s * B + b) * stored;
        for (int64_t u = units.begin; u < units.end; ++u) pass.final_state[(s * B + b) * H + u] = last[u];
      }
    }
  }

  // The input's share of the gates of all steps, W x + b, row by row.
  static void project(const ForwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int32_t* cost = layer.input_weight.pattern.row_offsets;
    const int64_t items = layer.steps * layer.batch;
    if (items > kFewItems) {
      const Range chunks = share_chunks(worker, layer.input_panels.plan, cost);
      pack_rows(layer.input_weight, layer.input_panels, chunks);
      prepare_tiles(layer.tiling, layer.input_size, pass.input, pass.input_tiles, worker);
      wait_for_team(worker);
      multiply_tiles(layer.input_panels, chunks, layer.tiling, pass.input_tiles, layer.input_bias, pass.projected);
      return;
    }
    const Range slices = share_slices(worker, pass.input_lookup.plan, cost);
    pack_slices(layer.input_weight, pass.input_lookup, slices);
    store_few(pass.input_lookup.plan, pass.input, items, pass.input_tiles, worker);
    wait_for_team(worker);
    multiply_few(pass.input_lookup, slices, pass.input_tiles, items, layer.input_bias, pass.projected);
  }

  // A micro-step of a slice of units.
  static void move_slice(const ForwardPass<T>& pass, int64_t t, int64_t d, int64_t slice) {
    const Layer<T>& layer = pass.layer;
    const LookupPlan& plan = layer.recurrent_lookup[d].plan;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, stored = plan.stored_columns();
    const int64_t step = t * layer.depth + d, first = slice * W, count = plan.units_in(slice);
    const bool last = d == layer.depth - 1, mixes = layer.hold && last;
    const T* operand = pass.few_operands + step % 2 * B * stored;
    T* next_operand = pass.few_operands + (step + 1) % 2 * B * stored;
    alignas(64) T sums[kFewItems * G * W];
    alignas(64) T active_vectors[A][kFewLanes * W], state_vectors[S][kFewLanes * W];
    multiply_slice(layer.recurrent_lookup[d], slice, operand, B, sums);
    for (int64_t b = 0; b < B; ++b) {
      const bool moves = b < layer.moving(t);
      V recurrent[G], input[G], before[S], active[A], after[S];
      for (int g = 0; g < G; ++g) {
        const int64_t row = g * H + first;
        recurrent[g] = load<T, W>(sums + (b * G + g) * W);
        if (layer.recurrent_bias) recurrent[g] += load_units(layer.recurrent_bias + d * G * H + row, count);
        input[g] = d == 0 ? load<T, W>(pass.projected + (t * B + b) * G * H + row) : V{};
      }
      for (int s = 0; s < S; ++s) before[s] = load<T, W>(pass.few_states + (s * B + b) * stored + first);
      Cell::forward(recurrent, input, before, active, after);
      for (int a = 0; a < A; ++a) store<T, W>(active_vectors[a] + b * W, moves ? active[a] : V{});
      for (int s = 0; s < S; ++s) {
        T* start = pass.few_states + ((S + s) * B + b) * stored + first;
        if (layer.hold && d == 0) store<T, W>(start, before[s]);
        if (mixes) {
          const V hold = load_units(layer.hold + ((t * S + s) * B + b) * H + first, count);
          after[s] = hold * load<T, W>(start) + (1 - hold) * after[s];
        }
        if (!moves) after[s] = before[s];
        store<T, W>(state_vectors[s] + b * W, after[s]);
        store<T, W>(pass.few_states + (s * B + b) * stored + first, after[s]);
      }
      if (last) {
        T* output = pass.output + (t * B + b) * H + first;
        const V out = moves ? after[0] : V{};
        if (count == W) {
          store<T, W>(output, out);
        } else {
          store_first<T, W>(output, out, int(count));
        }
      }
      if (layer.state_scale) after[0] *= load_units(layer.state_scale + b * H + first, count);
      store<T, W>(next_operand + b * stored + first, after[0]);
    }
    for (int a = 0; a < A; ++a) {
      clear_items(active_vectors[a], B);
      vectors_to_lanes(active_vectors[a], count, pass.activations + ((step * A + a) * H + first) * P, P);
    }
    for (int s = 0; s < S; ++s) {
      clear_items(state_vectors[s], B);
      vectors_to_lanes(state_vectors[s], count, pass.states + (((step + 1) * S + s) * H + first) * P, P);
    }
  }

  // Items beyond the batch, up to a multiple of 4, become zero.
  static void clear_items(T* vectors, int64_t batch) {
    for (int64_t b = batch; b % 4; ++b) store<T, W>(vectors + b * W, V{});
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
