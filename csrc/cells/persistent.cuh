// The forward pass of a layer as one cooperative kernel that stays for all steps (persistent_plan.h): sparse, in strict
// float32.
//
// A thread makes the product of one row with four lanes: for each connection a value, a 16-bit column and one 16-byte
// load of the states serve four multiply-adds. Terms are added in the order of the plain kernel, so the bits are the
// same. A micro-step is bound by those loads from shared memory (16 bytes for 4 products, 128 bytes a clock and
// multiprocessor), by every block's reading of all states, and by the barrier.
#pragma once

#include "cells/launchers.h"
#include "cells/recurrent_unit.cuh"
#include "common/grid_barrier.cuh"
#include "sparsity/product.cuh"

namespace lsh {
namespace device {

struct alignas(16) FourFloats {
  float of[kLanesTogether];
};

// Written by other blocks during this launch: not to come from a first-level cache.
__device__ inline FourFloats load_fresh(const float* at) {
  const float4 four = __ldcg(reinterpret_cast<const float4*>(at));
  return {{four.x, four.y, four.z, four.w}};
}

// What the kernel is given of the D recurrent matrices.
struct ResidentMatrices {
  SparseMatrix<float> of[kMostDepth];
};

struct ResidentRows {
  LayerShape shape;
  int64_t units, room;
  float* values;
  int32_t* starts;
  uint16_t* columns;

