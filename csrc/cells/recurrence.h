// One recurrent layer over a whole sequence, as plain pointers: what ops fill in and kernels read.
//
// Shapes: T steps, B batch, I input, H hidden, G gates, S states, A activations, D micro-steps per time step,
// P = B rounded up to a multiple of 4, the lanes of one step. Rows of weights are gate-major: row g * H + u is gate g
// of unit u. A trajectory is kept with lanes innermost:
//
//   activations  (T * D, A, H, P)
//   states       (T * D + 1, S, H, P)    states[0] is the initial state; padding lanes hold no information
//
// Three things may bend a time step, each in one way for values, gradients and tangents:
//
//   batch_sizes  an item at or beyond its step's size keeps its state and puts out zero: a ragged batch
//   hold         state' = hold * state + (1 - hold) * cell(…), over all D micro-steps together: zoneout
//   state_scale  the operand of every recurrent product is state[0] * state_scale: variational dropout
//
// Where a cell projects (cell.h), state[0], its gradients and its part of hold and state_scale have the first O of H
// channels only, and the others are zero.
#pragma once

#include <cstdint>

#include "cells/persistent_plan.h"
#include "common/parallel.h"
#include "sparsity/lane_tiles.h"
#include "sparsity/lookup.h"
#include "sparsity/matrix.h"
#include "sparsity/panels.h"
#include "sparsity/sampled.h"

namespace lsh {

// R_1 of a cell that projects, and what it multiplies.
template <class T>
struct Projection {
  SparseMatrix<T> weight;  // (O, H)
  PanelMatrix<T> panels;   // workspaces, as those of the recurrent weights
  LookupMatrix<T> lookup;
  T* hidden;  // workspace: next[0], (H, padded P), for a few items (B, stored columns), for tangents (B, H, lanes)
};

template <class T>
struct Layer {
  int64_t steps, batch, input_size, hidden, lanes, depth;
  int64_t outputs;  // O, the channels of state[0]: H where the cell does not project
  LaneTiles tiling;
  SparseMatrix<T> input_weight;             // (G * H, I)
  const SparseMatrix<T>* recurrent_weight;  // D of (G * H, O)
  Projection<T> projection;                 // where the cell projects
  PanelMatrix<T> input_panels;              // workspaces: the same by rows for values, by columns for gradients
  const PanelMatrix<T>* recurrent_panels;
  const LookupMatrix<T>* recurrent_lookup;  // workspaces: the same for a few items, instead; or null
  const T* input_bias;                      // (G * H) or null
  const T* recurrent_bias;                  // (D, G * H) or null
  const int64_t* batch_sizes;               // (T) or null, in host memory
  const T* hold;                            // (T, S, B, H) or null
  const T* state_scale;                     // (B, H) or null
  T* hold_lanes;                            // workspace (S, H, P): `hold` of the time step under way, or null
  T* scale_lanes;                           // workspace (H, P), or null

  // How many items of the batch time step t moves; the others come after them.
  int64_t moving(int64_t t) const { return batch_sizes ? batch_sizes[t] : batch; }
};

template <class T>
struct ForwardPass {
  Layer<T> layer;
  const T* input;     // (T, B, I)
  const T* state;     // (S, B, H)
  T* output;          // (T, B, O)
  T* final_state;     // (S, B, H)
  T* activations;     // (T * D, A, H, P), or null where no trajectory is kept
  T* states;          // (T * D + 1, S, H, P), or a ring of those of one time step
  int64_t ring;       // how many of them there are
  T* input_tiles;     // workspace (tiles, I, lanes), on the CPU
  T* projected_tile;  // workspace: the gates' input share of a tile's steps, (steps, G * H, P) on the CPU
  T* operand;         // workspace (2, O, padded P): what this micro-step's product multiplies and the next one's

  // With a few items, those of a unit do not fill a register, and lanes are units: numbers of an item stand together.
  LookupMatrix<T> input_lookup;  // workspace, where the whole sequence has few items; the panels otherwise
  int64_t projected_steps;       // whose inputs are multiplied at once
  T* projected;                  // workspace (projected_steps, B, G * H) and room for a register more
  T* few_operands;               // workspace (2, B, stored columns): as `operand`
  T* few_states;                 // workspace (2, S, B, state stride): now, and as the time step began
  int64_t state_stride;          // from one item's units to the next one's

