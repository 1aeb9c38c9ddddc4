// What becomes of one unit of one item in one micro-step of a forward pass, once its products are there.
#pragma once

#include "cells/cell.h"
#include "cells/recurrence.h"
#include "common/launch.cuh"

namespace lsh {
namespace device {

// What the recurrent product reads of unit `u` of item `b`.
template <class T>
__device__ T scaled(const Layer<T>& layer, T state, int64_t b, int64_t u) {
  return layer.state_scale ? state * layer.state_scale[b * layer.hidden + u] : state;
}

// An item that the time step does not move: it keeps its state and puts out zero.
template <class Cell, class T>
__device__ void keep_unit(const ForwardPass<T>& pass, int64_t step, int64_t u, int64_t b) {
  constexpr int S = Cell::kStates, A = Cell::kActivations;
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, P = layer.lanes, t = step / layer.depth;
  const T* state = pass.states + step * S * H * P;
  T* next = pass.states + (step + 1) * S * H * P;
  for (int a = 0; a < A; ++a) pass.activations[((step * A + a) * H + u) * P + b] = 0;
  for (int s = 0; s < S; ++s) next[(s * H + u) * P + b] = state[(s * H + u) * P + b];
  const bool ends = step % layer.depth == layer.depth - 1;
  if (ends && b < layer.batch && u < layer.outputs) pass.output[(t * layer.batch + b) * layer.outputs + u] = 0;
}

template <class Cell, class T>
__device__ void move_unit(const ForwardPass<T>& pass, int64_t step, int64_t u, int64_t b,
                          const T (&recurrent)[Cell::kGates], const T (&input)[Cell::kGates]) {
  constexpr int S = Cell::kStates, A = Cell::kActivations;
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, t = step / layer.depth;
  const bool ends = step % layer.depth == layer.depth - 1;
  const T* state = pass.states + step * S * H * P;
  const T* start = pass.states + t * layer.depth * S * H * P;
  T* next = pass.states + (step + 1) * S * H * P;
  T before[S], active[A], after[S];
  for (int s = 0; s < S; ++s) before[s] = state[(s * H + u) * P + b];
  Cell().forward(recurrent, input, before, active, after);
  for (int a = 0; a < A; ++a) pass.activations[((step * A + a) * H + u) * P + b] = active[a];
  if constexpr (Cell::kProjects) {
    layer.projection.hidden[u * P + b] = after[0];
    if (u >= layer.outputs) next[u * P + b] = 0;
  }
  for (int s = Cell::kProjects; s < S; ++s) {
    if (layer.hold && ends) {
      const T hold = layer.hold[((t * S + s) * B + b) * H + u];
      after[s] = hold * start[(s * H + u) * P + b] + (1 - hold) * after[s];
    }
    next[(s * H + u) * P + b] = after[s];
  }
  if (!Cell::kProjects && ends) pass.output[(t * B + b) * H + u] = after[0];
}

}  // namespace device
}  // namespace lsh
