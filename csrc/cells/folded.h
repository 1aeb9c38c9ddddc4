// Tangent vectors along a trajectory with dense recurrent weights, as plain pointers.
//
// A cell's tangent is linear in each unit, so with coefficients L (S, G) and D (S, S) of unit u at this step
//
//   d_next[s][u] = Σ_j (Σ_g L[s][g] W[g H + u][j]) d_state[0][j] + Σ_r D[s][r] d_state[r][u]
//
// and the G H rows of W fold into S H before anything is multiplied: half of the arithmetic for an LSTM, a third for a
// GRU.
#pragma once

#include "cells/tangent_window.h"
#include "common/parallel.h"

namespace lsh {

template <class T>
struct FoldedPass : TangentWindow<T> {
  const T* const* weight;  // D of (G * H, H)
  T* current;              // workspace (B, 2, H, S, K)
  T* scratch;              // workers x the table's `scratch`
};

template <class T>
using FoldedKernel = void (*)(const FoldedPass<T>&, const Worker&);

struct FoldedTable {
  int gates, states, activations;
  int64_t scratch;  // numbers for a worker: of float, which needs more of them than double
  FoldedKernel<float> float32;
  FoldedKernel<double> float64;
};

}  // namespace lsh