  // Row `index` of the block is gate g of its unit u in micro-step d.
  __device__ int64_t count() const { return shape.depth * shape.gates * units; }
};

// The row of a matrix that row `index` of the block is, or -1 beyond the last unit.
__device__ inline int64_t row_of_block(const ResidentRows& rows, int64_t index) {
  const int64_t unit = int64_t(blockIdx.x) * rows.units + index % rows.units;
  return unit < rows.shape.hidden ? index / rows.units % rows.shape.gates * rows.shape.hidden + unit : -1;
}

// Copies the block's rows to shared memory while there is room.
__device__ inline void keep_rows(const ResidentRows& rows, const ResidentMatrices& matrices) {
  const int64_t per_step = rows.shape.gates * rows.units;
  for (int64_t i = threadIdx.x; i < rows.count(); i += blockDim.x) {
    const int64_t row = row_of_block(rows, i);
    const PatternView& p = matrices.of[i / per_step].pattern;
    const int64_t begin = row < 0 ? 0 : clamp_offset(p.row_offsets[row], p.capacity);
    const int64_t end = row < 0 ? 0 : clamp_offset(p.row_offsets[row + 1], p.capacity);
    rows.starts[i + 1] = int32_t(end > begin ? end - begin : 0);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    int64_t sum = rows.starts[0] = 0;
    for (int64_t i = 0; i < rows.count(); ++i) {
      sum += rows.starts[i + 1];
      rows.starts[i + 1] = int32_t(sum < rows.room + 1 ? sum : rows.room + 1);  // beyond the room all are alike
    }
  }
  __syncthreads();
  const int64_t warps = blockDim.x / kWarp;
  for (int64_t i = threadIdx.x / kWarp; i < rows.count(); i += warps) {
    const int64_t row = row_of_block(rows, i);
    if (row < 0 || rows.starts[i + 1] > rows.room) continue;
    const SparseMatrix<float>& matrix = matrices.of[i / per_step];
    const int64_t begin = clamp_offset(matrix.pattern.row_offsets[row], matrix.pattern.capacity);
    const int64_t count = rows.starts[i + 1] - rows.starts[i];
    for (int64_t k = threadIdx.x % kWarp; k < count; k += kWarp) {
      const int32_t column = matrix.pattern.column_of[begin + k];
      const bool inside = column >= 0 && column < rows.shape.hidden;
      rows.columns[rows.starts[i] + k] = inside ? uint16_t(column) : uint16_t(0);
      rows.values[rows.starts[i] + k] = inside ? value_at(matrix, begin + k, row, column) : not_a_number<float>();
    }
  }
  __syncthreads();
}

// Row `index` of the block times four lanes of the states, which `load(column)` gives.
template <class Load>
__device__ FourFloats multiply_resident(const ResidentRows& rows, const ResidentMatrices& matrices, int64_t index,
                                        const Load& load) {
  FourFloats sum{};
  if (rows.starts[index + 1] <= rows.room) {
#pragma unroll 4
    for (int32_t k = rows.starts[index]; k < rows.starts[index + 1]; ++k) {
      const float value = rows.values[k];
      const FourFloats four = load(rows.columns[k]);
      for (int lane = 0; lane < kLanesTogether; ++lane) sum.of[lane] += value * four.of[lane];
    }
    return sum;
  }
  const int64_t row = row_of_block(rows, index);
  const SparseMatrix<float>& matrix = matrices.of[index / (rows.shape.gates * rows.units)];
  const PatternView& p = matrix.pattern;
  const int64_t end = clamp_offset(p.row_offsets[row + 1], p.capacity);
  for (int64_t k = clamp_offset(p.row_offsets[row], p.capacity); k < end; ++k) {
    const int32_t column = p.column_of[k];
    const bool inside = column >= 0 && column < p.columns;
    const float value = inside ? value_at(matrix, k, row, column) : not_a_number<float>();
    const FourFloats four = load(inside ? column : 0);
    for (int lane = 0; lane < kLanesTogether; ++lane) sum.of[lane] += value * four.of[lane];
  }
  return sum;
}

// Micro-steps [begin, end) of the pass; `projected` holds what inputs and their bias add to gates, (T, G * H, P).
template <class Cell>
__global__ void __launch_bounds__(1024) persistent_forward(ForwardPass<float> pass, ResidentMatrices matrices,
                                                           unsigned* arrived, int64_t begin, int64_t end) {
  LSH_DYNAMIC_SHARED(memory);
  constexpr int G = Cell::kGates, S = Cell::kStates;
  const Layer<float>& layer = pass.layer;
  const PersistentPlan& plan = pass.plan;
  const int64_t H = layer.hidden, P = layer.lanes, units = plan.units, first = int64_t(blockIdx.x) * units;
  const LayerShape shape{G, H, P, layer.depth, sizeof(float), false};
  const SharedLayout at = shared_layout(shape, units, plan.staged, plan.room);
  float *const operand = reinterpret_cast<float*>(memory), *const gates = reinterpret_cast<float*>(memory + at.gates);
  const ResidentRows rows{shape,
                          units,
                          plan.room,
                          reinterpret_cast<float*>(memory + at.values),
                          reinterpret_cast<int32_t*>(memory + at.starts),
                          reinterpret_cast<uint16_t*>(memory + at.columns)};
  keep_rows(rows, matrices);
  for (int64_t step = begin; step < end; ++step) {
    const int64_t d = step % layer.depth, t = step / layer.depth;
    const float* state = pass.states + step * S * H * P;
    const auto fresh = [&](int64_t place) {  // four lanes of a unit's state, at `place`
      FourFloats four = load_fresh(state + place);
      if (layer.state_scale) {
        for (int lane = 0; lane < kLanesTogether; ++lane) {
          const int64_t b = place % P + lane;
          if (b < layer.batch) four.of[lane] = scaled(layer, four.of[lane], b, place / P);
        }
      }
      return four;
    };
    if (plan.staged) {
      for (int64_t place = threadIdx.x * kLanesTogether; place < H * P; place += blockDim.x * kLanesTogether) {
        *reinterpret_cast<FourFloats*>(operand + place) = fresh(place);
      }
      __syncthreads();
    }
    const int64_t quads = P / kLanesTogether, tasks = G * units * quads;
    for (int64_t task = threadIdx.x; task < tasks; task += blockDim.x) {
      const int64_t lane = task % quads * kLanesTogether, row = task / quads, index = d * G * units + row;
      if (row_of_block(rows, index) < 0) continue;
      *reinterpret_cast<FourFloats*>(gates + row * P + lane) =
          plan.staged
              ? multiply_resident(
                    rows, matrices, index,
                    [&](int64_t column) { return *reinterpret_cast<const FourFloats*>(operand + column * P + lane); })
              : multiply_resident(rows, matrices, index, [&](int64_t column) { return fresh(column * P + lane); });
    }
    __syncthreads();
    for (int64_t item = threadIdx.x; item < units * P; item += blockDim.x) {
      const int64_t unit = item / P, u = first + unit, b = item % P;
      if (u >= H) continue;
      if (b >= layer.batch) {
        keep_unit<Cell>(pass, step, u, b);
        continue;
      }
      float recurrent[G], input[G];
      for (int g = 0; g < G; ++g) {
        recurrent[g] = gates[(g * units + unit) * P + b];
        if (layer.recurrent_bias) recurrent[g] += layer.recurrent_bias[d * G * H + g * H + u];
        input[g] = d == 0 ? pass.projected[(t * G * H + g * H + u) * P + b] : 0;
      }
      move_unit<Cell>(pass, step, u, b, recurrent, input);
    }
    wait_for_grid(arrived, unsigned(step - begin));
  }
}

// What inputs and their bias add to the gates of every step.
template <class T>
__global__ void project_inputs(ForwardPass<T> pass, int64_t rows) {
  const Layer<T>& layer = pass.layer;
  const int64_t item = this_item(), P = layer.lanes;
  if (item >= layer.steps * rows * P) return;
  const int64_t b = item % P, row = item / P % rows, t = item / P / rows;
  if (b >= layer.batch) return;
  const T* x = pass.input + (t * layer.batch + b) * layer.input_size;
  T sum = multiply_row(layer.input_weight, row, [&](int64_t column) { return x[column]; });
  if (layer.input_bias) sum += layer.input_bias[row];
  pass.projected[item] = sum;
}

// Launches the steps if the device holds all blocks at once; else says that it does not.
template <class Cell>
bool run_persistent(Launches& on, const ForwardPass<float>& pass) {
  const Layer<float>& layer = pass.layer;
  const PersistentPlan& plan = pass.plan;
  if (!plan.possible || !on.fits(plan.blocks, int(plan.threads), plan.shared_bytes, persistent_forward<Cell>)) {
    return false;
  }
  ResidentMatrices matrices{};
  for (int64_t d = 0; d < layer.depth; ++d) matrices.of[d] = layer.recurrent_weight[d];
  const int64_t rows = Cell::kGates * layer.hidden, steps = layer.steps * layer.depth;
  on.items(layer.steps * rows * layer.lanes, project_inputs<float>, pass, rows);
  for (int64_t begin = 0; begin < steps; begin += kStepsPerLaunch) {
    on.items(1, zero<unsigned>, pass.arrived, int64_t(1));
    on.together(plan.blocks, int(plan.threads), plan.shared_bytes, persistent_forward<Cell>, pass, matrices,
                pass.arrived, begin, std::min(begin + kStepsPerLaunch, steps));
  }
  return true;
}

}  // namespace device
}  // namespace lsh
