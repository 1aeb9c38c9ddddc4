// What the ops of tangents along a window check and allocate alike.
#pragma once

#include "cells/tangent_window.h"
#include "sparsity/lane_tiles.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {

// Throws unless the trajectory of a cell, whose weights are `matrices`, fits the tangent vectors; allocates the final
// ones.
template <class T, class Table>
TangentWindow<T> checked_window(const Table& cell, const Tensor& tangent, const Tensor& activations,
                                const Tensor& states, const Tensors& matrices, const char* name, Tensor& final_tangent,
                                Workspace& workspace) {
  const int64_t depth = int64_t(matrices.size());
  const int64_t batch = tangent.size(0), H = tangent.size(2), K = tangent.size(3);
  STD_TORCH_CHECK(depth >= 1, name, " must hold at least one weight, got none");
  STD_TORCH_CHECK(activations.size(0) >= depth && activations.size(0) % depth == 0, "activations must hold ", depth,
                  " micro-steps for each time step, got ", activations.size(0));
  STD_TORCH_CHECK(H < (int64_t(1) << 31) / cell.gates, "hidden size must be below 2**31 / gates, got ", H);
  const int64_t micro_steps = activations.size(0), lanes = round_to_four(batch);
  check_shape(tangent, {batch, cell.states, H, K}, "tangent");
  check_shape(activations, {micro_steps, cell.activations, H, lanes}, "activations");
  check_shape(states, {micro_steps + 1, cell.states, H, lanes}, "states");
  check_operand(activations, tangent, "activations", "tangent");
  check_operand(states, tangent, "states", "tangent");
  final_tangent = empty_like(tangent, {batch, cell.states, H, K});
  return {.steps = micro_steps / depth,
          .batch = batch,
          .hidden = H,
          .vectors = K,
          .lanes = lanes,
          .depth = depth,
          .tangent = static_cast<const T*>(tangent.const_data_ptr()),
          .activations = static_cast<const T*>(activations.const_data_ptr()),
          .states = static_cast<const T*>(states.const_data_ptr()),
          .final_tangent = static_cast<T*>(final_tangent.mutable_data_ptr()),
          .coefficients = workspace.room<T>({lanes, H, cell.states * (cell.gates + cell.states)})};
}

// What of the operands must hold before their sizes are read.
inline void check_window_operands(const Tensor& tangent, const Tensor& activations) {
  check_dimensions(tangent, 4, "tangent");
  check_dimensions(activations, 4, "activations");
  check_floating(tangent, "tangent");
  STD_TORCH_CHECK(tangent.is_contiguous(), "tangent must be contiguous");
}

}  // namespace lsh
