// The CPU backend of the recurrent ops: a team of workers runs the kernels of the SIMD level in use.
#pragma once

#include "cells/recurrent_op.h"
#include "common/team.h"
#include "sparsity/cpu_patterns.h"

namespace lsh {

struct CpuBackend : CpuPatterns {
  static const CellKernels<float>& kernels(const CellTable& cell, float) { return cell.float32; }
  static const CellKernels<double>& kernels(const CellTable& cell, double) { return cell.float64; }

  // A second worker pays when a micro-step is a few microseconds of work; meeting costs a fraction of one.
  template <class T>
  static int64_t most_workers(const Layer<T>& layer, int64_t lanes) {
    return 1 + layer.recurrent_weight[0].pattern.non_zeros * lanes / 65536;
  }

  template <class T>
  static void run(const CellTable& cell, const ForwardPass<T>& pass, const Tensor&) {
    const auto kernel = kernels(cell, T()).forward;
    run_team(most_workers(pass.layer, pass.layer.lanes), [&](const Worker& worker) { kernel(pass, worker); });
  }

  template <class T>
  static void run(const CellTable& cell, const BackwardPass<T>& pass, const Tensor&) {
    const auto kernel = kernels(cell, T()).backward;
    run_team(most_workers(pass.layer, pass.layer.lanes), [&](const Worker& worker) { kernel(pass, worker); });
  }

  template <class T>
  static void run(const CellTable& cell, const TangentPass<T>& pass, const Tensor&) {
    const auto kernel = kernels(cell, T()).tangent;
    const int64_t lanes = pass.vector_lanes * pass.layer.batch;
    run_team(most_workers(pass.layer, lanes), [&](const Worker& worker) { kernel(pass, worker); });
  }
};

}  // namespace lsh
