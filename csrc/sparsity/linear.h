// A sparse linear layer as plain pointers: y = x Wᵀ + b, and its gradients.
#pragma once

#include "common/parallel.h"
#include "sparsity/lane_tiles.h"
#include "sparsity/matrix.h"

namespace lsh {

template <class T>
struct LinearForward {
  SparseMatrix<T> weight;  // (R, C)
  LaneTiles tiling;        // of the N inputs
  const T* input;          // (N, C)
  const T* bias;           // (R) or null
  T* output;               // (N, R)
  T* input_tiles;          // workspace (tiles, C, lanes)
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
  const int32_t* every_column;  // 0, 1, 2, … for dense gradients
  T* input_tiles;               // workspace (tiles, C, lanes)
  T* output_tiles;              // workspace (tiles, R, lanes)
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
