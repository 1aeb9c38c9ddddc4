// Tangent vectors along a trajectory with sparse recurrent weights that were packed once, as plain pointers.
//
// The tangent of recurrence.h for steps that nothing bends and whose input stands still. What it saves is the packing:
// the panels stay from call to call, and tangent vectors are their lanes.
#pragma once

#include "cells/tangent_window.h"
#include "common/parallel.h"
#include "sparsity/panels.h"

namespace lsh {

template <class T>
struct PaneledPass : TangentWindow<T> {
  int64_t vector_lanes;          // K rounded up to a multiple of 4
  const PanelMatrix<T>* panels;  // D of (G * H, H)
  T* current;                    // workspace (B, 2, S, H, padded vector_lanes) as slabs
};

template <class T>
using PaneledKernel = void (*)(const PaneledPass<T>&, const Worker&);

struct PaneledTable {
  int gates, states, activations;
  PaneledKernel<float> float32;
  PaneledKernel<double> float64;
};

}  // namespace lsh
