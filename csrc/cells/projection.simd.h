// The output of a cell that projects (cell.h) between its steps on the CPU, h = R_1 · next[0], and back.
//
// Each worker owns a range of outputs beside its range of hidden units, and the team meets once more in a step.
#pragma once

#include "cells/recurrence.h"
#include "cells/step.simd.h"
#include "sparsity/lookup.simd.h"
#include "sparsity/panels.simd.h"
#include "sparsity/product.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// The units of a plan's chunks.
static inline Range units_of(const PanelPlan& plan, Range chunks) {
  const int64_t begin = chunks.begin * plan.chunk_units, end = chunks.end * plan.chunk_units, all = plan.units;
  return {begin < all ? begin : all, end < all ? end : all};  // the last chunk may be cut, and a share without chunks
}

// The rows [begin, end) without those before row `first`.
static inline Range rows_beyond(int64_t first, Range rows) {
  const int64_t begin = rows.begin > first ? rows.begin : first;
  return {begin, rows.end > begin ? rows.end : begin};
}

template <class T, int S>
struct Projected {
  // ---------------------------------------------------------------------------------------------------- forward

  // state[0] behind step t of a chunk of outputs, and the operand of step t + 1.
  static void forward_chunk(const ForwardPass<T>& pass, int64_t t, int64_t most, int64_t chunk, ChunkSums<T>& sums) {
    const Layer<T>& layer = pass.layer;
    const PanelMatrix<T>& matrix = layer.projection.panels;
    const int64_t H = layer.hidden, P = layer.lanes, O = layer.outputs, moving = layer.moving(t);
    const int64_t first = chunk * matrix.plan.chunk_units, end = first + matrix.plan.units_in(chunk);
    const T* state = pass.states_at(t, S);
    T* next = pass.states_at(t + 1, S);
    const T* operand = pass.operand + t % 2 * O * padded_lanes(P);
    T* next_operand = pass.operand + (t + 1) % 2 * O * padded_lanes(P);
    int64_t done = 0;
    for_slabs<T>(most, [&](const Slab& used) {
      const Slab slab = slab_at<T>(used.first, P);
      multiply_chunk(matrix, chunk, layer.projection.hidden, slab, sums);
      const int64_t stop = used.first + kSlabLanes<T>;
      done = stop < P ? stop : P;
      for_lanes<T>(done - slab.first, [&]<int N>(int64_t at) __attribute__((always_inline)) {
        using V = Vector<T, N>;
        const int64_t lane = slab.first + at;
        const LanePlace sum = sums.place(slab, at), to = lane_place<T>(lane, P, O);
        for (int64_t o = first; o < end; ++o) {
          V after = load<T, N>(sums.numbers + sum.offset + (o - first) * sum.stride);
          const V before = load<T, N>(state + o * P + lane);
          if (layer.hold) {
            const V hold = load<T, N>(layer.hold_lanes + o * P + lane);
            after = hold * before + (1 - hold) * after;
          }
          if (layer.batch_sizes) keep_from<T, N>(after, before, lane, moving);
          store<T, N>(next + o * P + lane, after);
          if (layer.state_scale) after *= load<T, N>(layer.scale_lanes + o * P + lane);
          store<T, N>(next_operand + to.offset + o * to.stride, after);
        }
      });
    });
    for (int64_t lane = done; lane < P; lane += 4) {  // nothing moves here
      const LanePlace place = lane_place<T>(lane, P, O);
      for (int64_t o = first; o < end; ++o) {
        store<T, 4>(next + o * P + lane, load<T, 4>(state + o * P + lane));
        const int64_t at = place.offset + o * place.stride;
        store<T, 4>(next_operand + at, load<T, 4>(operand + at));
      }
    }
  }

  // The same of a slice of outputs, for a few items.
  static void forward_slice(const ForwardPass<T>& pass, int64_t t, int64_t slice) {
    constexpr int W = kWidth<T>;
    using V = Vector<T, W>;
    const Layer<T>& layer = pass.layer;
    const LookupMatrix<T>& matrix = layer.projection.lookup;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, O = layer.outputs;
    const int64_t stored = layer.recurrent_lookup[0].plan.stored_columns();
    const int64_t first = slice * W, count = matrix.plan.units_in(slice);
    T* next_operand = pass.few_operands + (t + 1) % 2 * B * stored + first;
    const auto some = [&](const T* p) { return count == W ? load<T, W>(p) : load_first<T, W>(p, int(count)); };
    alignas(64) T sums[kFewItems * W];
    alignas(64) T vectors[kFewLanes * W] = {};
    multiply_slice(matrix, slice, layer.projection.hidden, B, sums);
    for (int64_t b = 0; b < B; ++b) {
      const bool moves = b < layer.moving(t);
      T* state = pass.few_states + b * pass.state_stride + first;
      V after = load<T, W>(sums + b * W);
      if (layer.hold) {
        const V hold = some(layer.hold + (t * S * B + b) * H + first);
        after = hold * load<T, W>(state) + (1 - hold) * after;
      }
      if (!moves) after = load<T, W>(state);
      store_first<T, W>(state, after, int(count));
      store<T, W>(vectors + b * W, after);
      store_first<T, W>(pass.output + (t * B + b) * O + first, moves ? after : V{}, int(count));
      if (layer.state_scale) after *= some(layer.state_scale + b * H + first);
      store<T, W>(next_operand + b * stored, after);
    }
    if (pass.keeps_trajectory()) vectors_to_lanes(vectors, count, pass.states_at(t + 1, S) + first * P, P);
  }

