// Tangent vectors along a trajectory with sparse recurrent weights that were packed once, as plain pointers.
//
// The tangent of recurrence.h for steps that nothing bends and whose input stands still. What it saves is the packing:
// the panels stay from call to call, and tangent vectors are their lanes.
#pragma once

#include <cstdint>

#include "common/parallel.h"
#include "sparsity/panels.h"

namespace lsh {

template <class T>
struct PaneledPass {
  int64_t steps, batch, hidden, vectors, lanes, depth;
  int64_t vector_lanes;          // K rounded up to a multiple of 4
  const T* tangent;              // (B, S, H, K)
  const T* activations;          // (T * D, A, H, P)
  const T* states;               // (T * D + 1, S, H, P)
  const PanelMatrix<T>* panels;  // D of (G * H, H)
  T* final_tangent;              // (B, S, H, K)
  T* current;       // workspace (B, 2, S, H, padded vector_lanes) as slabs, and what a panel may read behind
  T* coefficients;  // workspace (P, H, S * (G + S))
};

template <class T>
using PaneledKernel = void (*)(const PaneledPass<T>&, const Worker&);

struct PaneledTable {
  int gates, states, activations;
  PaneledKernel<float> float32;
  PaneledKernel<double> float64;
};

}  // namespace lsh
