// The recurrence over time on a device, written once for every cell (see cell.h, recurrence.h): the plain version.
//
// One launch per micro-step, one thread per (unit, batch item); every sum is made by one thread in a fixed order, so
// results do not change from run to run. Bound by launches and by gathers; correct for every shape and pattern.
#pragma once

#include <type_traits>

#include "cells/launchers.h"
#include "cells/persistent.cuh"
#include "cells/recurrent_unit.cuh"
#include "sparsity/product.cuh"

namespace lsh {
namespace device {

template <class Cell, class T>
struct Recurrent {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;

  static cudaError_t forward(const ForwardPass<T>& pass, cudaStream_t stream);
  static cudaError_t backward(const BackwardPass<T>& pass, cudaStream_t stream);
  static cudaError_t tangent(const TangentPass<T>& pass, cudaStream_t stream);
};

// rows (S, B, H) -> lanes (S, H, P), padding lanes zero.
template <class T>
__global__ void rows_to_lanes(const T* rows, int64_t states, int64_t batch, int64_t hidden, int64_t lanes, T* out) {
  const int64_t item = this_item();
  if (item >= states * hidden * lanes) return;
  const int64_t b = item % lanes, u = item / lanes % hidden, s = item / lanes / hidden;
  out[item] = b < batch && rows ? rows[(s * batch + b) * hidden + u] : T(0);
}

template <class T>
__global__ void lanes_to_rows(const T* in, int64_t states, int64_t batch, int64_t hidden, int64_t lanes, T* rows) {
  const int64_t item = this_item();
  if (item >= states * batch * hidden) return;
  const int64_t u = item % hidden, b = item / hidden % batch, s = item / hidden / batch;
  rows[item] = in[(s * hidden + u) * lanes + b];
}

template <class Cell, class T>
__global__ void forward_step(ForwardPass<T> pass, SparseMatrix<T> recurrent_weight, int64_t step, int64_t d,
                             int64_t moving) {
  constexpr int G = Cell::kGates, S = Cell::kStates;
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, P = layer.lanes, I = layer.input_size;
  const int64_t item = this_item();
  if (item >= H * P) return;
  const int64_t u = item / P, b = item % P, t = step / layer.depth;
  const T* state = pass.states + step * S * H * P;
  if (b >= moving) {
    keep_unit<Cell>(pass, step, u, b);
    return;
  }
  T recurrent[G], input[G];
  for (int g = 0; g < G; ++g) {
    const int64_t row = g * H + u;
    recurrent[g] = multiply_row(recurrent_weight, row,
                                [&](int64_t column) { return scaled(layer, state[column * P + b], b, column); });
    if (layer.recurrent_bias) recurrent[g] += layer.recurrent_bias[d * G * H + row];
    input[g] = 0;
    if (d == 0) {
      const T* x = pass.input + (t * layer.batch + b) * I;
      input[g] = multiply_row(layer.input_weight, row, [&](int64_t column) { return x[column]; });
      if (layer.input_bias) input[g] += layer.input_bias[row];
    }
  }
  move_unit<Cell>(pass, step, u, b, recurrent, input);
}

// state[0] behind step t of a cell that projects, and its output.
template <int S, class T>
__global__ void project_step(ForwardPass<T> pass, int64_t t, int64_t moving) {
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, O = layer.outputs;
  const int64_t item = this_item();
  const int64_t o = item / P, b = item % P;
  if (o >= O || b >= moving) return;
  const T* state = pass.states + t * S * H * P;
  const T* hidden = layer.projection.hidden;
  T after = multiply_row(layer.projection.weight, o, [&](int64_t column) { return hidden[column * P + b]; });
  if (layer.hold) {
    const T hold = layer.hold[(t * S * B + b) * H + o];
    after = hold * state[o * P + b] + (1 - hold) * after;
  }
  pass.states[(t + 1) * S * H * P + o * P + b] = after;
  pass.output[(t * B + b) * O + o] = after;
}

// Channels of state[0] from O on, (H, P), which do not exist.
template <class T>
__global__ void clear_absent(T* lanes, int64_t outputs, int64_t hidden, int64_t stride) {
  const int64_t item = this_item();
  if (item < (hidden - outputs) * stride) lanes[outputs * stride + item] = 0;
}

template <class Cell, class T>
void clear_absent_channels(Launches& on, const Layer<T>& layer, T* lanes) {
  if constexpr (Cell::kProjects) {
    const int64_t absent = (layer.hidden - layer.outputs) * layer.lanes;
    on.items(absent, clear_absent<T>, lanes, layer.outputs, layer.hidden, layer.lanes);
  }
}

template <class Cell, class T>
cudaError_t Recurrent<Cell, T>::forward(const ForwardPass<T>& pass, cudaStream_t stream) {
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, steps = layer.steps * layer.depth;
  Launches on(stream);
  on.items(S * H * P, rows_to_lanes<T>, pass.state, S, B, H, P, pass.states);
  clear_absent_channels<Cell>(on, layer, pass.states);
  bool done = false;
  if constexpr (std::is_same_v<T, float> && !Cell::kProjects) done = run_persistent<Cell>(on, pass);
  for (int64_t step = 0; step < steps && !done; ++step) {
    const int64_t d = step % layer.depth, moving = layer.moving(step / layer.depth);
    on.items(H * P, forward_step<Cell, T>, pass, layer.recurrent_weight[d], step, d, moving);
    if constexpr (Cell::kProjects) on.items(layer.outputs * P, project_step<S, T>, pass, step, moving);
  }
  on.items(S * B * H, lanes_to_rows<T>, pass.states + steps * S * H * P, S, B, H, P, pass.final_state);
  return on.error();
}

// -------------------------------------------------------------------------------------------------------- backward

// Gate gradients are kept per micro-step as (D, T, G * H, P), in the memory that holds lane tiles on the CPU.
template <class T>
struct GateGradients {
  T* recurrent;
  T* input;
  int64_t rows, lanes, steps;