  // --------------------------------------------------------------------------------------------------- backward

  // Splits the gradient of state[0] behind step t: what goes round the step stays in the carry, what goes through the
  // projection is put where its product and its weight's gradient read it.
  static void split(const BackwardPass<T>& pass, int64_t t, Range outputs) {
    const Layer<T>& layer = pass.layer;
    const int64_t P = layer.lanes, L = layer.tiling.lanes, O = layer.outputs, moving = layer.moving(t);
    const int64_t tile = t / layer.tiling.steps_per_tile, in_tile = t % layer.tiling.steps_per_tile;
    T* projection_tile = pass.projection_tiles + tile % pass.kept_tiles * O * L;
    for_lanes<T>(P, [&]<int N>(int64_t lane) {
      using V = Vector<T, N>;
      const LanePlace to = lane_place<T>(lane, P, O);
      for (int64_t o = outputs.begin; o < outputs.end; ++o) {
        const V whole = load<T, N>(pass.carry + o * P + lane);
        V through = whole, around = V{};
        if (layer.hold) {
          around = load<T, N>(layer.hold_lanes + o * P + lane) * whole;
          through = (1 - load<T, N>(layer.hold_lanes + o * P + lane)) * whole;
        }
        if (layer.batch_sizes) {
          keep_from<T, N>(through, V{}, lane, moving);
          keep_from<T, N>(around, whole, lane, moving);
        }
        store<T, N>(pass.carry + o * P + lane, around);
        store<T, N>(pass.projection_gradient + to.offset + o * to.stride, through);
      }
    });
    const auto from = [&](int64_t lane) { return lane_place<T>(lane, P, O); };
    step_to_tile(pass.projection_gradient, from, layer.batch, outputs, projection_tile, O, layer.tiling.lanes_in(tile),
                 in_tile * layer.batch);
  }

  // The gradient of next[0] of a chunk of hidden units.
  static void hidden_chunk(const BackwardPass<T>& pass, int64_t chunk, int64_t most, ChunkSums<T>& sums) {
    const PanelMatrix<T>& matrix = pass.layer.projection.panels;
    const int64_t P = pass.layer.lanes, first = chunk * matrix.plan.chunk_units, count = matrix.plan.units_in(chunk);
    for_slabs<T>(most, [&](const Slab& used) {
      const Slab slab = slab_at<T>(used.first, P);
      multiply_chunk(matrix, chunk, pass.projection_gradient, slab, sums);
      const int64_t left = P - slab.first;
      for_lanes<T>(left < kSlabLanes<T> ? left : kSlabLanes<T>, [&]<int N>(int64_t at) {
        const LanePlace sum = sums.place(slab, at);
        for (int64_t i = 0; i < count; ++i) {
          store<T, N>(pass.hidden_carry + (first + i) * P + slab.first + at,
                      load<T, N>(sums.numbers + sum.offset + i * sum.stride));
        }
      });
    });
  }

  // ---------------------------------------------------------------------------------------------------- tangent

  // The tangent of state[0] behind step t of item b: outputs of the worker, tangents of next[0] being in `hidden`.
  static void tangent(const TangentPass<T>& pass, int64_t t, int64_t b, int64_t slice, T* sums, Range outputs) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, Q = pass.vector_lanes;
    if (b >= layer.moving(t)) return;
    const T* before = pass.current + (b * 2 + t % 2) * S * H * Q;
    T* after = pass.current + (b * 2 + (t + 1) % 2) * S * H * Q;
    T* next_operand = pass.operand ? pass.operand + (b * 2 + (t + 1) % 2) * H * Q : nullptr;
    const T* hidden = layer.projection.hidden + b * H * Q;
    for (int64_t o = outputs.begin; o < outputs.end; ++o) {
      for (int64_t from = 0; from < Q; from += slice) {
        const int64_t width = Q - from < slice ? Q - from : slice;
        multiply<T>(layer.projection.weight, o, hidden + from, Q, width, sums);
        for_lanes<T>(width, [&]<int N>(int64_t at) {
          Vector<T, N> moved = load<T, N>(sums + at);
          if (layer.hold) {
            const T hold = layer.hold[(t * S * layer.batch + b) * H + o];
            moved = hold * load<T, N>(before + o * Q + from + at) + (1 - hold) * moved;
          }
          store<T, N>(after + o * Q + from + at, moved);
          if (next_operand) {
            store<T, N>(next_operand + o * Q + from + at, layer.state_scale[b * H + o] * moved);
          }
        });
      }
    }
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
