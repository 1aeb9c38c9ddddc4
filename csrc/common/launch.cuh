// How CUDA kernels are launched: one thread per item or blocks that share memory; the first error is kept.
//
// Kernels are launched by function calls, without <<<…>>>, and take shared memory through two macros, so that any C++
// compiler takes the same sources: tests/cuda/simt runs them on the host, thread by thread, and checks what they do.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#ifndef LSH_SHARED
// An object of a block's shared memory; a run of bytes of it, as many as the launch asked for.
#define LSH_SHARED(Type, name) __shared__ Type name
#define LSH_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace lsh {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;

inline unsigned blocks_for(int64_t items, int64_t each = kThreads) { return unsigned((items + each - 1) / each); }

// The item of this thread: items are counted through all blocks of a one-dimensional grid.
__device__ inline int64_t this_item() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

// Launches on one stream, one after another. After an error nothing more is launched.
class Launches {
 public:
  explicit Launches(cudaStream_t stream) : stream_(stream) {}

  // One thread for each of `count` items, in blocks of kThreads.
  template <class... Parameters, class... Arguments>
  void items(int64_t count, void (*kernel)(Parameters...), const Arguments&... arguments) {
    blocks(dim3(blocks_for(count)), kThreads, kernel, arguments...);
  }

  // A grid of blocks of `threads` threads; none if a side of the grid is 0.
  template <class... Parameters, class... Arguments>
  void blocks(dim3 grid, int threads, void (*kernel)(Parameters...), const Arguments&... arguments) {
    if (error_ != cudaSuccess || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = dim3(threads);
    config.stream = stream_;
    error_ = cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
  }

  cudaError_t error() const { return error_; }

 private:
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace lsh