  bool keeps_trajectory() const { return activations != nullptr; }
  // The S states before a micro-step.
  T* states_at(int64_t step, int states_of_cell) const {
    return states + step % ring * states_of_cell * layer.hidden * layer.lanes;
  }

  // On a device that keeps one kernel for all steps, `projected` is (T, G * H, P).
  PersistentPlan plan;
  unsigned* arrived;  // workspace (1): of the barrier between blocks
};

// How many tiles of gates and states a backward pass keeps, `lane_bytes` a lane, before it makes gradients of them: all
// of a short sequence, and so many of a long or a deep one that memory does not grow with it.
inline int64_t kept_tiles(const LaneTiles& tiling, int64_t lane_bytes) {
  constexpr int64_t kMostBytes = int64_t(1) << 27;
  const int64_t some = kMostBytes / (tiling.lanes * lane_bytes + 1);
  return some < 1 ? 1 : some < tiling.tiles ? some : tiling.tiles;
}

template <class T>
struct BackwardPass {
  Layer<T> layer;
  const T* input;                   // (T, B, I)
  const T* activations;             // (T * D, A, H, P)
  const T* states;                  // (T * D + 1, S, H, P)
  const T* grad_output;             // (T, B, O) or null
  const T* grad_final;              // (S, B, H) or null
  T* grad_input;                    // (T, B, I) or null
  T* grad_state;                    // (S, B, H)
  T* grad_input_weight;             // like the weight: (G * H, I) dense or (N) packed
  T* const* grad_recurrent_weight;  // D of them, and that of the projection
  T* grad_input_bias;               // (G * H) or null
  T* grad_recurrent_bias;           // (D, G * H) or null
  bool dense_gradient;              // weight gradients at every entry, not only where the mask connects
  T* step_gates;                    // workspace (2, G * H, padded P): gate gradients of this micro-step and the last
  T* carry;                         // workspace (S, H, P): gradient of the state
  T* held;                          // workspace (S, H, P): the part that goes round the time step, or null
  T* input_tiles;                   // workspace (tiles, I, lanes), on the CPU
  // What gradients of weights are made of, whenever this many tiles are there; all tiles on a device, step by step.
  int64_t kept_tiles;
  T* state_tiles;       // workspace (D, kept tiles, O, lanes), on the CPU: the operand of each recurrent product
  T* gate_tiles;        // workspace (D, kept tiles, G * H, lanes): gradients of the recurrent pre-activations
  T* input_gate_tiles;  // workspace (kept tiles, G * H, lanes): of the input's; gate_tiles where they are the same
  // Workspaces where the cell projects.
  T* projection_gradient;  // (O, padded P), of what the projection gives
  T* projection_tiles;     // (kept tiles, O, lanes), the same of all steps; (T, O, P) on a device
  T* hidden_carry;         // (H, P), gradient of next[0]
  T* hidden_tiles;         // (kept tiles, H, lanes), next[0] of all steps; (T, H, P) on a device
  SampleRooms<T> rooms;    // workspaces
  int32_t* scratch;        // workspace (workers, most columns + 1 + G * H)
};

template <class T>
struct TangentPass {
  Layer<T> layer;
  int64_t vectors;         // K tangent vectors
  const T* activations;    // (T * D, A, H, P)
  const T* states;         // (T * D + 1, S, H, P)
  const T* tangent;        // (B, S, H, K)
  const T* input_tangent;  // (T, B, I, K) or null
  T* output_tangent;       // (T, B, O, K) or null
  T* final_tangent;        // (B, S, H, K)
  int64_t vector_lanes;    // K rounded up to a multiple of 4
  T* current;              // workspace (B, 2, S, H, vector_lanes)
  T* start;                // workspace (B, S, H, vector_lanes): as the time step began, or null
  T* operand;              // workspace (B, 2, H, vector_lanes): scaled, or null
  T* input_lanes;          // workspace (B, I, vector_lanes) or null
};

template <class T>
struct CellKernels {
  void (*forward)(const ForwardPass<T>&, const Worker&);
  void (*backward)(const BackwardPass<T>&, const Worker&);
  void (*tangent)(const TangentPass<T>&, const Worker&);
};

// The kernels of one cell at one SIMD level, and the cell's constants (cell.h).
struct CellTable {
  int gates, states, activations;
  bool separate_input, projects;
  CellKernels<float> float32;
  CellKernels<double> float64;
};

}  // namespace lsh
