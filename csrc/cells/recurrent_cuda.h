// The CUDA backend of the recurrent ops: kernels on torch's current stream.
#pragma once

#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "cells/launchers.h"
#include "cells/recurrent_op.h"
#include "sparsity/cuda_patterns.h"

namespace lsh {

// Kernels that no device has run yet are used where LSH_CUDA_KERNELS says `fast`.
inline bool fast_kernels() {
  const char* chosen = std::getenv("LSH_CUDA_KERNELS");
  STD_TORCH_CHECK(!chosen || !std::strcmp(chosen, "plain") || !std::strcmp(chosen, "fast"),
                  "LSH_CUDA_KERNELS must be plain or fast, got ", chosen);
  return chosen && !std::strcmp(chosen, "fast");
}

inline DeviceLimits device_limits() {
  int device = 0, multiprocessors = 0, shared_bytes = 0, cooperative = 0;
  check_launch(cudaGetDevice(&device));
  check_launch(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  check_launch(cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  check_launch(cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, device));
  return {multiprocessors, shared_bytes, cooperative != 0};
}

struct CudaBackend : CudaPatterns {
  // Room for one kernel that makes all steps, where that is possible.
  template <class T>
  static void prepare(const CellDeviceTable& cell, ForwardPass<T>& pass, const Tensor& like, Workspace& workspace) {
    if (!std::is_same_v<T, float> || cell.projects || pass.layer.batch == 0 || !fast_kernels()) return;
    const Layer<T>& layer = pass.layer;
    launch_on(like, [&](cudaStream_t) {
      pass.plan = plan_persistent(
          {cell.gates, layer.hidden, layer.lanes, layer.depth, int64_t(sizeof(T)), layer.batch_sizes != nullptr},
          device_limits());
      return cudaSuccess;
    });
    if (!pass.plan.possible) return;
    pass.projected = workspace.room<T>({layer.steps, cell.gates * layer.hidden, layer.lanes});
    pass.arrived = workspace.room<unsigned>({1});
  }

  static const CellLaunchers<float>& launchers(const CellDeviceTable& cell, float) { return cell.float32; }
  static const CellLaunchers<double>& launchers(const CellDeviceTable& cell, double) { return cell.float64; }

  template <class T>
  static void run(const CellDeviceTable& cell, const ForwardPass<T>& pass, const Tensor& like) {
    launch_on(like, [&](cudaStream_t stream) { return launchers(cell, T()).forward(pass, stream); });
  }
  template <class T>
  static void run(const CellDeviceTable& cell, const BackwardPass<T>& pass, const Tensor& like) {
    launch_on(like, [&](cudaStream_t stream) { return launchers(cell, T()).backward(pass, stream); });
  }
  template <class T>
  static void run(const CellDeviceTable& cell, const TangentPass<T>& pass, const Tensor& like) {
    launch_on(like, [&](cudaStream_t stream) { return launchers(cell, T()).tangent(pass, stream); });
  }
};

}  // namespace lsh
