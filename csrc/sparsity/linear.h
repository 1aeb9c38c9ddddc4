// A sparse linear layer as plain pointers: y = x Wᵀ + b, and its gradients.
#pragma once

#include "common/parallel.h"
#include "sparsity/lane_tiles.h"
#include "sparsity/lookup.h"
#include "sparsity/matrix.h"
#include "sparsity/panels.h"
#include "sparsity/sampled.h"

namespace lsh {

template <class T>
struct LinearForward {
  SparseMatrix<T> weight;  // (R, C)
  LaneTiles tiling;        // of the N inputs
  const T* input;          // (N, C)
  const T* bias;           // (R) or null
  T* output;               // (N, R)
  T* input_tiles;          // workspace (tiles, C, lanes)
  PanelMatrix<T> panels;   // workspace: the weight by rows
  LookupMatrix<T> lookup;  // or this, with a few inputs, which then stand in input_tiles stored_columns() apart
};

template <class T>
struct LinearBackward {
  SparseMatrix<T> weight;  // (R, C)
  LaneTiles tiling;
  const T* grad_output;  // (N, R)
  const T* input;        // (N, C)
  T* grad_input;         // (N, C) or null
  T* grad_weight;        // like the weight, or (R, C) when dense_gradient
  T* grad_bias;          // (R) or null
  bool dense_gradient;
  T* input_tiles;         // workspace (tiles, C, lanes)
  T* output_tiles;        // workspace (tiles, R, lanes)
  PanelMatrix<T> panels;  // workspace: the weight by columns
  SampleRooms<T> rooms;   // workspaces
  int32_t* scratch;       // workspace (workers, C + 1 + R)
};

template <class T>
struct LinearKernels {
  void (*forward)(const LinearForward<T>&, const Worker&);
  void (*backward)(const LinearBackward<T>&, const Worker&);
};

struct LinearTable {
  LinearKernels<float> float32;
  LinearKernels<double> float64;
};

}  // namespace lsh
