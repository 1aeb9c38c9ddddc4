// What a worker owns of a layer for a whole sequence, and brings into lanes for it.
#pragma once

#include "cells/recurrence.h"
#include "cells/step.simd.h"
#include "sparsity/gather.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// A worker's hidden units, each with a row in every one of G gates.
template <int G, class T>
static Range owned_units(const Layer<T>& layer, const Worker& worker) {
  return share_by_cost(worker, layer.hidden, layer.recurrent_weight[0].pattern.row_offsets, G);
}

template <int G, class T>
static void gather_owned_rows(const SparseMatrix<T>& matrix, int64_t hidden, Range units) {
  for (int g = 0; g < G; ++g) gather_rows(matrix, g * hidden + units.begin, g * hidden + units.end);
}

// The channels of state `s` that a worker owns.
static inline Range channels(int s, Range units, Range outputs) { return s == 0 ? outputs : units; }

// Lanes that time step t computes: its moving items, to the next multiple of 4.
template <class T>
static int64_t lanes_of(const Layer<T>& layer, int64_t t) {
  return round_to_four(layer.moving(t));
}

// The hold of time step t, of S states.
template <int S, class T>
static void load_hold(const Layer<T>& layer, int64_t t, Range units, Range outputs) {
  if (!layer.hold) return;
  const int64_t B = layer.batch, H = layer.hidden, P = layer.lanes;
  for (int s = 0; s < S; ++s) {
    const T* hold = layer.hold + (t * S + s) * B * H;
    rows_to_lanes(hold, B, H, P, layer.hold_lanes + s * H * P, channels(s, units, outputs));
  }
}

template <class T>
static void load_scale(const Layer<T>& layer, Range outputs) {
  if (layer.state_scale) {
    rows_to_lanes(layer.state_scale, layer.batch, layer.hidden, layer.lanes, layer.scale_lanes, outputs);
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