  __device__ T* at(T* base, int64_t d, int64_t t) const { return base + ((d * steps + t) * rows) * lanes; }
};

// Splits the gradient of state[0] behind step t of a cell that projects: what goes round the step stays in the carry,
// what goes through the projection is kept as (T, O, P).
template <int S, class T>
__global__ void split_step(BackwardPass<T> pass, int64_t t, int64_t moving) {
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, O = layer.outputs;
  const int64_t item = this_item();
  if (item >= O * P) return;
  const int64_t o = item / P, b = item % P;
  T* through = pass.projection_tiles + t * O * P + item;
  *through = 0;
  if (b >= moving) return;
  T whole = pass.carry[item];
  if (pass.grad_output) whole += pass.grad_output[(t * B + b) * O + o];
  const T hold = layer.hold ? layer.hold[(t * S * B + b) * H + o] : T(0);
  pass.carry[item] = hold * whole;
  *through = (1 - hold) * whole;
}

// The gradient of next[0] of a cell that projects.
template <class T>
__global__ void hidden_step(BackwardPass<T> pass, int64_t t, int64_t moving) {
  const Layer<T>& layer = pass.layer;
  const int64_t item = this_item();
  const int64_t u = item / layer.lanes, b = item % layer.lanes;
  if (u >= layer.hidden || b >= moving) return;
  const T* through = pass.projection_tiles + t * layer.outputs * layer.lanes;
  pass.hidden_carry[item] =
      multiply_column(layer.projection.weight, u, [&](int64_t row) { return through[row * layer.lanes + b]; });
}

template <class Cell, class T>
__global__ void backward_step(BackwardPass<T> pass, GateGradients<T> gates, int64_t step, int64_t moving) {
  constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
  const int64_t item = this_item();
  if (item >= H * P) return;
  const int64_t u = item / P, b = item % P, t = step / layer.depth, d = step % layer.depth;
  if (b >= moving) {
    for (int g = 0; g < G; ++g) {
      gates.at(gates.recurrent, d, t)[(g * H + u) * P + b] = 0;
      if (Cell::kSeparateInput && d == 0) gates.at(gates.input, 0, t)[(g * H + u) * P + b] = 0;
    }
    if constexpr (Cell::kProjects) pass.hidden_tiles[(t * H + u) * P + b] = 0;
    return;
  }
  T active[A], before[S], grad_next[S], recurrent[G], input[G], grad_before[S];
  for (int a = 0; a < A; ++a) active[a] = pass.activations[((step * A + a) * H + u) * P + b];
  for (int s = 0; s < S; ++s) {
    before[s] = pass.states[((step * S + s) * H + u) * P + b];
    grad_next[s] = pass.carry[(s * H + u) * P + b];
  }
  if constexpr (Cell::kProjects) {
    grad_next[0] = pass.hidden_carry[u * P + b];
    pass.hidden_tiles[(t * H + u) * P + b] = Cell().hidden(active, before);
  } else if (d == layer.depth - 1 && pass.grad_output) {
    grad_next[0] += pass.grad_output[(t * B + b) * H + u];
  }
  if (layer.hold && d == layer.depth - 1) {
    for (int s = Cell::kProjects; s < S; ++s) {
      const T hold = layer.hold[((t * S + s) * B + b) * H + u];
      pass.held[(s * H + u) * P + b] = hold * grad_next[s];
      grad_next[s] *= 1 - hold;
    }
  }
  Cell().backward(active, before, grad_next, recurrent, input, grad_before);
  for (int s = Cell::kProjects; s < S; ++s) {
    if (layer.hold && d == 0) grad_before[s] += pass.held[(s * H + u) * P + b];
    pass.carry[(s * H + u) * P + b] = grad_before[s];
  }
  for (int g = 0; g < G; ++g) {
    gates.at(gates.recurrent, d, t)[(g * H + u) * P + b] = recurrent[g];
    if (Cell::kSeparateInput && d == 0) gates.at(gates.input, 0, t)[(g * H + u) * P + b] = input[g];
  }
}

template <class T>
__global__ void carry_step(T* carry, Layer<T> layer, SparseMatrix<T> weight, const T* gates, int64_t moving) {
  const int64_t item = this_item();
  const int64_t u = item / layer.lanes, b = item % layer.lanes;
  if (u >= layer.outputs || b >= moving) return;
  const T sum = multiply_column(weight, u, [&](int64_t row) { return gates[row * layer.lanes + b]; });
  carry[item] += scaled(layer, sum, b, u);
}

// One entry of a weight gradient: sum over time and batch of gate gradient times operand(t, b, column).
template <class T, class Operand>
__global__ void weight_gradient(SparseMatrix<T> weight, bool dense_gradient, int64_t items, const T* gates,
                                int64_t steps, int64_t batch, int64_t rows, int64_t lanes, Operand operand, T* grad) {
  const int64_t item = this_item();
  if (item >= items) return;
  const GradientEntry entry = gradient_entry(weight, item, dense_gradient);
  if (!entry.inside) return;
  T sum = 0;
  for (int64_t t = 0; t < steps; ++t) {
    const T* g = gates + (t * rows + entry.row) * lanes;
    for (int64_t b = 0; b < batch; ++b) sum += g[b] * operand(t, b, entry.column);
  }
  grad[entry.out] = sum;
}

template <class T>
struct InputOperand {
  const T* input;
  int64_t batch, size;
  __device__ T operator()(int64_t t, int64_t b, int64_t column) const { return input[(t * batch + b) * size + column]; }
};

template <class T>
struct StateOperand {
  const T* states;
  int64_t stride;  // numbers from one time step to the next
  Layer<T> layer;
  __device__ T operator()(int64_t t, int64_t b, int64_t column) const {
    return scaled(layer, states[t * stride + column * layer.lanes + b], b, column);
  }
};

template <class T>
struct HiddenOperand {
  const T* hidden;  // (T, H, P)
  int64_t units, lanes;
  __device__ T operator()(int64_t t, int64_t b, int64_t column) const {
    return hidden[(t * units + column) * lanes + b];
  }
};

template <class T>
__global__ void bias_gradient(const T* gates, int64_t steps, int64_t batch, int64_t rows, int64_t lanes, T* grad) {
  const int64_t row = this_item();
  if (row >= rows) return;
  T sum = 0;
  for (int64_t t = 0; t < steps; ++t) {
    for (int64_t b = 0; b < batch; ++b) sum += gates[(t * rows + row) * lanes + b];
  }
  grad[row] = sum;
}

template <class T>
__global__ void input_gradient(SparseMatrix<T> weight, const T* gates, int64_t steps, int64_t batch, int64_t rows,
                               int64_t lanes, T* grad) {
  const int64_t item = this_item();
  const int64_t size = weight.pattern.columns;
  if (item >= steps * batch * size) return;
  const int64_t column = item % size, b = item / size % batch, t = item / size / batch;
  const T* g = gates + t * rows * lanes + b;
  grad[item] = multiply_column(weight, column, [&](int64_t row) { return g[row * lanes]; });
}

template <class Cell, class T>
cudaError_t Recurrent<Cell, T>::backward(const BackwardPass<T>& pass, cudaStream_t stream) {
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, D = layer.depth, R = G * H;
  const GateGradients<T> gates{pass.gate_tiles, pass.input_gate_tiles, R, P, layer.steps};
  Launches on(stream);
  on.items(S * H * P, rows_to_lanes<T>, pass.grad_final, S, B, H, P, pass.carry);
  clear_absent_channels<Cell>(on, layer, pass.carry);
  for (int64_t step = layer.steps * D - 1; step >= 0; --step) {
    const int64_t t = step / D, d = step % D;
    const int64_t moving = layer.moving(t);
    if constexpr (Cell::kProjects) {
      on.items(layer.outputs * P, split_step<S, T>, pass, t, moving);
      on.items(H * P, hidden_step<T>, pass, t, moving);
    }
    on.items(H * P, backward_step<Cell, T>, pass, gates, step, moving);
    on.items(H * P, carry_step<T>, pass.carry, layer, layer.recurrent_weight[d],
             pass.gate_tiles + ((d * layer.steps + t) * R) * P, moving);
  }
  on.items(S * B * H, lanes_to_rows<T>, pass.carry, S, B, H, P, pass.grad_state);

  const auto gradient = [&]<class Operand>(const SparseMatrix<T>& weight, const T* g, Operand operand, T* grad) {
    const int64_t size = weight.pattern.rows * weight.pattern.columns;
    const bool dense = pass.dense_gradient || !weight.packed;
    if (size == 0) return;
    if (dense) on.items(size, zero<T>, grad, size);
    const int64_t items = gradient_items(weight, pass.dense_gradient);
    on.items(items, weight_gradient<T, Operand>, weight, pass.dense_gradient, items, g, layer.steps, B,
             weight.pattern.rows, P, operand, grad);
  };
  gradient(layer.input_weight, pass.input_gate_tiles, InputOperand<T>{pass.input, B, layer.input_size},
           pass.grad_input_weight);
  for (int64_t d = 0; d < D; ++d) {
    const T* g = pass.gate_tiles + d * layer.steps * R * P;
    gradient(layer.recurrent_weight[d], g, StateOperand<T>{pass.states + d * S * H * P, D * S * H * P, layer},
             pass.grad_recurrent_weight[d]);
    if (pass.grad_recurrent_bias) {
      on.items(R, bias_gradient<T>, g, layer.steps, B, R, P, pass.grad_recurrent_bias + d * R);
    }
  }
  if constexpr (Cell::kProjects) {
    gradient(layer.projection.weight, pass.projection_tiles, HiddenOperand<T>{pass.hidden_tiles, H, P},
             pass.grad_recurrent_weight[D]);
  }
  if (pass.grad_input_bias) {
    on.items(R, bias_gradient<T>, pass.input_gate_tiles, layer.steps, B, R, P, pass.grad_input_bias);
  }
  if (pass.grad_input) {
    on.items(layer.steps * B * layer.input_size, input_gradient<T>, layer.input_weight, pass.input_gate_tiles,
             layer.steps, B, R, P, pass.grad_input);
  }
  return on.error();
}

// --------------------------------------------------------------------------------------------------------- tangent

template <class Cell, class T>
__global__ void tangent_step(TangentPass<T> pass, SparseMatrix<T> recurrent_weight, int64_t step, int64_t d,
                             int64_t moving, const T* before, T* after) {
  constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch, K = pass.vectors;
  const int64_t item = this_item();
  if (item >= B * H * K) return;
  const int64_t k = item % K, u = item / K % H, b = item / K / H, t = step / layer.depth;
  const bool ends = d == layer.depth - 1;
  if (b >= moving) {
    for (int s = 0; s < S; ++s) {
      const bool absent = s == 0 && u >= layer.outputs;
      after[((b * S + s) * H + u) * K + k] = absent ? T(0) : before[((b * S + s) * H + u) * K + k];
    }
    if (ends && pass.output_tangent && u < layer.outputs) {
      pass.output_tangent[((t * B + b) * layer.outputs + u) * K + k] = 0;
    }
    return;
  }
  T active[A], was[S], recurrent[G], input[G], d_before[S], d_after[S];
  for (int a = 0; a < A; ++a) active[a] = pass.activations[((step * A + a) * H + u) * P + b];
  for (int s = 0; s < S; ++s) {
    was[s] = pass.states[((step * S + s) * H + u) * P + b];
    d_before[s] = before[((b * S + s) * H + u) * K + k];
  }
  const T* h = before + b * S * H * K + k;
  for (int g = 0; g < G; ++g) {
    const int64_t row = g * H + u;
    recurrent[g] =
        multiply_row(recurrent_weight, row, [&](int64_t column) { return scaled(layer, h[column * K], b, column); });
    input[g] = 0;
    if (d == 0 && pass.input_tangent) {
      const T* x = pass.input_tangent + (t * B + b) * layer.input_size * K + k;
      input[g] = multiply_row(layer.input_weight, row, [&](int64_t column) { return x[column * K]; });
    }
  }
  Cell().tangent(active, was, recurrent, input, d_before, d_after);
  if constexpr (Cell::kProjects) {
    layer.projection.hidden[(b * H + u) * K + k] = d_after[0];
    if (u >= layer.outputs) after[(b * S * H + u) * K + k] = 0;
  }
  for (int s = Cell::kProjects; s < S; ++s) {
    if (layer.hold) {
      T* start = pass.start + ((b * S + s) * H + u) * pass.vector_lanes + k;
      if (d == 0) *start = d_before[s];
      const T hold = layer.hold[((t * S + s) * B + b) * H + u];
      if (ends) d_after[s] = hold * *start + (1 - hold) * d_after[s];
    }
    after[((b * S + s) * H + u) * K + k] = d_after[s];
  }
  if (!Cell::kProjects && ends && pass.output_tangent) {
    pass.output_tangent[((t * B + b) * H + u) * K + k] = d_after[0];
  }
}

// The tangent of state[0] behind step t of a cell that projects.
template <int S, class T>
__global__ void project_tangent(TangentPass<T> pass, int64_t t, int64_t moving, const T* before, T* after) {
  const Layer<T>& layer = pass.layer;
  const int64_t H = layer.hidden, B = layer.batch, O = layer.outputs, K = pass.vectors;
  const int64_t item = this_item();
  const int64_t k = item % K, o = item / K % O, b = item / K / O;
  if (b >= moving) return;
  const T* hidden = layer.projection.hidden + b * H * K + k;
  T moved = multiply_row(layer.projection.weight, o, [&](int64_t column) { return hidden[column * K]; });
  const int64_t at = (b * S * H + o) * K + k;
  if (layer.hold) {
    const T hold = layer.hold[(t * S * B + b) * H + o];
    moved = hold * before[at] + (1 - hold) * moved;
  }
  after[at] = moved;
  if (pass.output_tangent) pass.output_tangent[((t * B + b) * O + o) * K + k] = moved;
}

template <class Cell, class T>
cudaError_t Recurrent<Cell, T>::tangent(const TangentPass<T>& pass, cudaStream_t stream) {
  const Layer<T>& layer = pass.layer;
  const int64_t size = layer.batch * S * layer.hidden * pass.vectors, steps = layer.steps * layer.depth;
  T* buffers[2] = {pass.current, pass.current + size};
  const T* before = pass.tangent;
  Launches on(stream);
  for (int64_t step = 0; step < steps; ++step) {
    T* after = step == steps - 1 ? pass.final_tangent : buffers[step % 2];
    const int64_t d = step % layer.depth, moving = layer.moving(step / layer.depth);
    on.items(layer.batch * layer.hidden * pass.vectors, tangent_step<Cell, T>, pass, layer.recurrent_weight[d], step, d,
             moving, before, after);
    if constexpr (Cell::kProjects) {
      on.items(layer.batch * layer.outputs * pass.vectors, project_tangent<S, T>, pass, step, moving, before, after);
    }
    before = after;
  }
  return on.error();
}

}  // namespace device
}  // namespace lsh

// Defines the table `name` of the cell `Cell` for devices.
#define LSH_CELL_LAUNCHERS(name, Cell)                                                                      \
  namespace lsh {                                                                                           \
  extern const CellDeviceTable name##_on_device;                                                            \
  const CellDeviceTable name##_on_device = {                                                                \
      device::Cell::kGates,                                                                                 \
      device::Cell::kStates,                                                                                \
      device::Cell::kActivations,                                                                           \
      device::Cell::kSeparateInput,                                                                         \
      device::Cell::kProjects,                                                                              \
      {device::Recurrent<device::Cell, float>::forward, device::Recurrent<device::Cell, float>::backward,   \
       device::Recurrent<device::Cell, float>::tangent},                                                    \
      {device::Recurrent<device::Cell, double>::forward, device::Recurrent<device::Cell, double>::backward, \
       device::Recurrent<device::Cell, double>::tangent}};                                                  \
  }
