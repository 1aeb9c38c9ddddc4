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
    keep(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
  }

  // Whether so many blocks, with so much dynamic shared memory each, are on the device at once.
  template <class... Parameters>
  bool fits(int64_t blocks, int threads, int64_t shared_bytes, void (*kernel)(Parameters...)) {
    int device = 0, multiprocessors = 0, each = 0;
    const bool known =
        cudaGetDevice(&device) == cudaSuccess &&
        cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device) == cudaSuccess &&
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)) == cudaSuccess &&
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, size_t(shared_bytes)) == cudaSuccess;
    if (!known) cudaGetLastError();  // what is refused here is no error of a later launch
    return known && error_ == cudaSuccess && blocks <= int64_t(each) * multiprocessors;
  }

  // A grid of blocks that are there at once and may wait for each other.
  template <class... Parameters, class... Arguments>
  void together(int64_t blocks, int threads, int64_t shared_bytes, void (*kernel)(Parameters...),
                const Arguments&... arguments) {
    if (error_ != cudaSuccess) return;
    cudaLaunchAttribute cooperative{};
    cooperative.id = cudaLaunchAttributeCooperative;
    cooperative.val.cooperative = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(unsigned(blocks));
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = size_t(shared_bytes);
    config.stream = stream_;
    config.attrs = &cooperative;
    config.numAttrs = 1;
    keep(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
  }

  cudaError_t error() const { return error_; }

 private:
  void keep(cudaError_t error) {
    if (error_ == cudaSuccess) error_ = error;
  }

  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace lsh
