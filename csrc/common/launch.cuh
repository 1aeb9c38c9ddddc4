// How plain CUDA kernels are launched: one thread per item, and errors reported at once.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace lsh {

constexpr int kThreads = 256;

inline unsigned blocks_for(int64_t items) { return unsigned((items + kThreads - 1) / kThreads); }

// The item of this thread: items are counted through all blocks of a one-dimensional grid.
__device__ inline int64_t this_item() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

}  // namespace lsh
